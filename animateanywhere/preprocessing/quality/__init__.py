"""Quality checks of a clip to learn from and of a motion to follow, as findings."""
