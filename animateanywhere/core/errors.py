"""The two errors shown to users. Messages are one line: what is wrong, where, and what to do."""


class UsageError(Exception):
    """Wrong use: an invalid argument, an unusable input file, an error in a recipe. Exit code 2."""


class Failure(Exception):
    """Correct use that failed nonetheless: disk full, diverged training. Exit code 1."""
