"""Training: stages, the training loop, and its checkpoints."""
