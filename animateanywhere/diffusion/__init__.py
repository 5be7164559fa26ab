"""Diffusion as pure functions on tensors: losses for training, samplers for generation."""
