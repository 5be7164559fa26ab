"""How good a result is: against the truth, against a reference, and against other methods."""
