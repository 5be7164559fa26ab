"""Keypoints and skeletons: reading, drawing, smoothing, fitting to another body."""
