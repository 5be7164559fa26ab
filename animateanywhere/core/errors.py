"""The two errors a user may meet. The message is one line: what is wrong, where, what to do."""


class UsageError(Exception):
    """Wrong use: a bad argument, an unusable input file, a recipe with an error. Exit code 2."""


class Failure(Exception):
    """Right use, and yet it could not be done: disk full, diverged training. Exit code 1."""
