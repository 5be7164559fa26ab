"""Keypoints and skeletons: reading, drawing, smoothing, and retargeting to another body."""
