"""What a command will take on this machine, in time and memory."""
