"""AnyCharV (arXiv 2502.08189): the person of a picture into a scene video."""
