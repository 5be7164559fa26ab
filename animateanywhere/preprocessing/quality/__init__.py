"""What is wrong with a clip or a motion, in words."""
