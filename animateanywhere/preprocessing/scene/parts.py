"""The person's stretches of a scene as subject folders: parts of so many frames that memory does
not grow with length, with masks and poses to look at and to correct.

runs/SCENE/person-1/
    scene.json          what was found, by which the next run knows it again
    frames-00000/       a subject folder (`datasets.subject`) of the frames from 0 on, and
        others/0000.png gray, 255: everybody else, in frames that show somebody
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.core.files import folder_aside, write_aside
from animateanywhere.core.findings import Finding, read_findings, write_findings
from animateanywhere.core.frame_size import square
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import progress, quietly, reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.datasets import corrections
from animateanywhere.datasets.subject import (
    FILES,
    Subject,
    masks_to_uint8,
    read_picture,
    read_settings,
    read_subject,
    write_subject,
)
from animateanywhere.datasets.subject_report import write_report
from animateanywhere.media import video
from animateanywhere.pose.outline import body_outlines
from animateanywhere.pose.skeleton import read_poses
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.crop import (
    crop_frames,
    crop_keypoints,
    person_boxes,
    square_boxes,
    whole_squares,
)
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.quality.clip import outline_findings, worst_first
from animateanywhere.preprocessing.quality.held import held_areas, holding
from animateanywhere.preprocessing.reference_clip import Chosen
from animateanywhere.preprocessing.scene.missing_masks import missing_findings, usable_masks
from animateanywhere.preprocessing.scene.presence import Presence
from animateanywhere.preprocessing.scene.scan import (
    Facts,
    as_clip,
    options_in,
    options_of,
    read_scene,
)

LONGEST = 160  # frames of a part
SIDE = 256  # pixels of its pictures
ROOM = 1.3  # times the person's box: more than any box at use, however it is grown
OTHERS = "others"
OPTIONS = "options"  # key of subject.toml: those that chose the frames
FILE = "scene.json"


class Part(NamedTuple):
    """Consecutive frames of one stretch, `first` to `stop` - 1 of the scene, and int (n, 3), the
    left, top and side in the scene's own pixels of the squares that the folder shows."""

    folder: Path
    first: int
    stop: int
    squares: np.ndarray
    begins: bool  # is the first of its stretch


class Content(NamedTuple):
    """What a part's folder holds, with corrections: masks of the person, black where they are
    missing, and of everybody else, float32 (n, SIDE, SIDE) in 0..1, and keypoints float32
    (n, 18, 3) in the scene's own pixels."""

    masks: np.ndarray
    others: np.ndarray
    keypoints: np.ndarray


