"""Pictures of one person for a video of them: who is in them, what they show, and what will be made
up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.core.messages import quietly
from animateanywhere.datasets.subject import is_prepared
from animateanywhere.media import video
from animateanywhere.media.pictures import clip_digest
from animateanywhere.metrics.reference import reference_delta_e
from animateanywhere.pose.visibility import has_person, parts_shown, view_directions
from animateanywhere.preprocessing import character
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.best_frame import is_clip, read_clip, read_prepared
from animateanywhere.preprocessing.character import (
    Character,
    NobodyFound,
    kind_findings,
    read_character,
)
from animateanywhere.preprocessing.who import Who

SMALLEST = 24  # pixels of a person in a picture, of whom nothing can be seen
# CIEDE2000 of hair and clothes: other clothes, or somebody else. A puppet in another scene is 1 to
# 13 away from itself, another one 8 to 27
OTHER = 12.0
LEAST_COVERED = 0.25  # of the visible joints, by an outline that is the person's
LEAST_AREA = 0.005  # of the square around a person, that an outline covers
PERSON = "--person"  # the option with a person's number


def read_pictures(
    paths: Sequence[Path], who: Who, backends: Backends, least: int, whole: bool = False
) -> list[Character]:
    """Read pictures of one person; arguments as for `character.read_character`. Of a clip or a
    folder of `aa prepare` the best frame is taken. A picture that is given twice counts once.

    whole: nobody is looked for or cut out, and all of a picture is taken. Raises UsageError as
    `read_character`, and for a person of whom nothing can be seen, or whose outline misses them.
    """
    read: dict[str, Character] = {}
    for path in paths:
        if whole:
            one = _whole(path)
        else:
            try:
                one = _read(path, who, backends, least)
            except NobodyFound as error:
                raise UsageError(f"{error}, or --whole takes it as it is") from None
            _require_outline(one)
            one = one._replace(findings=one.findings + _shown(one))
        if one.side < SMALLEST:
            raise UsageError(
                f"{path}: the person has {one.side:.0f} pixels, too few to be seen; give a larger "
                "picture"
            )
        read.setdefault(one.digest, one)
    return list(read.values())


def _read(path: Path, who: Who, backends: Backends, least: int) -> Character:
    if is_prepared(path):
        return read_prepared(path, backends, least)
    if is_clip(path):
        return read_clip(path, who, backends, least)
    return read_character(path, who, backends, least)


def _require_outline(one: Character) -> None:
    """Raise UsageError where a mask cannot be the outline of the person."""
    remedy = "give a cut-out PNG, or --whole takes the picture as it is"
    if one.covered < LEAST_COVERED:
        raise UsageError(
            f"{one.path}: the outline misses the person: {one.covered:.0%} of the joints are in "
            f"it; {remedy}"
        )
    if (area := float((one.mask > 0.5).mean())) < LEAST_AREA:
        raise UsageError(
            f"{one.path}: the outline covers {area:.1%} of the square around the person; {remedy}"
        )


def unlike(first: Character, other: Character) -> list[Finding]:
    """A warning where two pictures seem to show two people, or one in other clothes."""
    found = difference(first, other)
    if not found >= OTHER:  # nor nan
        return []
    text = (
        f"other colors than in {first.path.name} (CIEDE2000 {found:.0f}; the same clothes in other "
        f"light are mostly below {OTHER:.0f}): if that is somebody else, leave it out"
    )
    return [Finding("warning", "another person", text)]


def difference(first: Character, other: Character) -> float:
    """The CIEDE2000 of hair and clothes in two pictures; NaN where one shows nobody."""
    if not (has_person(first.keypoints[None])[0] and has_person(other.keypoints[None])[0]):
        return np.nan
    found = reference_delta_e(
        other.pixels[None], _mask(other), other.keypoints[None],
        first.pixels[None], _mask(first), first.keypoints[None],
    )  # fmt: skip
    return found.get("mean", np.nan)


def _mask(one: Character) -> np.ndarray:
    mask: np.ndarray = (one.mask[None] * 255).astype(np.uint8)
    return mask


def _shown(one: Character) -> list[Finding]:
    """What a picture does not show of its person."""
    points = one.keypoints[None]
    if not has_person(points)[0]:
        return []
    found = []
    shown = parts_shown(points)
    hidden = [name for name in ("legs", "feet", "hands") if not shown[name]]
    if not shown["legs"]:
        text = "shows no legs: they are made up; name what is worn there in the prompt"
        found.append(Finding("warning", "portrait", text))
    elif hidden:
        found.append(Finding("note", "hidden", f"shows no {' and no '.join(hidden)}: made up"))
    view = view_directions(points)[0]
    if view in ("back", "side"):
        seen = "from behind: the face is made up" if view == "back" else "from the side"
        text = f"the person is seen {seen}; --also takes a second picture, from the front"
        found.append(Finding("note", "view", text))
    return found


def _whole(path: Path) -> Character:
    """A picture as it is, in a square on white."""
    with quietly():
        read = video.read(path, max_frames=character.CLIP)
    frame = read.frames[0]
    height, width = frame.shape[:2]
    longer = max(height, width)
    scale = character.SIDE / longer
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
    pixels = np.zeros((character.SIDE, character.SIDE, 3), np.uint8)
    mask = np.zeros(pixels.shape[:2], np.float32)
    y, x = (character.SIDE - size[1]) // 2, (character.SIDE - size[0]) // 2
    pixels[y : y + size[1], x : x + size[0]] = small
    mask[y : y + size[1], x : x + size[0]] = 1
    nobody = np.zeros((18, 3), np.float32)
    digest, findings = clip_digest(path), kind_findings(read)
    return Character(path, digest, pixels, mask, nobody, 0.0, findings, float(longer))
