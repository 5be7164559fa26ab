"""Manual corrections in a subject folder, which the next run of `aa prepare` detects and keeps.

`made.json` records the digest of each frame, mask, pose and caption as the program wrote it; one
that differs from its digest was corrected manually. A correction belongs to a frame by the frame's
pixels, so it remains valid for another scene or class word, and for a cut of the clip.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import findings_are_whole
from animateanywhere.core.json_file import read_json
from animateanywhere.datasets.subject import Subject, masks_to_uint8, read_captions, read_picture
from animateanywhere.pose.skeleton import read_poses

KINDS = ("frame", "mask", "pose", "caption")
FILE = "made.json"
Digests = dict[str, str]  # digest by kind; "is" identifies the frame


class Corrections(NamedTuple):
    """The manual corrections of a folder: values by kind and by the frame they belong to."""

    digests: list[Digests]
    values: dict[str, dict[str, np.ndarray | str]]
    missing: list[str]  # deleted files, to be created again


def frame_digests(subject: Subject) -> list[Digests]:
    """The digests of each frame, as recorded in `made.json`."""
    repeats: Counter[str] = Counter()
    out = []
    for frame, mask, pose, caption in zip(
        subject.frames,
        masks_to_uint8(subject.masks),
        subject.keypoints,
        subject.captions,
        strict=True,
    ):
        record = dict(zip(KINDS, map(_digest, (frame, mask, pose, caption)), strict=True))
        # Frames of a still moment are equal: they are numbered
        record["is"] = f"{record['frame']}-{repeats[record['frame']]}"
        repeats[record["frame"]] += 1
        out.append(record)
    return out


def write_digests(folder: Path, digests: list[Digests], corrected: dict[str, list[int]]) -> None:
    """Write made.json; corrected: the indices of manually corrected frames, by kind."""
    text = json.dumps({"frames": digests, "by_hand": corrected}, indent=1)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_digests(folder: Path) -> dict[str, Any]:
    """Read made.json: "frames", their digests, and "by_hand", corrected frames by kind.

    Raises:
        UsageError: it is damaged, so manual corrections cannot be recognized.
    """
    path = folder / FILE
    try:
        notes = read_json(path)
        keys = (*KINDS, "is")
        whole = all(isinstance(record[key], str) for record in notes["frames"] for key in keys)
        whole = whole and all(isinstance(notes["by_hand"][kind], list) for kind in KINDS)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UsageError(
            f"{path}: damaged; it records what was corrected manually. Restore it, or move or "
            "delete the folder"
        )
    return dict(notes)


def find_corrections(folder: Path) -> Corrections:
    """Find the corrections of a folder by its `made.json`; without that file there are none.

    Raises:
        UsageError: a file is damaged; it is not replaced, since it may contain a correction.
    """
    digests = read_digests(folder)["frames"] if (folder / FILE).is_file() else []
    found = Corrections(digests, {kind: {} for kind in KINDS}, [])
    for index, record in enumerate(digests):
        for kind, mode in (("frame", "RGB"), ("mask", "L")):
            path = folder / f"{kind}s" / f"{index:04}.png"
            if path.is_file():
                _compare(found, record, kind, read_picture(path, mode))
            else:
                found.missing.append(path.name)
    poses, captions = folder / "poses.json", folder / "captions.jsonl"
    for kind, path, read in (("pose", poses, _poses), ("caption", captions, read_captions)):
        rows: Sequence[np.ndarray | str] = read(path) if path.is_file() else []
        if rows and len(rows) != len(digests):
            raise UsageError(
                f"{path}: {len(rows)} {kind}s for {len(digests)} frames; correct the file, or "
                "delete it to have it created again"
            )
        if digests and not rows:
            found.missing.append(path.name)
        for record, row in zip(digests, rows, strict=False):
            _compare(found, record, kind, row)
    return found


def corrected_frames(found: Corrections, digests: list[Digests]) -> dict[str, list[int]]:
    """By kind, the indices of the frames of `digests` that have a correction."""
    return {kind: [index for index, record in enumerate(digests) if record["is"] in values]
            for kind, values in found.values.items()}  # fmt: skip


def is_corrected(folder: Path, index: int, kind: str, value: np.ndarray | str) -> bool:
    """Whether a value of a frame differs from what the program wrote; False without `made.json`."""
    digests = read_digests(folder)["frames"] if (folder / FILE).is_file() else []
    return index < len(digests) and _digest(value) != digests[index][kind]


def all_shown(folder: Path, found: Corrections) -> bool:
    """Whether a folder is whole, and its report shows all of these corrections."""
    whole = not found.missing and findings_are_whole(folder)
    return whole and corrected_frames(found, found.digests) == read_digests(folder)["by_hand"]


def apply_corrections(
    subject: Subject, digests: list[Digests], found: Corrections, former: str | None = None
) -> Subject:
    """The subject with the corrections applied; digests: those of its frames. former: the options
    with which the corrected frames were chosen, None where that is not known.

    Raises:
        UsageError: a correction belongs to none of the frames, or has another size.
    """
    if not any(found.values.values()):
        return subject
    names = [record["is"] for record in digests]
    lost = sum(name not in names for values in found.values.values() for name in values)
    if lost:
        ones = "the former ones" if former is None else f"the former ones ({former})"
        raise UsageError(
            f"{subject.folder}: contains {lost} manual corrections of frames that do not exist "
            f"with these settings; go back to {ones}, or move or delete the folder"
        )
    frames, masks = subject.frames.copy(), masks_to_uint8(subject.masks)
    keypoints, captions = subject.keypoints.copy(), list(subject.captions)
    targets: tuple[Any, ...] = (frames, masks, keypoints, captions)
    for kind, rows in zip(KINDS, targets, strict=True):
        for name, value in found.values[kind].items():
            index = names.index(name)
            if np.shape(value) != np.shape(rows[index]):
                raise UsageError(
                    f"{subject.folder / f'{kind}s' / f'{index:04}.png'}: "
                    f"not {frames.shape[2]} x {frames.shape[1]} pixels, like the others; resize it"
                )
            rows[index] = value
    return replace(subject, frames=frames, masks=masks.astype(np.float32) / 255,
                   keypoints=keypoints, captions=captions)  # fmt: skip


def _compare(found: Corrections, record: Digests, kind: str, value: np.ndarray | str) -> None:
    if _digest(value) != record.get(kind):
        found.values[kind][record["is"]] = value


def _poses(path: Path) -> list[np.ndarray]:
    return list(read_poses(path).keypoints)


def _digest(value: np.ndarray | str) -> str:
    if isinstance(value, str):
        data = value.encode()
    elif value.dtype == np.uint8:
        data = value.tobytes()
    else:  # keypoints, rounded as in poses.json; + 0.0 since -0.0 has other bytes
        data = (np.round(value.astype(np.float64), 3) + 0.0).tobytes()
    return hashlib.blake2b(data, digest_size=12).hexdigest()
