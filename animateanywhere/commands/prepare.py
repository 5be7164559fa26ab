"""`aa prepare`: one video of a person -> a subject folder (frames, masks, poses, captions)."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside, require_writable, sha256
from animateanywhere.core.findings import Finding, read_findings, warn_findings, write_findings
from animateanywhere.core.messages import quietly, say
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
from animateanywhere.media.pictures import folder_files
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.pose import smoothing
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.skeleton_video import recognize
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.captions import describe
from animateanywhere.preprocessing.captions.template import fill_template
from animateanywhere.preprocessing.crop import crop_frames, crop_keypoints, crop_squares
from animateanywhere.preprocessing.masks import segment as mask_of
from animateanywhere.preprocessing.pose import detect as pose_of
from animateanywhere.preprocessing.quality.clip import EMPTY, clip_findings, frame_ranges

VERSION = 4  # of what is done here: a change makes old folders stale
SHORTEST, LONGEST = 8, 64  # frames
DRAWN = {
    "openpose18": "an OpenPose skeleton", "dwpose": "a DWPose skeleton",
    "foreign": "a skeleton in unknown colors", "densepose": "a DensePose part map",
}  # fmt: skip
SEARCHED, STEP = 60, 2.0  # frames, one every so many seconds, in which a late person is searched
MOST_OPAQUE = 0.95  # share of alpha that still cuts somebody out
JOINTS_INSIDE = 0.75  # share of the keypoints that lie in an alpha channel that is the outline
STILL = 12  # of 255: a smaller change is what video coding makes of one picture


def prepare(
    clip: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    class_word: str | None = None,
    backends: Backends | None = None,
    size: int = 128,
    fps: float = 8,
    part: Part = WHOLE,
    report: bool = True,
) -> Subject:
    """Find the one person of a video and write the subject folder `out`; returns what is in it.

    Takes at most 64 frames at `fps` from where the person comes into view, cuts a square around the
    person and scales it to `size`. A clip with an alpha channel that outlines the person needs no
    segmentation.
    With the same clip and settings as before, the folder that is there is reused. What was
    corrected in it manually is kept and marked, also with other settings.

    scene: where the clip is, for its captions, such as "in a room". class_word: such as "man";
    "person" without. backends: of poses, masks and captions; without, files beside the clip
    (`preprocessing.exact`), else the best that needs no download. size: pixels a side. fps: of the
    frames taken. part: of the clip. report: print warnings of the findings.

    Raises UsageError for a bad or too short file, nobody or several persons in it, and where `out`
    is something else than a subject folder.
    """
    clip, out, backends = Path(clip), Path(out), backends or Backends()
    _check_paths(clip, out)
    with quietly():  # said when the file has been read
        chosen = _choose(clip, backends)
    words = [backends.caption, backends.caption_model, scene, class_word]
    files = [clip, chosen.poses_file, chosen.masks_file]
    key = _key(files, [VERSION, chosen.pose, chosen.mask, *words, size, fps, *part])
    by_hand = corrections.find_corrections(out)
    if read_settings(out).get("key") == key and _all_shown(out, by_hand):
        say(escape(f"{out}: from the same clip and settings, reused"))
        marks = corrections.corrected_frames(by_hand, by_hand.digests)
        _report(clip, out, marks, read_findings(out), report)
        return read_subject(out)

    describe.check_available(backends)
    read, keypoints, filled, kept = _read_person(clip, fps, part, chosen, backends)
    frames, keypoints, filled = read.frames[kept], keypoints[kept], filled[kept]
    where = _squares(frames, keypoints, exactly=chosen.poses_file is not None)
    chosen, truth = _outline(chosen, read, kept, keypoints, part, backends)
    if truth is not None:
        outline = crop_frames(truth, where, size) / np.float32(255)
    else:
        outline = mask_of.extract(frames, keypoints, where, size, chosen.mask, backends.location)
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
    findings = _left_out(kept, len(read.frames))
    findings += clip_findings(frames, keypoints, where, subject.frames, subject.masks, fps)
    about: dict[str, str | int | float] = {
        "size": size, "source": clip.name, "pose": chosen.pose, "mask": chosen.mask,
        "caption": backends.caption, "key": key,
    }  # fmt: skip
    found = read.findings + findings
    with folder_aside(out) as folder:
        write_subject(subject, folder, about, filled)
        corrections.write_digests(folder, digests, marks)
        write_findings(folder, found)
        write_report(folder / "report.html", subject, about, found, marks, filled)
    _report(clip, out, marks, findings, report)
    say(escape(f"{clip.name}: one {word} in {len(frames)} frames; look at {out / 'report.html'}"))
    return subject


def _check_paths(clip: Path, out: Path) -> None:
    require_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "subject.toml").is_file():
        raise UsageError(f"{out}: holds files, and no subject; choose another folder")
    video.check_file(clip)


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


def _read_person(
    clip: Path, fps: float, part: Part, chosen: _Chosen, backends: Backends
) -> tuple[video.Video, np.ndarray, np.ndarray, slice]:
    """Read the clip from where the person comes into view. Returns it, keypoints (F, 18, 3), where
    (F, 18) they are filled in, and the frames to use."""
    read = video.read(clip, max_frames=LONGEST, fps=fps, part=part)
    _check_clip(read)
    choose_backend("pose", backends, clip, chosen.poses_file)  # now it is said
    if read.alpha is None:
        choose_backend("mask", backends, clip, chosen.masks_file)
    keypoints, filled = _find_poses(read, chosen, backends)
    kept = _with_person(keypoints, read.times, fps)
    late = None
    if read.more and kept.stop - kept.start < SHORTEST:
        late = _arrival(read, chosen, backends)
    elif read.more and kept.stop == len(read.frames) and kept.start >= fps:
        late = float(read.times[kept.start])
    if late is not None:
        read = video.read(clip, max_frames=LONGEST, fps=fps, part=part._replace(start=late))
        keypoints, filled = _find_poses(read, chosen, backends)
        kept = _with_person(keypoints, read.times, fps)
        begin = read.times[kept.start] if kept.stop else late
        say(escape(f"{clip.name}: the person comes into view at {begin:.1f} s, used from there on"))
    _check_moves(read)
    if kept.stop - kept.start < SHORTEST:
        shown = has_person(keypoints)
        raise UsageError(
            f"{clip}: no person found: seen in {shown.sum()} of {len(shown)} frames, "
            f"{SHORTEST} in a row are needed; give a clip that shows one person whole"
            + ("; --start chooses another part of it" if read.more else "")
        )
    _say_part(read, part)
    return read, keypoints, filled, kept


def _arrival(read: video.Video, chosen: _Chosen, backends: Backends) -> float | None:
    """Just before somebody is first seen after what was read, in seconds; None for nobody."""
    end = float(read.times[-1]) + 1 / read.fps
    with quietly(), suppress(UsageError):  # nothing more that can be read
        rest = video.read(read.path, max_frames=SEARCHED, fps=1 / STEP, part=Part(end))
        if chosen.poses_file is not None:
            keypoints = exact.poses(chosen.poses_file, rest)
        else:
            keypoints, _ = pose_of.estimate_poses(rest.frames, chosen.pose, backends.location)
        found = np.flatnonzero(has_person(keypoints))
        return max(float(rest.times[found[0]]) - STEP, end) if len(found) else None
    return None


def _say_part(read: video.Video, part: Part) -> None:
    """Say what of the clip is used where that is not all of it, and how its frame rate is known."""
    if read.path.is_dir() and part.fps is None:
        say(
            escape(
                f"{read.path.name}: a folder of pictures, taken as {read.fps:g} a second; "
                "--input-fps sets another rate"
            )
        )
    if read.more and part.frames is None:
        whole = f" of {read.length:.0f} s" if read.length else ""
        begin, end = read.times[0], read.times[-1] + 1 / read.fps
        say(
            escape(
                f"{read.path.name}: {begin:.0f} to {end:.0f} s{whole} are used, the most that is "
                "learned from; --start chooses another part"
            )
        )


def _find_poses(
    read: video.Video, chosen: _Chosen, backends: Backends
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (F, 18, 3) of the one person, and where (F, 18) they are filled in."""
    if chosen.poses_file is not None:
        keypoints = exact.poses(chosen.poses_file, read)
        return keypoints, np.zeros(keypoints.shape[:2], dtype=bool)
    found, persons = pose_of.estimate_poses(read.frames, chosen.pose, backends.location)
    if persons > 1:
        raise UsageError(f"{read.path}: {persons} persons seen; cut the clip to the one to learn")
    return smoothing.smooth(found, read.fps)


