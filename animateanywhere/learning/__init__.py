"""Learning one person: what is learned from, the stages, and which step is best."""
