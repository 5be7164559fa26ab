"""Pose estimators and person detectors."""
