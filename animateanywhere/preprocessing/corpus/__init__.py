"""From videos and pictures to the samples of a corpus: one step a function, and two runners."""
