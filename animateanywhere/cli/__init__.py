"""The command line: what Typer reads, one call of a function of `commands` each."""
