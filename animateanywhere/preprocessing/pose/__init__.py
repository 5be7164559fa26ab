"""Pose detectors."""
