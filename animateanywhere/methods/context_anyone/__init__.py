"""ContextAnyone (arXiv 2512.07328): a video of the person of a picture, by a prompt."""
