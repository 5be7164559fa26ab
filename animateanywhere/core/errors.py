"""The two errors shown to users. Messages are one line: what is wrong, where, and what to do."""

import errno
from collections.abc import Iterator

STOPPED = "stopped; to go on, run the same command again"
NO_MEMORY = (
    "memory ran out ({}); close other programs, take fewer frames or a smaller base, or raise the "
    "limit if there is one (ulimit -v)"
)
# What libraries and the system say of it, in lower case
OUT_OF_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "unable to allocate", "out of memory",
    "bad_alloc", "can't start new thread", "failed to map segment",
)  # fmt: skip


class UsageError(Exception):
    """Wrong use: an invalid argument, an unusable input file, an error in a recipe. Exit code 2."""

    def __str__(self) -> str:
        return _in_one_line(super().__str__())


class Failure(Exception):
    """Correct use that failed nonetheless: disk full, diverged training. Exit code 1."""

    def __str__(self) -> str:
        return _in_one_line(super().__str__())


class OtherEnded(Failure):
    """Another of the processes that train together has ended: the cause is there."""


def out_of_memory(error: BaseException) -> str | None:
    """The message where memory ran out, of the machine, of a GPU or below a limit of the system,
    whatever was made of that error since; None where it did not."""
    for one in _causes(error):
        if isinstance(one, UsageError | Failure):
            continue
        text = " ".join(str(one).split())
        # FFmpeg's decoders say so where their threads cannot start
        threads = isinstance(one, BlockingIOError) and type(one).__module__.startswith("av.")
        told = any(words in text.lower() for words in OUT_OF_MEMORY) and "static TLS" not in text
        number = one.errno if isinstance(one, OSError) else None
        if isinstance(one, MemoryError) or number == errno.ENOMEM or threads or told:
            return NO_MEMORY.format(text or type(one).__name__)
    return None


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def stopped(error: BaseException) -> bool:
    """Whether an error is what a library made of Ctrl-C or SIGTERM."""
    # A cause, not a context: what fails while a stopped command saves is an error
    return any(isinstance(one.__cause__, KeyboardInterrupt) for one in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from, also where that is not shown (`from None`)."""
    known: list[BaseException] = []
    while error is not None and error not in known:
        yield error
        known.append(error)
        error = error.__cause__ or error.__context__


def _in_one_line(text: str) -> str:
    """What a message quotes of a file may have several lines."""
    return " ".join(text.splitlines())
