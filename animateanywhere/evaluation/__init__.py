"""Evaluation of results: against ground truth, against a reference, and against other methods."""
