"""Training data: subject folders (one person's prepared clip) and corpora of clips."""
