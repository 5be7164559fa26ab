"""`aa prepare`: one video of a person -> a subject folder (frames, masks, poses, captions)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside, require_writable, sha256
from animateanywhere.core.findings import Finding, read_findings, warn_findings, write_findings
from animateanywhere.core.frame_size import Size, square
from animateanywhere.core.messages import say
from animateanywhere.datasets import corrections
from animateanywhere.datasets.subject import (
    Subject,
    masks_to_uint8,
    read_settings,
    read_subject,
    write_subject,
)
from animateanywhere.datasets.subject_report import write_report
from animateanywhere.media import video
from animateanywhere.pose.skeleton_video import recognize
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.captions import describe
from animateanywhere.preprocessing.captions.template import fill_template
from animateanywhere.preprocessing.crop import crop_boxes, crop_frames, crop_keypoints
from animateanywhere.preprocessing.masks import segment as mask_of
from animateanywhere.preprocessing.pose import detect as pose_of
from animateanywhere.preprocessing.quality.clip import EMPTY, clip_findings, frame_ranges
from animateanywhere.preprocessing.reference import PEOPLE, Reference, choose_reference

VERSION = 4  # of what is done here: a change makes old folders stale
SIZE = square(128)  # of the bundled base's frames
SAME = 0.05  # relative difference of the aspects of a clip and of its crop
SHORTEST, LONGEST = 8, 64  # frames
DRAWN = {
    "openpose18": "an OpenPose skeleton", "dwpose": "a DWPose skeleton",
    "foreign": "a skeleton in unknown colors", "densepose": "a DensePose part map",
}  # fmt: skip
STILL = 12  # of 255: a smaller change is what video coding makes of one picture


def prepare(
    clip: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    class_word: str | None = None,
    backends: Backends | None = None,
    person: int | None = None,
    size: Size | None = None,
    fps: float = 8,
    report: bool = True,
) -> Subject:
    """Find the one person of a video and write the subject folder `out`; returns what is in it.

    Takes at most 64 frames at `fps`, crops them around the person and scales that to `size`.
    With the same clip and settings as before, the folder that is there is reused. What was
    corrected in it manually is kept and marked, also with other settings.

    scene: where the clip is, for its captions, such as "in a room". class_word: such as "man";
    "person" without. backends: of poses, masks and captions; without, files beside the clip
    (`preprocessing.exact`), else the best that needs no download. person: number of the one to
    learn, the most prominent is 1; None: the only one. size: of the crops [default: SIZE]. fps: of
    the frames taken. report: print warnings of the findings.

    Raises UsageError for a bad or too short file, nobody or several persons in it, and where `out`
    is something else than a subject folder.
    """
    clip, out, backends = Path(clip), Path(out), backends or Backends()
    size = size or SIZE
    _check_paths(clip, out)
    chosen = _choose(clip, backends)
    words = [backends.caption, backends.caption_model, scene, class_word, person]
    files = [clip, chosen.poses_file, chosen.masks_file]
    key = _key(files, [VERSION, chosen.pose, chosen.mask, *words, str(size), fps])
    by_hand = corrections.find_corrections(out)
    if read_settings(out).get("key") == key and _all_shown(out, by_hand):
        say(escape(f"{out}: from the same clip and settings, reused"))
        marks = corrections.corrected_frames(by_hand, by_hand.digests)
        _report(clip, out, marks, read_findings(out), report)
        return read_subject(out)

    describe.check_available(backends)
    taken = video.read(clip, max_frames=LONGEST, fps=fps).frames
    _check_clip(taken, clip, fps)
    someone = _find_person(clip, taken, fps, chosen, backends, person, out)
    keypoints, filled = someone.keypoints, someone.filled
    kept = _with_person(keypoints, clip)
    frames, keypoints, filled = taken[kept], keypoints[kept], filled[kept]
    where = _boxes(frames, keypoints, size.aspect, exactly=chosen.poses_file is not None)
    if chosen.masks_file is not None:
        truth = exact.masks(chosen.masks_file, taken, fps, clip)[kept]
        outline = crop_frames(truth, where, size) / np.float32(255)
    else:
        others = [one[kept] for one in someone.others]
        outline = mask_of.extract(
            frames, keypoints, where, size, chosen.mask, backends.location, others
        )
    _check_outline(outline, clip)
    word = class_word or "person"
    said = describe.describe(frames, scene, backends)
    subject = Subject(  # as exact as its files
        folder=out,
        frames=crop_frames(frames, where, size),
        masks=masks_to_uint8(outline) / np.float32(255),
        keypoints=np.round(crop_keypoints(keypoints, where, size), 3),
        captions=[fill_template(word, said)] * len(frames),
        fps=float(fps),
        class_word=word,
        scene=said.scene or None,
    )
    digests = corrections.frame_digests(subject)
    subject = corrections.apply_corrections(subject, digests, by_hand)
    marks = corrections.corrected_frames(by_hand, digests)
    findings = [*someone.findings, *_left_out(kept, len(taken), someone.findings)]
    findings += clip_findings(frames, keypoints, where, subject.frames, subject.masks, fps)
    about: dict[str, str | int | float] = {
        "size": str(size), "source": clip.name, "pose": chosen.pose, "mask": chosen.mask,
        "caption": backends.caption, "key": key,
    }  # fmt: skip
    with folder_aside(out) as folder:
        write_subject(subject, folder, about, filled)
        corrections.write_digests(folder, digests, marks)
        write_findings(folder, findings)
        write_report(folder / "report.html", subject, about, findings, marks, filled)
    _report(clip, out, marks, findings, report)
    # With exact poses nobody has counted the people
    one = f"one {word}" if chosen.poses_file is None else f"poses of a {word}"
    if person is not None and any(found.what == PEOPLE for found in someone.findings):
        one = f"person {person} alone, the others masked out,"
    say(escape(f"{clip.name}: {one} in {len(frames)} frames; look at {out / 'report.html'}"))
    return subject


def clip_size(clip: Path) -> Size:
    """The size of a clip's frames. Raises UsageError as `video.read` does."""
    first = video.read(clip, max_frames=1).frames
    return Size(first.shape[2], first.shape[1])


