"""Data on its way: videos, skeletons, subjects, corpora."""