def divide(facts: Facts, found: Presence, folder: Path) -> list[Part]:
    """The parts of all stretches."""
    ratio = facts.size.width / facts.seen.width
    parts = []
    for stretch in found.stretches:
        boxes = person_boxes(found.keypoints[stretch]) * ratio
        squares = whole_squares(boxes, facts.fps, ROOM)
        count = stretch.stop - stretch.start
        edges = np.linspace(0, count, -(-count // LONGEST) + 1).round().astype(int).tolist()
        for a, b in pairwise(edges):
            first = stretch.start + a
            name = f"frames-{first:05}"
            parts.append(Part(folder / name, first, stretch.start + b, squares[a:b], begins=not a))
    return parts


def is_whole(part: Part, key: str) -> bool:
    """Whether a part's folder was made with the same settings, and shows all corrections."""
    by_hand = corrections.find_corrections(part.folder)
    same = read_settings(part.folder).get("key") == _key_of(part, key)
    return same and corrections.all_shown(part.folder, by_hand)


def _key_of(part: Part, key: str) -> str:
    return f"{key} {part.first} {part.stop}"


def prepare_parts(
    facts: Facts, found: Presence, parts: Sequence[Part], chosen: Chosen, backends: Backends,
    key: str,
) -> None:  # fmt: skip
    """Write the folders of parts, with what was corrected in them."""
    waiting = list(parts)
    total = sum(part.stop - part.first for part in parts)
    gathered: list[tuple[np.ndarray, ...]] = []
    with progress("finding outlines", total=total) as bar:
        for some in read_scene(facts, video.LONG_SIDE):
            begin = some.first
            stop = begin + len(some.frames)
            while waiting and waiting[0].first < stop:
                part = waiting[0]
                here = slice(max(part.first, begin), min(part.stop, stop))
                gathered.append(_looked_at(facts, some, found, part, here, chosen, backends))
                bar.advance(here.stop - here.start)
                if part.stop > stop:
                    break
                frames, masks, others = (
                    np.concatenate(rows) for rows in zip(*gathered, strict=True)
                )
                _write(facts, found, part, frames, masks, others, chosen, key)
                gathered.clear()
                waiting.pop(0)
            if not waiting:
                break


def _where(facts: Facts, part: Part, rows: slice) -> np.ndarray:
    """Squares of some rows of a part as `crop.crop_boxes`, (n, 3) in pixels of `Facts.seen`."""
    return square_boxes(part.squares[rows] * (facts.seen.width / facts.size.width))


def _looked_at(
    facts: Facts, some: video.Slice, found: Presence, part: Part, here: slice, chosen: Chosen,
    backends: Backends,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Pictures uint8 and masks float32 of the person and of everybody else, of some frames."""
    frames = some.frames[here.start - some.first : here.stop - some.first]
    where = _where(facts, part, slice(here.start - part.first, here.stop - part.first))
    keypoints, size = found.keypoints[here], square(SIDE)
    near = [one[here] for one in found.others if has_person(one[here]).any()]
    pictures = crop_frames(frames, where, size)
    with reporting_to(Events()):  # a bar for each slice would say nothing
        if chosen.masks_file is not None:
            with quietly():
                clip = as_clip(facts, some._replace(first=here.start, frames=frames))
                truth = exact.masks(chosen.masks_file, clip, facts.part)
            own = crop_frames(truth, where, size) / np.float32(255)
            height, width = frames.shape[1:3]  # of the whole frame: the square may cut a body
            rest = [crop_frames(body_outlines(one, height, width).astype(np.uint8) * 255, where,
                                size) / np.float32(255) for one in near]  # fmt: skip
        else:

            def outline(pose: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
                return segment.extract(
                    frames, pose, where, size, chosen.mask, backends.location, others
                )

            own = outline(keypoints, near)
            rest = [outline(one, [keypoints, *(two for two in near if two is not one)])
                    for one in near]  # fmt: skip
    others = np.zeros_like(own)
    for one in rest:
        others = np.maximum(others, one)
    return pictures, own, others


def _write(
    facts: Facts, found: Presence, part: Part, frames: np.ndarray, masks: np.ndarray,
    others: np.ndarray, chosen: Chosen, key: str,
) -> None:  # fmt: skip
    rows = slice(part.first, part.stop)
    filled = found.filled[rows]
    inside = crop_keypoints(found.keypoints[rows], _where(facts, part, slice(None)), square(SIDE))
    by_hand = corrections.find_corrections(part.folder)
    subject = Subject(  # as exact as its files
        folder=part.folder,
        frames=frames,
        masks=masks_to_uint8(masks) / np.float32(255),
        keypoints=np.round(inside, 3),
        captions=[f"frame {number}" for number in range(part.first, part.stop)],
        fps=float(facts.fps),
        class_word="person",
        scene=None,
    )
    digests = corrections.frame_digests(subject)
    former = read_settings(part.folder).get(OPTIONS)  # earlier versions did not write it down
    if former is not None:
        former = options_in(str(former), facts.command)
    subject = corrections.apply_corrections(subject, digests, by_hand, former)
    marks = corrections.corrected_frames(by_hand, digests)
    usable = usable_masks(subject.masks, subject.keypoints)
    findings = worst_first([
        *_masks(subject, usable, found.stay - part.first, chosen),
        *_held(usable, subject.keypoints),
    ])  # fmt: skip
    about: dict[str, str | int | float] = {
        "size": str(subject.size), "source": facts.path.name, "pose": chosen.pose,
        "mask": chosen.mask, "first": part.first, "key": _key_of(part, key),
        OPTIONS: options_of(facts),
    }  # fmt: skip
    with folder_aside(part.folder, FILES | {OTHERS}) as folder:
        write_subject(subject, folder, about, filled)
        corrections.write_digests(folder, digests, marks)
        write_findings(folder, findings)
        write_report(folder / "report.html", subject, about, findings, marks, filled)
        (folder / OTHERS).mkdir()
        for index in np.flatnonzero(others.max((1, 2)) > 0.1):
            Image.fromarray(masks_to_uint8(others[index])).save(
                folder / OTHERS / f"{index:04}.png", compress_level=1
            )


def findings_in(part: Part) -> list[Finding]:
    """The findings of a prepared part, with its name."""
    name = part.folder.name
    return [one._replace(text=f"{name}: {one.text}") for one in read_findings(part.folder)]


def _masks(subject: Subject, usable: np.ndarray, stay: np.ndarray, chosen: Chosen) -> list[Finding]:
    """What is wrong with masks, but in frames that stay as they are. usable: of `usable_masks`.
    stay: int (N,), of the part, among others."""
    swapped = ~np.isin(np.arange(len(subject.masks)), stay)
    posed = subject.keypoints * swapped[:, None, None]
    advice = "correct the masks in this folder"
    if chosen.masks_file is not None:
        advice += f", or take {chosen.masks_file.name} away to have them found"
    return [
        *missing_findings(subject.masks, posed, advice),
        *outline_findings(usable, subject.keypoints),
    ]


def _held(usable: np.ndarray, keypoints: np.ndarray) -> list[Finding]:
    """What the person of the scene holds goes with the person. usable: as for `_masks`."""
    areas = held_areas(usable, keypoints)
    sides = [side for side, area in areas.items() if len(holding(area))]
    if not sides:
        return []
    text = (
        f"something at the {' and the '.join(sides)} hand belongs to the masks, and goes with the "
        "person; correct the masks if it should stay"
    )
    return [Finding("note", "held", text)]


def read_part(part: Part) -> Content:
    """Read a part's folder, with corrections."""
    subject = read_subject(part.folder)
    others = np.zeros_like(subject.masks)
    for index in range(len(others)):
        path = part.folder / OTHERS / f"{index:04}.png"
        if path.is_file():
            others[index] = read_picture(path, "L") / np.float32(255)
    masks = usable_masks(subject.masks, subject.keypoints)
    return Content(masks, others, _in_scene(subject.keypoints, part))


def read_keypoints(part: Part) -> np.ndarray:
    """The keypoints of `read_part` alone, without reading any picture."""
    return _in_scene(read_poses(part.folder / "poses.json").keypoints, part)


def _in_scene(keypoints: np.ndarray, part: Part) -> np.ndarray:
    """Keypoints (n, 18, 3) in pixels of a part's pictures in the scene's own."""
    out = keypoints.copy()
    scale = part.squares[:, None, 2:] / SIDE
    out[..., :2] = out[..., :2] * scale + part.squares[:, None, :2]
    return out


def corrected_in(part: Part) -> dict[str, list[int]]:
    """The frames of a prepared part that were corrected manually, by kind."""
    return dict(corrections.read_digests(part.folder)["by_hand"])


def write_record(folder: Path, key: str, parts: Sequence[Part], more: dict[str, Any]) -> None:
    """Write scene.json. more: further entries."""
    rows = [{"first": part.first, "stop": part.stop, "begins": part.begins,
             "squares": part.squares.tolist()} for part in parts]  # fmt: skip
    with write_aside(folder / FILE) as aside:
        aside.write_text(json.dumps({"key": key, **more, "parts": rows}) + "\n", encoding="utf-8")


def read_record(folder: Path, key: str) -> tuple[list[Part], dict[str, Any]] | None:
    """The parts, and the other entries, of a scene.json with this key; None without one, and if it
    is damaged."""
    record = read_table(folder / FILE)
    if record.get("key") != key:
        return None
    try:
        parts = [
            Part(folder / f"frames-{row['first']:05}", row["first"], row["stop"],
                 np.array(row["squares"], dtype=int).reshape(-1, 3), row["begins"])
            for row in record["parts"]
        ]  # fmt: skip
        ends = [0, *(part.stop for part in parts), record["total"]]
        whole = all(len(part.squares) == part.stop - part.first > 0 for part in parts)
        whole = whole and bool(parts) and ends == sorted(ends)
        texts = [text for row in record["findings"] for text in Finding(*row)]
        whole = whole and all(0 <= int(number) < record["total"] for number in record["stay"])
    except (KeyError, TypeError, ValueError):
        return None
    return (parts, record) if whole and all(isinstance(text, str) for text in texts) else None
