"""Segmentation masks of the person."""