def _outline(
    chosen: _Chosen, read: video.Video, kept: slice, keypoints: np.ndarray, part: Part,
    backends: Backends,
) -> tuple[_Chosen, np.ndarray | None]:  # fmt: skip
    """Masks (F, H, W) uint8 of the frames to use, from files or the alpha channel, else None; and
    what was chosen. keypoints: of these frames."""
    if chosen.masks_file is None and backends.mask == "auto" and read.alpha is not None:
        alpha = read.alpha[kept]
        if _outlines(alpha, keypoints):
            say("masks: the alpha channel of the clip")
            return chosen._replace(mask="alpha"), alpha
        say("masks: the alpha channel of the clip is not the person's outline, and not used")
    if read.alpha is not None:
        choose_backend("mask", backends, read.path, chosen.masks_file)
    if chosen.masks_file is None:
        return chosen, None
    return chosen, exact.masks(chosen.masks_file, read, part)[kept]


def _outlines(alpha: np.ndarray, keypoints: np.ndarray) -> bool:
    """Whether alpha (F, H, W) uint8 cuts out a person with these keypoints (F, 18, 3)."""
    opaque = alpha > 127
    frame, joint = np.nonzero(keypoints[..., 2] >= VISIBLE)
    x, y = np.round(keypoints[frame, joint, :2]).astype(int).T
    inside = opaque[frame, y.clip(0, alpha.shape[1] - 1), x.clip(0, alpha.shape[2] - 1)]
    return bool(opaque.mean() < MOST_OPAQUE and len(inside) and inside.mean() > JOINTS_INSIDE)


