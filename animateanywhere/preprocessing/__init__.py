"""Preprocessing of a video: keypoints, segmentation masks, captions and quality findings."""
