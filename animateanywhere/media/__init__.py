"""Reading and writing of videos and pictures."""
