"""The commands of `aa` as Typer reads them: flags in, one call of what does the work."""
