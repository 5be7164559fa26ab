"""What was made, by the studio or the command line: listed, deleted, and brought back."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from animateanywhere.commands.results import files_of_result, result_of
from animateanywhere.commands.run_state import RECORD as RECORD_OF_RUN
from animateanywhere.commands.run_state import WEIGHTS, Run, in_words
from animateanywhere.commands.runs import find_run, list_runs
from animateanywhere.core.disk_use import disk_use
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import is_shallow, read_table
from animateanywhere.core.run_folder import VIDEOS
from animateanywhere.core.tensor_file import read_about
from animateanywhere.datasets.subject import read_settings
from animateanywhere.evaluation.sidecar import earlier_settings
from animateanywhere.studio.answer import MEDIA
from animateanywhere.studio.made_of import made_of, scene_run, uploads
from animateanywhere.studio.motions import motion_file, motions
from animateanywhere.studio.place import ID, Place, Unknown, new_id
from animateanywhere.studio.subjects import is_subject

RECORD = "deleted.json"
DEEPEST = 4  # settings, which anybody may have written
MOVES = threading.Lock()  # what two tabs delete or bring back is moved once
SHOWN = ("prompt", "full_prompt", "negative", "token", "seed", "steps", "guidance_scale",
         "guidance", "likeness", "person", "character_person", "whole", "class_word",
         "appearance", "place", "sampler", "frames", "fps", "size", "fit", "scale",
         "version")  # fmt: skip


def history(place: Place) -> dict[str, Any]:
    """All runs and videos, the newest first, the learned people, and what was deleted."""
    listing = list_runs(place.runs)
    # A folder of videos alone is no work of its own
    runs = [run for run in listing.runs
            if run.path != place.own and not (run.kind == VIDEOS and _is_run(run))]  # fmt: skip
    learned = _people(place, [run.path for run in runs if run.kind == "personalize"])
    files = {motion_file(place, one["id"]).name: one["id"] for one in motions(place)}
    known = uploads(place)
    items = [_item(place, run, files, known) for run in runs]
    for item in items:
        item["person"] = next((one for one in learned if one["run"] == item["name"]), None)
    return {"items": items, "bytes": listing.bytes, "people": learned,
            "deleted": _deleted(place)}  # fmt: skip


def _people(place: Place, folders: list[Path]) -> list[dict[str, Any]]:
    """The learned people of these runs."""
    found = []
    for folder in folders:
        weights = folder / WEIGHTS
        try:
            about = read_about(weights)
            token, word = about["token"], about.get("class_word", "person")
        except (UsageError, KeyError, OSError):
            continue
        picture = folder / "subject" / "frames" / "0000.png"
        found.append({
            "id": place.id_of(weights), "token": token, "class_word": word,
            "appearance": about.get("appearance", ""), "base": about.get("base"),
            "picture": place.id_of(picture) if picture.is_file() else None,
            "learned": weights.stat().st_mtime, "run": str(folder.relative_to(place.runs)),
            "again": is_subject(folder / "subject"),
        })  # fmt: skip
    return sorted(found, key=lambda one: -float(one["learned"]))


def _item(
    place: Place, run: Run, motion_ids: dict[str, str], known: dict[str, dict[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """A run or video. motion_ids: of the motions by the names of their files; known: uploads by
    theirs."""
    item: dict[str, Any] = {
        "id": place.id_of(run.path), "name": run.name, "kind": run.kind, "state": run.state,
        "words": in_words(run), "bytes": run.bytes, "changed": run.changed,
        "problems": run.problems, "path": str(run.path.absolute()),
    }  # fmt: skip
    if not _is_run(run) and result_of(run.path) is not None:
        written = earlier_settings(run.path) or read_table(run.path.with_suffix(".json"))
        settings = {key: value for key, value in written.items() if is_shallow(value, DEEPEST)}
        item["settings"] = {key: settings[key] for key in SHOWN if settings.get(key) is not None}
        base, scene = (_table(settings, key) for key in ("base", "scene"))
        pose = _table(settings, "pose") or _table(settings, "motion")
        item["settings"] |= {"base": base.get("name"), "motion": pose.get("file"),
                             "start": (pose or scene).get("start")}  # fmt: skip
        item["motion_id"] = motion_ids.get(str(pose.get("file")))
        files = made_of(run.kind, settings, known)
        item["given"], item["title"] = files.pop("given", {}), files.pop("title", None)
        item["settings"] |= files
        item["shown"] = MEDIA.get(run.path.suffix, "").partition("/")[0] or None
        item["fps"] = _table(settings, "output").get("fps") or settings.get("fps")
    elif run.kind == "personalize":
        item["learning"] = _learning(run.path, known)
    elif run.kind == "swap":
        item["title"] = scene_run(run.path.name, known)
    return item


def _learning(folder: Path, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a person is or was learned from, also where that was stopped."""
    record, subject = read_table(folder / RECORD_OF_RUN), read_settings(folder / "subject")
    file = Path(str(subject.get("source", ""))).name
    found = {key: record.get(key) for key in ("token", "class_word", "base", "seed")}
    return found | {"clip": known.get(file, {}).get("name", file), "filmed": subject.get("scene")}


