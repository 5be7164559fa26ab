"""Models: the base and its parts, mask-guided attention, personal weights, perception."""
