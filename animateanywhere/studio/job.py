"""A job of the studio: an `aa` command, and how it stands."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from animateanywhere.core.json_file import is_shallow, parse_json, read_table
from animateanywhere.studio.form import DEEPEST
from animateanywhere.studio.place import ID, new_id

State = Literal["queued", "running", "stopping", "done", "failed", "stopped"]
WHOLE_ID = re.compile(rf"(?<!\w){ID.pattern}(?!\w)")
ENDED = ("done", "failed", "stopped")


@dataclass
class Job:
    """A command, and how it stands."""

    kind: str  # what the page calls it, see `orders.ORDERS`
    title: str
    arguments: list[str]  # of `aa`
    about: dict[str, Any]  # what the page asked for, to ask for it again
    names: dict[str, str] = field(default_factory=dict)  # of the uploads of its arguments, by id
    id: str = field(default_factory=new_id)
    state: State = "queued"
    queued: float = field(default_factory=time.time)  # times in seconds since 1970
    begun: float | None = None
    ended: float | None = None
    process: int | None = None
    code: int | None = None
    text: str = ""  # one line, why it failed
    result: str = ""  # what the command printed to stdout


def is_look(job: Job) -> bool:
    """Whether a job takes seconds, and makes nothing but what is shown before long work."""
    return job.arguments[0] == "check"


def apart(one: Job, other: Job) -> bool:
    """Whether two jobs work with different files of the studio."""
    return files_of(one).isdisjoint(files_of(other))


def files_of(job: Job) -> set[str]:
    """The ids of the studio's files in a job's arguments."""
    return {name for words in job.arguments for name in WHOLE_ID.findall(words)}


def read_job(path: Path) -> Job | None:
    """A job as written; None if the file is damaged."""
    table = read_table(path)
    known = {one.name for one in fields(Job)}
    try:
        job = Job(**{key: value for key, value in table.items() if key in known})
    except TypeError:
        return None
    return job if _is_whole(job) else None


def _is_whole(job: Job) -> bool:
    form = isinstance(job.about, dict) and is_shallow(job.about, DEEPEST)
    if not form or not isinstance(job.arguments, list) or not isinstance(job.names, dict):
        return False
    texts = (job.id, job.kind, job.title, job.text, job.result, *job.names.values())
    if not all(isinstance(one, str) for one in (*texts, *job.arguments)):
        return False
    times = (job.queued, job.begun or 0, job.ended or 0)
    numbers = (1 if job.process is None else job.process, job.code or 0)
    return (
        ID.fullmatch(job.id) is not None
        and job.state in get_args(State)
        and bool(job.arguments)
        and all(type(one) in (int, float) for one in times)
        and all(type(one) is int for one in numbers)
        and 0 < numbers[0] < 2**31
    )


def process_of(job: Job) -> psutil.Process | None:
    """The process of a job, if it still works; its number may be another's by now.

    It is known by its arguments: the time at which it began is another one after the clock was set.
    """
    if job.process is None:
        return None
    try:
        process = psutil.Process(job.process)
        return process if process.cmdline()[-len(job.arguments) :] == job.arguments else None
    except psutil.Error:  # gone, or ended and not yet waited for
        return None


def result_of(job: Job) -> Any:
    """What a command printed as JSON; None where that is something else."""
    try:
        return parse_json(job.result)
    except ValueError:
        return None


def file_of_check(job: Job, what: str) -> Path | None:
    """A file or folder that a check says it wrote; None without."""
    result = result_of(job)
    files = result.get("files") if isinstance(result, dict) else None
    path = files.get(what) if isinstance(files, dict) else None
    return Path(path) if isinstance(path, str) else None
