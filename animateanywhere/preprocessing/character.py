"""The character of a picture: who is in it, cut out, and what a user should know of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.core.frame_size import Size, square
from animateanywhere.core.messages import quietly, reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.media import video
from animateanywhere.media.pictures import clip_digest, is_picture
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.pose import body
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.skeleton_video import recognize
from animateanywhere.pose.visibility import (
    has_person,
    parts_shown,
    view_directions,
    view_shares,
)
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.crop import (
    crop_boxes,
    crop_corners,
    crop_frames,
    crop_keypoints,
)
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.pose.hidden import painted_over, with_hidden
from animateanywhere.preprocessing.pose.people import follow_people, persons_of
from animateanywhere.preprocessing.quality import footage
from animateanywhere.preprocessing.quality.clip import BLURRED, DARK, OVEREXPOSED, SMALL
from animateanywhere.preprocessing.reference_clip import DRAWN as SKELETONS
from animateanywhere.preprocessing.reference_clip import MOST_OPAQUE
from animateanywhere.preprocessing.tracking import Persons, share_inside
from animateanywhere.preprocessing.who import Who

SIDE = 512  # pixels of the square crop
CLIP = 8  # frames: of so many, a person can be learned
TOUCHES = 0.1  # of an edge of the picture: more of the outline on it is cut off
SHOWN = 0.8  # share of a scene's frames that show a part, for its lack to matter
VIEW = 0.25  # share of a scene's frames that show a view, for its lack to matter
# Of the body: outlines beyond the joints at left, top, right and bottom, of seven photographs
USUAL = (0.14, 0.18, 0.14, 0.10)
DRAWN = 0.32  # plain share of one picture: a drawing 0.37, photographs up to 0.15
OTHER_BUILD = 1.25  # ratio of a bone's length, for bodies of one height
WITHIN = 0.5  # of a person's joints in a mask: the mask is of that person
MOST_GROWTH = 0.25  # of a box for a hat, a skirt or wings


class NobodyFound(UsageError):
    """Nobody is in a picture, or nobody is found there."""


class Character(NamedTuple):
    """A picture of a character: a square crop uint8 (S, S, 3), mask float32 (S, S) in 0..1 and
    keypoints float32 (18, 3) in its pixels, all 0 where none were found. growth: by which a box
    around a body must grow for what this one wears, as a share of its longer side. side: of the
    square in the picture, in its pixels. covered: share of the visible joints that the outline
    covers."""

    path: Path
    digest: str
    pixels: np.ndarray
    mask: np.ndarray
    keypoints: np.ndarray
    growth: float
    findings: list[Finding]
    side: float = 0.0
    covered: float = 1.0


def read_character(path: Path, who: Who, backends: Backends, least: int) -> Character:
    """Read a picture of a character.

    A cut-out (a picture with transparency) is its own mask; PATH.mask.png beside a picture is its
    mask, too, and PATH.poses.json has its pose.

    Args:
        who: which person, if the picture shows several; it is one of its pictures.
        least: pixels of the base's frames: a smaller person is a finding.

    Raises:
        UsageError: no picture that can be read, a skeleton, nobody, or as of `Who.choose`.
    """
    with quietly():
        read = video.read(path, max_frames=CLIP)
    require_no_skeleton(read)
    mask = _own_mask(path, read)
    keypoints, others, smaller = _person(read, who, backends, mask)
    made = cut_out(read, keypoints, others, mask, backends, least)
    findings = kind_findings(read) + (_left_out(smaller) if mask is None else []) + made.findings
    return made._replace(digest=clip_digest(path), findings=findings)


def _left_out(smaller: int) -> list[Finding]:
    """A note of persons far smaller than the character."""
    if not smaller:
        return []
    many = f"{smaller} far smaller persons are" if smaller > 1 else "a far smaller person is"
    text = f"{many} in the picture, too, without a number: crop it to take another one"
    return [Finding("note", "people", text)]


def cut_out_digest(one: Character) -> str:
    """A digest of how a picture was read, by the mask and pose beside it or by detectors."""
    parts = (one.pixels, one.mask, one.keypoints)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def require_no_skeleton(read: video.Video) -> None:
    """Raise UsageError where the first frame is a drawing of a skeleton."""
    if (drawn := recognize(read.frames[:1])) is not None:
        what = SKELETONS[drawn]
        raise UsageError(f"{read.path}: {what}, not a character; give a picture of a person")


def cut_out(
    read: video.Video, keypoints: np.ndarray | None, others: Sequence[np.ndarray],
    mask: np.ndarray | None, backends: Backends, least: int,
) -> Character:  # fmt: skip
    """The person of the first frame of `read`, without a digest.

    Args:
        keypoints: (18, 3) in pixels of the frame, None of a cut-out without a pose.
        others: (18, 3) of each other person there.
        mask: uint8 (H, W) that comes with the picture; None: the person is segmented.
        least: as of `read_character`.

    Raises:
        UsageError: no outline is found.
    """
    path, frame, findings = read.path, read.frames[:1], list[Finding]()
    if mask is not None and any(share_in(mask, one) > WITHIN for one in others):
        text = "several persons in the cut-out, all of which is the character: cut out one of them"
        findings.append(Finding("warning", "several persons", text))
    posed = keypoints is not None
    if keypoints is None:
        text = "no pose found in the cut-out: it is used without"
        findings.append(Finding("warning", "pose", text))
        keypoints = np.zeros((18, 3), np.float32)
    where = _crop(keypoints, mask, Size(frame.shape[2], frame.shape[1]))
    size = square(SIDE)
    pixels = crop_frames(frame, where, size)[0]
    inside = crop_keypoints(keypoints[None], where, size)[0] * np.float32(posed)
    seen = has_person(keypoints[None])[0]
    covered = 1.0 if mask is None or not seen else share_in(mask, keypoints)
    if mask is None:
        name = choose_backend("mask", without_exact(backends), path)

        def outlined(shown: np.ndarray) -> np.ndarray:
            with reporting_to(Events()):
                found: np.ndarray = segment.extract(
                    shown, keypoints[None], where, size, name, backends.location,
                    [one[None] for one in others],
                )[0]  # fmt: skip
            return found

        outline = outlined(frame)
        if others and not (outline > 0.5).any():  # who is found only where these are painted over
            outline = outlined(painted_over(frame[0], np.stack(others))[None])
        covered = share_in((outline * 255).astype(np.uint8), inside) if seen else 1.0
    else:
        outline = _crop_mask(mask, where, size)
    findings += _edges(outline, where, Size(frame.shape[2], frame.shape[1]))
    if not (outline > 0.5).any():
        raise UsageError(
            f"{path}: the outline of the person is not found; give a cut-out PNG, or a mask beside "
            f"it as {path.stem}.mask.png"
        )
    findings += _quality(pixels, outline, where, least)
    growth = _growth(inside, outline)
    side = float(where[0, 2])
    return Character(path, "", pixels, outline, inside, growth, findings, side, covered)


def compared(character: Sequence[Character], scene: np.ndarray) -> list[Finding]:
    """What a scene with keypoints (F, 18, 3) shows of its person, and the pictures do not."""
    known = np.stack([one.keypoints for one in character])
    known = known[has_person(known)]
    if not len(known) or not len(scene):
        return []
    out = []
    here, there = parts_shown(scene), parts_shown(known)
    parts = [name for name in here if here[name] >= SHOWN and not there[name]]
    if parts:
        text = (
            f"{' and '.join(parts)} are not seen, and made up; the scene shows them in "
            f"{_shares([here[name] for name in parts])} of the frames with its person"
        )
        out.append(Finding("warning", "unseen parts", text))
    now, then = view_shares(view_directions(scene)), view_shares(view_directions(known))
    for view, seen in (("front", "from the front"), ("back", "from behind")):
        if any(then.values()) and now[view] >= VIEW and not then[view]:
            text = (
                f"the character is not seen {seen}, as the scene's person is in "
                f"{_shares([now[view]])} of the frames that show which way one faces: give a "
                "second picture"
            )
            out.append(Finding("warning", "unseen views", text))
    return out


def _shares(shares: Sequence[float]) -> str:
    """Shares in words, the least of several; "all" and no 100% where it is all."""
    least = min(shares)
    if least == 1:
        return "all"
    return ("" if len(set(shares)) == 1 else "at least ") + f"{min(int(100 * least + 1e-9), 99)}%"


def proportions(character: Sequence[Character], scene: np.ndarray) -> list[Finding]:
    """A warning where the character is of another build than a scene's person, whose keypoints are
    (F, 18, 3)."""
    theirs = body.measure(np.stack([one.keypoints for one in character]))  # as `--fit bones`
    own = body.measure(scene)
    if own is None or theirs is None:
        return []
    ratios = body.at_one_height(own, theirs)
    bones = (body.TRUNK, body.THIGH, body.SHIN, body.ARM, body.FOREARM)
    names = ("trunk", "thighs", "shins", "upper arms", "forearms")
    off = [f"{name} {ratios[bone]:.2f}" for bone, name in zip(bones, names, strict=True)
           if not 1 / OTHER_BUILD < ratios[bone] < OTHER_BUILD]  # fmt: skip
    if not off:
        return []
    text = (
        f"of another build than the person of the scene (times their {', '.join(off)}): "
        "--fit bones gives the skeleton the character's proportions"
    )
    return [Finding("warning", "proportions", text)]


def kind_findings(read: video.Video) -> list[Finding]:
    """A finding where a file whose first frame is used is no single picture."""
    if len(read.frames) == 1 and not read.more:
        return []
    kind = "clip" if read.path.is_dir() or not is_picture(read.path) else "animation"
    text = f"the first frame of a{'n' if kind == 'animation' else ''} {kind} is used"
    if len(read.frames) >= CLIP:
        text += f"; all of it can be learned: aa personalize {read.path}"
    return [Finding("warning", "clip", text)]


def _own_mask(path: Path, read: video.Video) -> np.ndarray | None:
    """The mask uint8 (H, W) that comes with a picture: a file beside it, or its transparency."""
    beside = path.with_suffix(".mask.png")
    height, width = read.frames.shape[1:3]
    if beside.is_file() and beside != path:
        with quietly():
            given = video.read(beside, max_frames=1).frames[0, ..., 1]
        if given.shape[0] * width != given.shape[1] * height:
            raise UsageError(
                f"{beside}: {given.shape[1]} x {given.shape[0]} pixels, where {path.name} has "
                f"{width} x {height}; make both the same size"
            )
        return np.asarray(Image.fromarray(given).resize((width, height), Image.Resampling.BOX))
    return own_alpha(read)


def own_alpha(read: video.Video) -> np.ndarray | None:
    """The transparency uint8 (H, W) of the first frame, if it cuts somebody out."""
    if read.alpha is None or (read.alpha[0] > 127).mean() >= MOST_OPAQUE:
        return None
    alpha: np.ndarray = read.alpha[0]
    return alpha


def persons_in(clip: video.Video, part: Part, backends: Backends) -> list[Persons]:
    """The persons of each frame of a clip, read from `part` of its file: by the poses beside it, or
    by the detector."""
    known = _poses_beside(clip.path, backends)
    if known is not None:
        return [persons_of(poses) for poses in exact.all_poses(known, clip, part)]
    backend = choose_backend("pose", without_exact(backends), clip.path)
    with reporting_to(Events()):
        return detect.find_persons(clip.frames, backend, backends.location)


def _poses_beside(path: Path, backends: Backends) -> Path | None:
    """The file of exact poses beside a clip, where it is to be used."""
    return exact.poses_file(path) if backends.pose in ("auto", "exact") else None


def _everybody(first: video.Video, backends: Backends) -> Persons:
    """The persons of a picture, the first frame of `first`, with those whom a detector takes for
    one with others."""
    (found,) = persons_in(first, WHOLE, backends)
    if _poses_beside(first.path, backends) is not None:
        return found

    def again(frame: np.ndarray) -> Persons:
        with quietly():
            return persons_in(first._replace(frames=frame[None]), WHOLE, backends)[0]

    return with_hidden(found, first.frames[0], again)


def _person(
    read: video.Video, who: Who, backends: Backends, mask: np.ndarray | None
) -> tuple[np.ndarray | None, list[np.ndarray], int]:
    """Keypoints (18, 3) of the person, None of a cut-out without a pose, and of everybody else; and
    how many are far smaller. mask: that comes with the picture, and tells who of several it is."""
    path, frame = read.path, read.frames[:1]
    first = read._replace(frames=frame, times=read.times[:1])
    people = follow_people([_everybody(first, backends)])
    if not people.tracks:
        if mask is not None:
            return None, [], 0
        raise NobodyFound(
            f"{path}: no person found; give a picture of one person, or a cut-out PNG"
        )
    # Of several pictures, the number is of one that has no mask
    if mask is not None and (who.number is None or len(who.pictures) > 1):
        shares = [share_in(mask, one.keypoints[0]) for one in people.tracks]
        number = 1 + int(np.argmax(shares))
    else:
        number = who.choose(people, lambda _: frame[0], path, ", or crop the picture")
    others = [one.keypoints[0] for one in people.others(number)]
    return people.tracks[number - 1].keypoints[0], others, people.smaller


def share_in(mask: np.ndarray, keypoints: np.ndarray) -> float:
    """The share of a person's visible joints that lie in a mask uint8 (H, W)."""
    return share_inside(mask > 127, keypoints)


