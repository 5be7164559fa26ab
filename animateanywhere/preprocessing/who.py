"""Who is meant in pictures of one person, of which one may show several persons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.pose.people import People, choose_one


@dataclass
class Who:
    """The number of the person that is meant. Of several pictures it counts for the one that shows
    several persons: those of another one have numbers of their own, which it does not give."""

    pictures: Sequence[Path]
    number: int | None
    file: Path  # PNG to write, with a number at each person
    option: str = "--character-person"  # that gives the number, for messages
    group: Path | None = None  # the picture that shows several persons, once it was read

    def numbered(self) -> dict[str, Path]:
        """The file with the numbers for each picture, by what a report calls it."""
        files = {"persons of the picture": self.file}
        for number in range(2, len(self.pictures) + 1):
            file = self.file.with_stem(f"{self.file.stem}-{number}")
            files[f"persons of picture {number}"] = file
        return files

    def clear(self) -> None:
        """Remove the files of other pictures."""
        for file in self.numbered().values():
            file.unlink(missing_ok=True)

    def written(self) -> dict[str, Path]:
        """`numbered`, as far as it is there."""
        return {what: file for what, file in self.numbered().items() if file.is_file()}

    def choose(
        self, people: People, frame: Callable[[int], np.ndarray], path: Path, remedy: str = ""
    ) -> int:
        """The number of the person in one of the pictures, counted from 1. frame, remedy: as of
        `choose_one`.

        Raises:
            UsageError: several persons and no number, fewer persons than that, or several persons
                in another picture as well.
        """
        count = len(people.tracks)
        if count == 1 and len(self.pictures) > 1:
            return 1
        if count > 1 and self.group not in (None, path):
            raise UsageError(
                f"{path}: {count} persons, and {self.group} shows several as well: {self.option} "
                "counts for one picture; crop this one to the person"
            )
        self.group = path
        file = list(self.numbered().values())[list(self.pictures).index(path)]
        choose_one(people, self.number, frame, path, file, self.option, remedy)
        return self.number or 1

    def require_used(self) -> None:
        """Raise UsageError where a number was given, and none of several pictures shows several
        persons."""
        if len(self.pictures) > 1 and self.group is None and (self.number or 1) > 1:
            raise UsageError(
                f"{self.option} {self.number}: none of the pictures shows several persons"
            )
