"""Training: the loop, its checkpoints, and the perception network's own trainer."""
