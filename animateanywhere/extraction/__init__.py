"""What is seen in a video: pose, mask, caption, driving skeleton."""
