"""The log of a training: log.jsonl, TensorBoard and, if asked for, a tracker of accelerate."""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from accelerate import Accelerator
from rich.markup import escape
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import finite, write_aside
from animateanywhere.core.messages import warn
from animateanywhere.core.paths import install_command
from animateanywhere.training.stage import Stage

Track = Literal["wandb"]


class Log:
    """The log of a stage in a folder; on resume, entries after the checkpoint are removed.

    A log that cannot be written, such as on a full disk, is no reason to lose a run: it warns, and
    the training goes on.
    """

    def __init__(
        self, folder: Path, start: int, stage: Stage, tracked: Accelerator | None = None
    ) -> None:
        path = folder / "log.jsonl"
        lines = path.read_text(errors="replace").splitlines(True) if path.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= start]
        with write_aside(path) as aside:
            aside.write_text("".join(kept if start else []))
        self.stage = stage
        self.file = path.open("a")
        self.board = _Board(folder / "tensorboard", start)
        self.tracked, self.failed = tracked, set[str]()
        if tracked is not None:
            self._try("the tracker", lambda: _start_tracking(tracked, folder, stage))

    def due(self, step: int) -> bool:
        """Whether a step is logged."""
        return step % self.stage.log_every == 0 or step >= self.stage.steps

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log the values of a step; those that are not finite are null in log.jsonl."""
        known = {key: value for key, value in values.items() if math.isfinite(value)}

        def line() -> None:
            self.file.write(json.dumps(finite({"step": step, **values})) + "\n")
            self.file.flush()

        self._try("log.jsonl", line)
        self._try("tensorboard", lambda: self.board.write(step, known))
        if (tracked := self.tracked) is not None:
            self._try("the tracker", lambda: tracked.log(known, step=step))

    def close(self) -> None:
        self._try("log.jsonl", self.file.close)
        self._try("tensorboard", self.board.close)
        for tracker in self.tracked.trackers if self.tracked is not None else ():
            self._try("the tracker", tracker.finish)

    def _try(self, what: str, write: Callable[[], Any]) -> None:
        try:
            write()
        except Exception as error:  # trackers raise their own types
            if what not in self.failed:
                self.failed.add(what)
                reason = getattr(error, "strerror", None) or str(error)
                warn(escape(f"{self.stage.name}: {what} cannot be written: {reason}"))


class _Board:
    """TensorBoard's file of events, written at once.

    Its own writer has a thread, which a full disk ends with a traceback, and with it the log.
    """

    def __init__(self, folder: Path, start: int) -> None:
        """start: step after which events of former files no longer count."""
        self.folder, self.file = folder, cast(Any, None)
        self.start: int | None = start

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write the values of a step."""
        scalars = [Summary.Value(tag=key, simple_value=value) for key, value in values.items()]
        try:
            if self.file is None:
                self._open()
            self._record(Event(step=step, summary=Summary(value=scalars)))
        except OSError:
            self.file = None  # its last record may be cut: the next step begins another
            raise

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}"  # which are read in the order of names
        self.file = (self.folder / name).open("wb", buffering=0)
        self._record(Event(file_version="brain.Event:2"))
        if self.start is not None:
            log = SessionLog(status=SessionLog.START)
            self._record(Event(step=self.start + 1, session_log=log))  # the first that goes
            self.start = None

    def _record(self, event: Any) -> None:
        event.wall_time = time.time()
        RecordWriter(self.file).write(event.SerializeToString())

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def check_tracker(track: str) -> None:
    """Raise UsageError if the package of a tracker is not installed."""
    if find_spec(track) is None:
        raise UsageError(f"--track {track} needs {track}; run: {install_command(track)}")


def _start_tracking(tracked: Accelerator, folder: Path, stage: Stage) -> None:
    """Start the tracker's run: one for each stage of a run folder, which a resumed run goes on
    with."""
    place = folder / "tracked-run"
    if not place.is_file():
        with write_aside(place) as aside:
            aside.write_text(secrets.token_hex(4))
    whole = folder.resolve()  # in training/<stage>, or a folder in it, of the run's folder
    above = [place.parent for place in whole.parents if place.name == "training"]
    name = f"{(above or whole.parents[1:])[0].name}-{stage.name}"
    options = {"id": place.read_text(), "name": name, "dir": str(folder), "resume": "allow"}
    os.environ.setdefault("WANDB_SILENT", "true")
    with redirect_stdout(sys.stderr):  # ours is for the result
        tracked.init_trackers("animateanywhere", init_kwargs={"wandb": options})


def _step_of(line: str) -> float:
    """The step of a line of log.jsonl; infinite for a damaged line."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf
