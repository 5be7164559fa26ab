"""The two errors shown to users. Messages are one line: what is wrong, where, and what to do."""


class UsageError(Exception):
    """Wrong use: an invalid argument, an unusable input file, an error in a recipe. Exit code 2."""

    def __str__(self) -> str:
        return _in_one_line(super().__str__())


class Failure(Exception):
    """Correct use that failed nonetheless: disk full, diverged training. Exit code 1."""

    def __str__(self) -> str:
        return _in_one_line(super().__str__())


def _in_one_line(text: str) -> str:
    """What a message quotes of a file may have several lines."""
    return " ".join(text.splitlines())
