"""What is learned from: one person's prepared clip, and corpora of clips."""
