"""What is extracted from a video: poses, masks, captions, and findings about its quality."""
