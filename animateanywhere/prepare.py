"""`aa prepare`: one video of a person -> a subject folder (frames, masks, poses, captions)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from rich.markup import escape

from animateanywhere.batch import Subject
from animateanywhere.console import say, warn
from animateanywhere.data import skeleton, video
from animateanywhere.data.skeleton_video import recognize
from animateanywhere.data.subject import read_about, read_subject, write_subject
from animateanywhere.errors import Failure, UsageError
from animateanywhere.extraction import caption_openai, exact, people
from animateanywhere.extraction import mask as mask_of
from animateanywhere.extraction import pose as pose_of
from animateanywhere.extraction.backends import Backends, choose
from animateanywhere.extraction.caption import Said, template
from animateanywhere.extraction.crop import cut, move, squares
from animateanywhere.extraction.findings import Finding, look_over
from animateanywhere.files import require_writable, sha256
from animateanywhere.verdict import read_findings, tell_findings, write_findings

VERSION = 3  # of what is done here: a change makes old folders stale
SHORTEST, LONGEST = 8, 64  # frames
JOINTS = 6  # of 18 that make a person
MASK_SIZE = 384  # MediaPipe's masks have 256 pixels a side


def prepare(
    clip: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    class_word: str | None = None,
    backends: Backends | None = None,
    size: int = 128,
    fps: float = 8,
    tell: bool = True,
) -> Subject:
    """Find the one person of a video and write the subject folder `out`; returns what is in it.

    Takes at most 64 frames at `fps`, cuts a square around the person and scales it to `size`.
    With the same clip and settings as before, the folder that is there is reused, corrections by
    hand included.

    Args:
        clip: video file.
        out: folder to write; an older subject in it is replaced.
        scene: where the clip is, for its captions, such as "in a room".
        class_word: such as "man"; "person" if not given.
        backends: of poses and masks; without, files beside the clip (see `extraction.exact`), else
            the best that needs no download.
        size: pixels a side.
        fps: of the frames taken.
        tell: print what `verdict.read_findings` then gives, in as far as it is a warning.

    Raises:
        UsageError: bad file, nobody or several persons in it, too short, or `out` is something
            else than a subject folder.
    """
    clip, out = Path(clip), Path(out)
    if clip.suffix.lower() in video.PICTURES:
        raise UsageError(f"{clip}: a single picture; give a video of at least 1 s")
    require_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "subject.toml").is_file():
        raise UsageError(f"{out}: holds files, and no subject; choose another folder")
    if not clip.exists():
        raise UsageError(f"{clip}: no such file")
    poses_file, masks_file = exact.poses_file(clip), exact.masks_file(clip)
    backends = backends or Backends()
    pose = choose("pose", backends, clip, poses_file)
    mask = choose("mask", backends, clip, masks_file)
    if backends.caption not in ("template", "openai"):
        raise UsageError(f"--caption {backends.caption}: choose one of template, openai")
    files = [clip, poses_file if pose == "exact" else None, masks_file if mask == "exact" else None]
    key = _key(files, [VERSION, pose, mask, backends.caption, scene, class_word, size, fps])
    if read_about(out).get("key") == key:
        say(escape(f"{out}: from the same clip and settings, reused"))
        if tell:
            tell_findings(clip.name, read_findings(out))
        return read_subject(out)
    if backends.caption == "openai":
        caption_openai.connect()  # without a key nothing is to be in vain

    taken = video.read(clip, max_frames=LONGEST, fps=fps)
    frames = taken.frames
    _check_clip(frames, clip, fps)
    if pose == "exact" and poses_file is not None:
        keypoints = exact.poses(poses_file, frames, fps)
    else:
        persons = people.count(frames, pose, backends.models, backends.offline)
        if persons > 1:
            raise UsageError(f"{clip}: {persons} persons seen; cut the clip to the one to learn")
        found = pose_of.extract(frames, pose, backends.models, backends.offline)
        keypoints = skeleton.steady(found)
    frames, keypoints, kept = _with_person(frames, keypoints, clip)

    height, width = frames.shape[1:3]
    if pose == "exact" and height == width:
        where = np.tile([width / 2, height / 2, width], (len(frames), 1))
    else:
        where = squares(keypoints, height, width)
    if mask == "exact" and masks_file is not None:
        truth = exact.masks(masks_file, taken.frames, fps, video.rate(clip))
        masks = cut(truth[kept], where, size).astype(np.float32) / 255
    else:
        larger, there = cut(frames, where, MASK_SIZE), move(keypoints, where, MASK_SIZE)
        found = mask_of.extract(larger, there, mask, backends.models, backends.offline)
        masks = _smaller(found, size)
    empty = masks.mean((1, 2)) < 0.005
    if empty.mean() > 0.5:
        raise UsageError(
            f"{clip}: the person's outline is found in too few frames; "
            f"put masks of your own beside it as {clip.stem}.masks.mp4"
        )
    pictures = cut(frames, where, size)
    findings = look_over(frames, keypoints, where, pictures, masks, fps)
    if len(frames) < len(taken.frames):
        used = f"frames {kept.start} to {kept.stop - 1} of {len(taken.frames)} are used"
        findings.insert(0, Finding("warning", "person", f"not seen throughout: {used}"))
    if tell:
        tell_findings(clip.name, findings)

    word = class_word or "person"
    said = _said(frames, scene, backends)
    caption = template(word, said)
    subject = Subject(
        folder=out,
        frames=pictures,
        masks=masks,
        keypoints=move(keypoints, where, size),
        captions=[caption] * len(frames),
        fps=float(fps),
        class_word=word,
        scene=said.scene or None,
    )
    about: dict[str, str | int | float] = {
        "size": size,
        "source": clip.name,
        "pose": pose,
        "mask": mask,
        "caption": backends.caption,
        "key": key,
    }
    written = write_subject(subject, about)
    write_findings(out, findings)
    say(escape(f"{clip.name}: one {word} in {len(frames)} frames; look at {out / 'contact.png'}"))
    return written


def _said(frames: np.ndarray, scene: str | None, backends: Backends) -> Said:
    """What captions say beside who it is; a scene that the user names stands."""
    if backends.caption == "template":
        return Said(scene or "")
    try:
        said = caption_openai.describe(frames, backends.caption_model)
    except Failure as error:
        if backends.caption_fallback != "template":
            raise
        warn(escape(f"{error}; going on with --caption template"))
        return Said(scene or "")
    return said._replace(scene=scene) if scene else said


def _key(files: list[Path | None], settings: list[object]) -> str:
    contents = [_digest(file) if file else "" for file in files]
    return hashlib.sha256(repr((contents, settings)).encode()).hexdigest()[:32]


def _digest(file: Path) -> str:
    """Of a file, or of a folder of pictures."""
    if file.is_file():
        return sha256(file)
    return "".join(
        f"{part.name} {sha256(part)}" for part in sorted(file.iterdir()) if part.is_file()
    )


def _check_clip(frames: np.ndarray, clip: Path, fps: float) -> None:
    kind = recognize(frames)
    if kind is not None:
        raise UsageError(f"{clip}: a {kind} rendering, not a person; give a video of the person")
    changed = 1 + int((frames[1:] != frames[:-1]).any((1, 2, 3)).sum())
    if len(frames) < SHORTEST or changed < SHORTEST:
        raise UsageError(
            f"{clip}: too short: {changed} different frames at {fps:g} a second, "
            f"{SHORTEST} are needed; give a clip of 1 s or longer, best 2 to 8 s"
        )


def _with_person(
    frames: np.ndarray, keypoints: np.ndarray, clip: Path
) -> tuple[np.ndarray, np.ndarray, slice]:
    """The longest stretch of frames that show somebody, since motion must not jump."""
    shown = (keypoints[..., 2] >= skeleton.VISIBLE).sum(1) >= JOINTS
    best, start = slice(0, 0), 0
    for index in range(len(shown) + 1):
        if index == len(shown) or not shown[index]:
            if index - start > best.stop - best.start:
                best = slice(start, index)
            start = index + 1
    if best.stop - best.start < SHORTEST:
        raise UsageError(
            f"{clip}: no person found: seen in {shown.sum()} of {len(shown)} frames, "
            f"{SHORTEST} in a row are needed; give a clip that shows one person whole"
        )
    return frames[best], keypoints[best], best


def _smaller(masks: np.ndarray, size: int) -> np.ndarray:
    """Area average of float32 (F, S, S) to (F, size, size)."""
    small = [
        np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.BOX)) for mask in masks
    ]
    return np.stack(small).clip(0, 1)
