"""Person segmentation."""