def _squares(frames: np.ndarray, keypoints: np.ndarray, exactly: bool) -> np.ndarray:
    """Squares around the person as of `crop_squares`; the whole of square frames whose poses are
    exact."""
    height, width = frames.shape[1:3]
    if exactly and height == width:
        return np.tile([width / 2, height / 2, width], (len(frames), 1))
    return crop_squares(keypoints, height, width)


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
    return "".join(f"{part.name} {sha256(part)}" for part in folder_files(file)[0])


def _check_clip(read: video.Video) -> None:
    frames, clip = read.frames, read.path
    if len(frames) == 1 and not read.more:
        raise UsageError(f"{clip}: a single picture; give a video of at least 1 s")
    kind = recognize(frames)
    if kind is not None:
        raise UsageError(
            f"{clip}: {DRAWN[kind]}, not a person; give a video of the person (skeletons are for "
            "the --pose of aa generate)"
        )
    if len(frames) < SHORTEST:
        raise _too_short(read, len(frames))
    if not read.more:
        _check_moves(read)


def _check_moves(read: video.Video) -> None:
    """Refuse a picture that was made a video, where nobody can come later."""
    seen = read.frames[:, ::3, ::3, 1].astype(np.int16)  # green is most of the light
    changed = 1 + int((np.abs(np.diff(seen, axis=0)).max((1, 2)) > STILL).sum())
    if changed < SHORTEST:
        raise _too_short(read, changed)


def _too_short(read: video.Video, different: int) -> UsageError:
    return UsageError(
        f"{read.path}: too short: {different} different frames at {read.fps:g} a second, "
        f"{SHORTEST} are needed; give a clip of 1 s or longer, best 2 to 8 s"
    )


def _left_out(kept: slice, count: int) -> list[Finding]:
    if kept.stop - kept.start == count:
        return []
    used = f"frames {kept.start} to {kept.stop - 1} of {count} are used"
    return [Finding("warning", "person", f"not seen throughout: {used}")]


def _check_outline(masks: np.ndarray, clip: Path) -> None:
    if (masks.mean((1, 2)) < EMPTY).mean() > 0.5:
        raise UsageError(
            f"{clip}: the person's outline is found in too few frames; "
            f"put masks of your own beside it as {clip.stem}.masks.mp4"
        )


def _with_person(keypoints: np.ndarray, times: np.ndarray, fps: float) -> slice:
    """The longest stretch of frames that show somebody, since motion must not jump."""
    shown = has_person(keypoints)
    new = np.diff(times, prepend=times[0]) > 1.5 / fps  # damaged frames were left out before
    run = np.cumsum(new | np.diff(shown, prepend=shown[0]))
    stretches = [np.flatnonzero(shown & (run == number)) for number in range(run[-1] + 1)]
    best = max(stretches, key=len)
    return slice(int(best[0]), int(best[-1]) + 1) if len(best) else slice(0, 0)