def _check_paths(clip: Path, out: Path) -> None:
    if clip.suffix.lower() in video.PICTURE_SUFFIXES:
        raise UsageError(f"{clip}: a single picture; give a video of at least 1 s")
    require_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "subject.toml").is_file():
        raise UsageError(f"{out}: holds files, and no subject; choose another folder")
    if not clip.exists():
        raise UsageError(f"{clip}: no such file")


class _Chosen(NamedTuple):
    """Backends, and the files beside the clip that the exact ones read."""

    pose: str
    mask: str
    poses_file: Path | None
    masks_file: Path | None


def _choose(clip: Path, backends: Backends) -> _Chosen:
    poses, masks = exact.poses_file(clip), exact.masks_file(clip)
    pose = choose_backend("pose", backends, clip, poses)
    mask = choose_backend("mask", backends, clip, masks)
    poses, masks = poses if pose == "exact" else None, masks if mask == "exact" else None
    return _Chosen(pose, mask, poses, masks)


def _find_person(
    clip: Path, frames: np.ndarray, fps: float, chosen: _Chosen, backends: Backends,
    number: int | None, out: Path,
) -> Reference:  # fmt: skip
    if chosen.poses_file is not None:
        if number not in (None, 1):
            raise UsageError(f"--person {number}: {chosen.poses_file} holds one person's poses")
        keypoints = exact.poses(chosen.poses_file, frames, fps)
        return Reference(keypoints, np.zeros(keypoints.shape[:2], dtype=bool), [], [])
    people = pose_of.find_people(frames, chosen.pose, backends.location)
    picture = out.with_name(f"{out.name}-people.png")
    return choose_reference(people, number, frames, fps, clip, picture)


def _boxes(frames: np.ndarray, keypoints: np.ndarray, aspect: float, exactly: bool) -> np.ndarray:
    """Boxes around the person as of `crop_boxes`; the whole of frames of this aspect whose poses
    are exact."""
    height, width = frames.shape[1:3]
    if exactly and abs(width / height / aspect - 1) < SAME:
        return np.tile([width / 2, height / 2, min(height, width / aspect)], (len(frames), 1))
    return crop_boxes(keypoints, height, width, aspect)


def _all_shown(out: Path, by_hand: corrections.Corrections) -> bool:
    """Whether the folder is whole, and its report shows all manual corrections."""
    shown = corrections.read_digests(out)["by_hand"]
    return not by_hand.missing and corrections.corrected_frames(by_hand, by_hand.digests) == shown


def _report(
    clip: Path, out: Path, marks: dict[str, list[int]], findings: list[Finding], report: bool
) -> None:
    kept = [f"{kind} {frame_ranges(indices)}" for kind, indices in marks.items() if indices]
    if kept:
        say(escape(f"{out}: kept as corrected manually: {'; '.join(kept)}"))
    if report:
        warn_findings(clip.name, findings)


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
        raise UsageError(
            f"{clip}: {DRAWN[kind]}, not a person; give a video of the person (skeletons are for "
            "the --pose of aa generate)"
        )
    seen = frames[:, ::3, ::3, 1].astype(np.int16)  # green is most of the light
    changed = 1 + int((np.abs(np.diff(seen, axis=0)).max((1, 2)) > STILL).sum())
    if len(frames) < SHORTEST or changed < SHORTEST:
        raise UsageError(
            f"{clip}: too short: {changed} different frames at {fps:g} a second, "
            f"{SHORTEST} are needed; give a clip of 1 s or longer, best 2 to 8 s"
        )


def _left_out(kept: slice, count: int, findings: list[Finding]) -> list[Finding]:
    cut = any(one.what == PEOPLE and one.level == "warning" for one in findings)
    if kept.stop - kept.start == count or cut:
        return []
    used = f"frames {kept.start} to {kept.stop - 1} of {count} are used"
    return [Finding("warning", "person", f"not seen throughout: {used}")]


def _check_outline(masks: np.ndarray, clip: Path) -> None:
    if (masks.mean((1, 2)) < EMPTY).mean() > 0.5:
        raise UsageError(
            f"{clip}: the person's outline is found in too few frames; "
            f"put masks of your own beside it as {clip.stem}.masks.mp4"
        )


def _with_person(keypoints: np.ndarray, clip: Path) -> slice:
    """The longest stretch of frames that show somebody, since motion must not jump."""
    shown = has_person(keypoints)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]))).tolist()
    stretches = [slice(*ends) for ends in zip(edges[::2], edges[1::2], strict=True)]
    best = max(stretches, key=lambda some: some.stop - some.start, default=slice(0, 0))
    if best.stop - best.start < SHORTEST:
        raise UsageError(
            f"{clip}: no person found: seen in {shown.sum()} of {len(shown)} frames, "
            f"{SHORTEST} in a row are needed; give a clip that shows one person whole"
        )
    return best