def without_exact(backends: Backends) -> Backends:
    """Backends for a picture where "exact" means the files beside the scene."""
    return replace(
        backends, pose=backends.pose.replace("exact", "auto"),
        mask=backends.mask.replace("exact", "auto"),
    )  # fmt: skip


def _crop(keypoints: np.ndarray, mask: np.ndarray | None, frame: Size) -> np.ndarray:
    """The square around the person, as `crop.crop_boxes` (1, 3)."""
    if mask is None:
        return crop_boxes(keypoints[None], frame.height, frame.width)
    rows, columns = np.nonzero(mask > 127)
    if not len(rows):
        return np.array([[frame.width / 2, frame.height / 2, float(max(frame))]])
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    side = 1.06 * float((high - low).max())
    return np.array([[*((low + high) / 2), side]])


def _crop_mask(mask: np.ndarray, where: np.ndarray, size: Size) -> np.ndarray:
    """A mask cropped; beyond the picture nobody is."""
    left, top, side, _ = crop_corners(where, size)[0]
    canvas = np.zeros((side, side), np.uint8)
    height, width = mask.shape
    x, y = max(left, 0), max(top, 0)
    part = mask[y : min(top + side, height), x : min(left + side, width)]
    canvas[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
    small = Image.fromarray(canvas).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(small).astype(np.float32) / 255


def _edges(outline: np.ndarray, where: np.ndarray, frame: Size) -> list[Finding]:
    """A warning where a person is cut by the picture's edge elsewhere than below."""
    left, top, side, _ = crop_corners(where, square(SIDE))[0]
    person = outline > 0.5
    cut = []
    for name, at, line in (
        ("left", -left, person.T), ("upper", -top, person),
        ("right", frame.width - left - 1, person.T),
    ):  # fmt: skip
        row = min(max(round(at * SIDE / side), 0), SIDE - 1)
        inside = 0 <= at < side
        if inside and line[row].mean() > TOUCHES:
            cut.append(name)
    if not cut:
        return []
    text = f"the person is cut by the {' and the '.join(cut)} edge of the picture: made up there"
    return [Finding("warning", "cut off", text)]


def _quality(
    pixels: np.ndarray, outline: np.ndarray, where: np.ndarray, least: int
) -> list[Finding]:
    """Warnings of a small, blurred, dark, overexposed or drawn person."""
    found = []
    side = float(where[0, 2])
    if side < SMALL * least:
        found.append(("size", f"the person is small: {side:.0f} pixels for the base's {least}"))
    sharp = footage.sharpness(pixels[None], outline[None])[0]
    if sharp < BLURRED * min(side / SIDE, 1):  # NaN is not; scaled up it is soft in any case
        found.append(("blur", "the picture is blurred"))
    bright, burnt = footage.brightness(pixels[None], outline[None])
    if bright < DARK:
        found.append(("light", f"the person is dark (brightest parts {bright:.0f} of 255)"))
    elif burnt > OVEREXPOSED:
        found.append(("light", f"overexposed: {burnt:.0%} of the person is plain white"))
    whole = np.array([[SIDE / 2, SIDE / 2, float(SIDE)]])
    if footage.plain_share(pixels[None], whole, outline[None]) > DRAWN:  # NaN is not
        found.append(("drawing", "looks drawn: the result will, too"))
    return [Finding("warning", what, text) for what, text in found]


def _growth(keypoints: np.ndarray, outline: np.ndarray) -> float:
    """How much wider the outline is than that of a body with these joints, as a share of the
    body's longer side, 0 to `MOST_GROWTH`: a hat, a skirt, wings."""
    points = keypoints[keypoints[:, 2] >= VISIBLE, :2]
    if not has_person(keypoints[None])[0]:
        return 0.0
    rows, columns = np.nonzero(outline > 0.5)
    low, high = points.min(0), points.max(0)
    longer = max(float((high - low).max()), 1.0)
    beyond = np.array([low[0] - columns.min(), low[1] - rows.min(),
                       columns.max() - high[0], rows.max() - high[1]]) / longer  # fmt: skip
    feet_seen = (keypoints[[10, 13], 2] >= VISIBLE).any()
    usual = np.array(USUAL)
    if not feet_seen:
        usual[3] = np.inf  # the body goes on there
    return float((beyond - usual).max().clip(0, MOST_GROWTH))
