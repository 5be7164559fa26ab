"""What a command will take on this machine, told from a few real steps."""
