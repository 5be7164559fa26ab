"""Long work of the studio: one `aa` command at a time, each in a process of its own.

A job is a folder: `job.json` says which command and how it stands, stderr of the command goes to
`events.jsonl` (lines of JSON, see `core.reporter.Lines`) and stdout to `result.txt`. So the queue
survives a restart, a command that ends badly ends nothing else, and the studio finds one that went
on without it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.studio.job import ENDED, Job, apart, is_look, process_of, read_job
from animateanywhere.studio.place import Unknown
from animateanywhere.studio.progress import Progress, follow

TICK = 0.2  # seconds between looks at what changed
SIGNALS = {int(one) for one in signal.Signals}
KEPT = 50  # ended jobs that are remembered
KILLED = (
    "ended by the system ({}), perhaps because memory ran out: close other programs, or try less"
)


@dataclass
class Queue:
    """The jobs of a folder; `step` moves them on. `changes` counts what pages should see."""

    folder: Path
    runs: Path
    jobs: dict[str, Job] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    changes: int = 0
    closed: bool = False  # nothing new begins
    child: subprocess.Popen[bytes] | None = None
    # Requests come in one thread, `step` in another
    lock: threading.RLock = field(default_factory=threading.RLock)

    def load(self) -> None:
        """Read the jobs that are there. One whose process still works is running on; one whose
        process is gone with the studio goes on from where it was saved."""
        for path in sorted(self.folder.glob("*/job.json")):
            job = read_job(path)
            if job is None or job.id != path.parent.name:
                continue
            self.jobs[job.id] = job
            self._follow_to_end(job)
            if job.state in ("running", "stopping") and process_of(job) is None:
                lost = job.state == "running" and self.progress[job.id].code is None
                self._settle(job, None)
                if lost:
                    self.resume(job)

    def add(self, job: Job) -> Job:
        """Queue a job; returns it, or the same one that has not ended: a second click, or another
        tab, asked for it again. Raises Failure where the disk is full."""
        with self.lock:
            for other in self.jobs.values():
                if other.state in ("queued", "running") and other.arguments == job.arguments:
                    return other
            self._write(job)
            self.jobs[job.id] = job
            self.changes += 1
            return job

    def find(self, name: str) -> Job:
        """A job by its id. Raises Unknown."""
        if name not in self.jobs:
            raise Unknown(name)
        return self.jobs[name]

    def require_unused(self, name: str) -> None:
        """Raise Failure where a job that has not ended works with files of a name or path, or
        in a folder of that path."""
        whole = re.compile(rf"{re.escape(name)}(?![\w-])")  # runs/anna is not in runs/anna-2
        for job in list(self.jobs.values()):
            if job.state not in ENDED and any(map(whole.search, job.arguments)):
                raise Failure(f"{job.title}: works with it or waits to: stop that first")

    def stop(self, job: Job) -> None:
        """Let a job stop, which saves where it is; asked for again, end it at once."""
        with self.lock:
            process = process_of(job)
            if job.state == "queued":
                job.state, job.ended = "stopped", time.time()
            elif process is not None:
                again = job.state == "stopping"
                job.state = "stopping"
                with suppress(psutil.Error, ProcessLookupError):
                    if again:
                        os.killpg(process.pid, signal.SIGKILL)
                    else:
                        process.send_signal(signal.SIGTERM)  # SIGINT is ignored below `nohup`
            self._write(job)
            self.changes += 1

    def resume(self, job: Job) -> None:
        """Queue a job that stopped or failed again: the same command goes on where it was saved."""
        with self.lock:
            if job.state not in ("stopped", "failed"):
                return
            job.state, job.text, job.code, job.queued = "queued", "", None, time.time()
            job.ended = None
            self._write(job)
            self.changes += 1

    def forget(self, job: Job) -> None:
        """Take an ended job off the list; what it made stays."""
        with self.lock:
            if job.state not in ENDED:
                raise Failure(f"{job.title}: stop it first")
            shutil.rmtree(self.folder / job.id, ignore_errors=True)
            self.jobs.pop(job.id, None)  # another tab may have been faster
            self.progress.pop(job.id, None)
            self.changes += 1

    @property
    def current(self) -> Job | None:
        """The job at work."""
        return next(
            (job for job in list(self.jobs.values()) if job.state in ("running", "stopping")), None
        )

    def step(self) -> None:
        """Look after the job at work, and begin the next one."""
        with self.lock:
            job = self.current
            if job is not None:
                if self._follow(job):
                    self.changes += 1
                # Only of a process of another start it has to be found out whether it still works
                own = self.child is not None and self.child.pid == job.process
                code = self.child.poll() if own and self.child else None
                if code is not None or (not own and process_of(job) is None):
                    self._follow_to_end(job)
                    self._settle(job, code)
                return
            waiting = self.waiting()
            if waiting and not self.closed:
                self._begin(waiting[0])

    def waiting(self) -> list[Job]:
        """The jobs that wait, in the order in which they begin: as they were asked for, but a look,
        which takes seconds, goes before long work with other files."""
        order: list[Job] = []
        queued = [job for job in list(self.jobs.values()) if job.state == "queued"]
        for job in sorted(queued, key=lambda job: job.queued):
            place = len(order)
            for number in reversed(range(len(order))):
                if not is_look(job) or not apart(job, order[number]):
                    break
                if not is_look(order[number]):
                    place = number
            order.insert(place, job)
        return order

    def close(self, patience: float = 30.0) -> Job | None:
        """Begin nothing more, and stop the job at work so that it goes on at the next start.

        Returns it; one that takes longer than `patience` seconds to stop works on.
        """
        self.closed = True
        job = self.current
        if job is None:
            return None
        wanted = job.state
        if wanted == "running":
            self.stop(job)
        end = time.monotonic() + patience
        while self.current is not None and time.monotonic() < end:
            self.step()
            time.sleep(0.05)
        if job.state == "stopped" and wanted == "running":
            job.state, job.ended = "queued", None
            self._write(job)
        return job

    def _begin(self, job: Job) -> None:
        place = self.folder / job.id
        environment = {**os.environ, "AA_PROGRESS": "json", "AA_RUNS": str(self.runs)}
        environment["PYTHONUNBUFFERED"] = "1"
        command = [sys.executable, "-m", "animateanywhere", *job.arguments]
        job.begun, job.text, job.code, job.result = time.time(), "", None, ""
        try:
            # Of a job that goes on, what it said before stays
            with (
                open(place / "events.jsonl", "ab") as errors,
                open(place / "result.txt", "wb") as out,
            ):
                # It may have ended within a line
                errors.write(b'\n{"kind": "begin"}\n')
                errors.flush()
                # Of its own session: Ctrl-C in the studio's terminal is the studio's
                self.child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment,
                    start_new_session=True,
                )  # fmt: skip
        except (OSError, ValueError) as error:  # ValueError: of letters that no command may have
            job.state, job.ended = "failed", time.time()
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            job.text = f"could not start: {reason.lower()}"
        else:
            job.state, job.process = "running", self.child.pid
            # Where memory runs out, the system ends this one and not the studio
            with suppress(OSError):
                Path(f"/proc/{self.child.pid}/oom_score_adj").write_text("500")
        self.progress.setdefault(job.id, Progress())
        self._write(job)
        self.changes += 1

    def _settle(self, job: Job, code: int | None) -> None:
        """Write down how a job has ended. code: None where its process was not this one's."""
        seen = self.progress[job.id]
        job.code = seen.code if seen.code is not None else code
        with suppress(OSError):
            text = (self.folder / job.id / "result.txt").read_text(
                encoding="utf-8", errors="replace"
            )
            job.result = text.strip()
        if job.code == 0 or (job.arguments[0] == "check" and job.code == 1 and job.result):
            job.state, job.text = "done", ""
        elif job.code in (130, 143) or job.state == "stopping":
            job.state, job.text = "stopped", ""
        else:
            number = -(job.code or 0)
            name = signal.Signals(number).name if number in SIGNALS else "no reason was left"
            job.state, job.text = "failed", seen.error or KILLED.format(name)
        job.ended, job.process = time.time(), None
        self._write(job)
        self._forget_oldest()
        self.changes += 1

    def _forget_oldest(self) -> None:
        ended = sorted((job for job in self.jobs.values() if job.state in ENDED),
                       key=lambda job: job.ended or 0)  # fmt: skip
        for job in ended[: max(len(ended) - KEPT, 0)]:
            self.forget(job)

    def _follow(self, job: Job) -> bool:
        """Read what a job has written since; returns whether there was something new."""
        progress = self.progress.setdefault(job.id, Progress())
        return follow(progress, self.folder / job.id / "events.jsonl")

    def _follow_to_end(self, job: Job) -> None:
        """Read all that a job has written: its exit code is in the last line."""
        while self._follow(job):
            pass

    def _write(self, job: Job) -> None:
        """Keep a job on the disk. Where that is not possible, only a new job fails: for the others,
        the record is a little old."""
        path = self.folder / job.id / "job.json"
        try:
            with write_aside(path) as aside:
                aside.write_text(json.dumps(asdict(job), indent=1) + "\n", encoding="utf-8")
        except (Failure, UsageError, OSError):  # full, not writable, a folder of that name
            if job.id not in self.jobs:
                shutil.rmtree(path.parent, ignore_errors=True)
                raise
