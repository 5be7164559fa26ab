"""Files of the studio: all are in the folder of the runs, and pages know them by ids alone.

runs/studio/clips/ID.mp4       an upload; ID.json: what it is; ID.jpg: a strip of its frames
runs/studio/subjects/ID/       a prepared clip, as `aa prepare` writes it
runs/studio/looks/ID-ID/       the person of some pictures, as `aa check --cast` writes it
runs/studio/motions/ID.json    keypoints of a clip, as `aa pose` writes them
runs/studio/jobs/ID/           job.json, events.jsonl and result.txt of a command
runs/studio/deleted/ID/        what was deleted, until it is deleted for good
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "studio"
ID = re.compile(r"[0-9a-f]{16}")


class Unknown(Exception):
    """An id of nothing that is there."""


def new_id() -> str:
    """The name of a new file, of the server's making."""
    return secrets.token_hex(8)


@dataclass
class Place:
    """The folder of the runs."""

    runs: Path
    known: dict[str, Path] = field(default_factory=dict)  # what was shown, by id

    @property
    def own(self) -> Path:
        """The studio's own folder."""
        return self.runs / FOLDER

    def id_of(self, path: Path) -> str:
        """The id by which pages ask for a file or folder."""
        inside = path.relative_to(self.runs) if path.is_relative_to(self.runs) else path
        name = hashlib.sha256(bytes(inside)).hexdigest()[:16]
        self.known[name] = path
        return name

    def path_of(self, name: str) -> Path:
        """What an id stands for. Raises Unknown for others, and where a link leads out of the
        runs."""
        path = self.known.get(name)
        if path is None or not path.exists() or not self.holds(path):
            raise Unknown(name)
        return path

    def holds(self, path: Path) -> bool:
        """Whether a path is in the folder of the runs, whatever it links to."""
        try:
            return path.resolve().is_relative_to(self.runs.resolve())
        except (OSError, RuntimeError, ValueError):  # a loop of links, or no name of a file
            return False

    def file(self, kind: str, name: str, suffix: str = "") -> Path:
        """A file or folder of the studio by the kind of its folder and its id. Raises Unknown for
        what is no id, and where a link leads out of the runs."""
        path = self.own / kind / f"{name}{suffix}"
        if not ID.fullmatch(name) or not self.holds(path):
            raise Unknown(name)
        return path