def _table(settings: dict[str, Any], key: str) -> dict[str, Any]:
    """A table of a sidecar, which anybody may have written; {} where it is something else."""
    found = settings.get(key)
    return found if isinstance(found, dict) else {}


def _is_run(run: Run) -> bool:
    return run.path.is_dir() and not run.path.with_suffix(".json").is_file()


def names_of(place: Place, name: str) -> list[str]:
    """What jobs that work with a run or video have in their arguments: its path, the option of a
    base, or the upload whose scene it is. Raises Unknown."""
    path = place.path_of(name)
    names = [str(path)]
    if path.parent == place.runs / "bases":
        names.append(f"--base={path.name}")
    if upload := ID.match(path.name):
        names.append(upload[0])
    return names


def delete(place: Place, name: str) -> str:
    """Take a run or video out of the folder of the runs; returns the id to bring it back.

    It is moved, so nothing is lost before it is deleted for good. Raises Unknown; Failure where a
    command works in it.
    """
    with MOVES:
        return _delete(place, place.path_of(name))


def _delete(place: Place, path: Path) -> str:
    run = find_run(str(path.relative_to(place.runs)), place.runs)
    if run.state == "running":
        raise Failure(f"{run.name}: a command works in it: stop that first")
    if run.path.is_symlink():
        raise UsageError(f"{run.name} is a link: remove it yourself")
    files = [path] if _is_run(run) else files_of_result(path)
    ident = new_id()
    folder = place.file("deleted", ident)
    folder.mkdir(parents=True)
    names = [str(file.relative_to(place.runs)) for file in files]
    record = {"name": run.name, "kind": run.kind, "files": names, "at": time.time()}
    try:
        with write_aside(folder / RECORD) as aside:
            aside.write_text(json.dumps(record) + "\n", encoding="utf-8")
        for number, file in enumerate(files):
            os.replace(file, folder / str(number))
    except (OSError, Failure):  # a full disk, a folder on another one: all of it stays
        _restore(place, folder, record)
        raise
    return ident


def restore(place: Place, ident: str) -> None:
    """Bring back what was deleted. Raises Unknown; UsageError where something else has its name."""
    with MOVES:
        _restore(place, *_record(place, ident))


def _restore(place: Place, folder: Path, record: dict[str, Any]) -> None:
    kept = [(folder / str(number), place.runs / name)
            for number, name in enumerate(record["files"])]  # fmt: skip
    moves = [move for source, target in kept for move in _moves(source, target)]
    taken = [target for _, target in moves if os.path.lexists(target)]
    if taken:
        raise UsageError(f"{taken[0]} is there again: delete or rename that first")
    for source, target in moves:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    shutil.rmtree(folder)


def _moves(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """What is to be moved where. A run comes into the folder that a video of it, deleted before it
    and brought back, has made anew."""
    if not os.path.lexists(source):
        return []
    if source.is_dir() and target.is_dir() and not (source.is_symlink() or target.is_symlink()):
        return [move for one in source.iterdir() for move in _moves(one, target / one.name)]
    return [(source, target)]


def forget(place: Place, ident: str) -> None:
    """Delete for good what was deleted. Raises Unknown."""
    with MOVES:
        shutil.rmtree(_record(place, ident)[0])


def _deleted(place: Place) -> list[dict[str, Any]]:
    found = []
    for path in (place.own / "deleted").glob(f"*/{RECORD}"):
        ident = path.parent.name
        with suppress(Unknown):  # a damaged one hides no other
            record = _record(place, ident)[1]
            found.append({"id": ident, "name": record["name"], "kind": record["kind"],
                          "at": record["at"], "bytes": disk_use(path.parent)[0]})  # fmt: skip
    return sorted(found, key=lambda one: -float(one["at"]))


def _record(place: Place, ident: str) -> tuple[Path, dict[str, Any]]:
    """The folder and the record of something deleted. Raises Unknown."""
    folder = place.file("deleted", ident)
    record = read_table(folder / RECORD)
    names = record.get("files")
    whole = isinstance(names, list) and all(
        isinstance(name, str) and place.holds(place.runs / name) for name in names
    )
    texts = all(isinstance(record.get(key), str) for key in ("name", "kind"))
    if not whole or not texts or type(record.get("at")) not in (int, float):
        raise Unknown(ident)
    return folder, record
