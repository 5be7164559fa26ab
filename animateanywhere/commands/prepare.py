"""`aa prepare`: one video of a person -> a subject folder (frames, masks, poses, captions)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside, require_writable
from animateanywhere.core.findings import (
    Finding,
    read_findings,
    warn_findings,
    write_findings,
)
from animateanywhere.core.frame_size import Aspect, Size, bucket, square
from animateanywhere.core.messages import say
from animateanywhere.core.run_folder import owned
from animateanywhere.datasets import corrections
from animateanywhere.datasets.subject import (
    FILES,
    Subject,
    masks_to_uint8,
    read_settings,
    read_subject,
    write_subject,
)
from animateanywhere.datasets.subject_report import write_report
from animateanywhere.media import video
from animateanywhere.media.pictures import settings_key
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import describe
from animateanywhere.preprocessing.captions.template import fill_template
from animateanywhere.preprocessing.crop import crop_boxes, crop_frames, crop_keypoints
from animateanywhere.preprocessing.masks import segment as mask_of
from animateanywhere.preprocessing.quality.clip import (
    EMPTY,
    clip_findings,
    frame_ranges,
    frames_in_words,
)
from animateanywhere.preprocessing.reference import PEOPLE
from animateanywhere.preprocessing.reference_clip import choose, outline_of, read_person

VERSION = 6  # of what is done here: a change makes old folders stale
SIZE = square(128)  # of the bundled base's frames
STRIDE = 8  # pixels that each side is a multiple of
SAME = 0.05  # relative difference of the aspects of a clip and of its crop


def prepare(
    clip: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    class_word: str | None = None,
    backends: Backends | None = None,
    person: int | None = None,
    size: Size | None = None,
    aspect: Aspect | None = None,
    fps: float = 8,
    part: Part = WHOLE,
    report: bool = True,
) -> Subject:
    """Find the one person of a video and write the subject folder `out`; returns what is in it.

    Takes at most 64 frames at `fps` from where the person comes into view, crops them around the
    person and scales that to `size`. A clip with an alpha channel that outlines the person needs no
    segmentation.
    With the same clip and settings as before, the folder that is there is reused. What was
    corrected in it manually is kept and marked, also with other settings.

    scene: where the clip is, for its captions, such as "in a room". class_word: such as "man";
    "person" without. backends: of poses, masks and captions; without, files beside the clip
    (`preprocessing.exact`), else the best that needs no download. person: number of the one to
    learn, the most prominent is 1; None: the only one. size: of the crops [default: SIZE]. aspect:
    of the crops in place of their size, with about the pixels of SIZE. fps: of the frames taken.
    part: of the clip. report: print warnings of the findings.

    Raises UsageError for a bad or too short file, nobody or several persons in it, and where `out`
    is something else than a subject folder; Failure if another process works in it.
    """
    clip, out, backends = Path(clip), Path(out), backends or Backends()
    _check_paths(clip, out)
    if aspect is not None:
        ratio = clip_size(clip).aspect if aspect == "source" else aspect
        size = bucket(ratio, SIZE.width, STRIDE)
    size = size or SIZE
    with owned(out, "prepare", lambda folder: (folder / "subject.toml").is_file()):
        return _prepare(clip, out, scene, class_word, backends, person, size, fps, part, report)


def people_picture(out: Path) -> Path:
    """Where the persons of a clip are shown with their numbers, if there are several; out: the
    subject folder."""
    return out.with_name(f"{out.name}-people.png")


def _prepare(
    clip: Path, out: Path, scene: str | None, class_word: str | None, backends: Backends,
    person: int | None, size: Size, fps: float, part: Part, report: bool,
) -> Subject:  # fmt: skip
    """`prepare` in its folder."""
    chosen = choose(clip, backends)
    words = [backends.caption, backends.caption_model, scene, class_word, person]
    files = [clip, chosen.poses_file, chosen.masks_file]
    key = settings_key(files, [VERSION, chosen.pose, chosen.mask, *words, str(size), fps, *part])
    by_hand = corrections.find_corrections(out)
    if read_settings(out).get("key") == key and corrections.all_shown(out, by_hand):
        say(escape(f"{out}: from the same clip and settings, reused"))
        marks = corrections.corrected_frames(by_hand, by_hand.digests)
        _report(clip, out, marks, read_findings(out), report)
        return read_subject(out)

    describe.check_available(backends)
    picture = people_picture(out)
    picture.unlink(missing_ok=True)  # of other settings
    read, someone, kept = read_person(clip, fps, part, chosen, backends, person, picture)
    frames, filled = read.frames[kept], someone.filled[kept]
    keypoints = someone.keypoints[kept]
    where = _boxes(frames, keypoints, size.aspect, exactly=chosen.poses_file is not None)
    chosen, truth = outline_of(chosen, read, kept, keypoints, part, backends)
    if truth is not None:
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
    findings = [*someone.findings, *_left_out(kept, len(read.frames), someone.findings)]
    findings += clip_findings(frames, keypoints, where, subject.frames, subject.masks, fps)
    about: dict[str, str | int | float] = {
        "size": str(size), "source": clip.name, "pose": chosen.pose, "mask": chosen.mask,
        "caption": backends.caption, "key": key,
    }  # fmt: skip
    with folder_aside(out, FILES) as folder:
        write_subject(subject, folder, about, filled)
        corrections.write_digests(folder, digests, marks)
        write_findings(folder, read.findings + findings)
        write_report(
            folder / "report.html", subject, about, read.findings + findings, marks, filled
        )
    _report(clip, out, marks, findings, report)
    # With exact poses nobody has counted the people
    one = f"one {word}" if chosen.poses_file is None else f"poses of a {word}"
    if person is not None and any(found.what == PEOPLE for found in someone.findings):
        one = f"person {person} alone, the others masked out,"
    say(escape(f"{clip.name}: {one} in {len(frames)} frames; look at {out / 'report.html'}"))
    return subject


def clip_size(clip: Path) -> Size:
    """The size of a clip's frames. Raises UsageError as `video.read` does."""
    first = video.read_first(clip).frames
    return Size(first.shape[2], first.shape[1])


def _check_paths(clip: Path, out: Path) -> None:
    require_writable(out)
    video.check_file(clip)


def _boxes(frames: np.ndarray, keypoints: np.ndarray, aspect: float, exactly: bool) -> np.ndarray:
    """Boxes around the person as of `crop_boxes`; the whole of frames of this aspect whose poses
    are exact."""
    height, width = frames.shape[1:3]
    if exactly and abs(width / height / aspect - 1) < SAME:
        return np.tile([width / 2, height / 2, min(height, width / aspect)], (len(frames), 1))
    return crop_boxes(keypoints, height, width, aspect)


def _report(
    clip: Path, out: Path, marks: dict[str, list[int]], findings: list[Finding], report: bool
) -> None:
    kept = [f"{kind} {frame_ranges(indices)}" for kind, indices in marks.items() if indices]
    if kept:
        say(escape(f"{out}: kept as corrected manually: {'; '.join(kept)}"))
    if report:
        warn_findings(clip.name, findings)


def _left_out(kept: slice, count: int, findings: list[Finding]) -> list[Finding]:
    cut = any(one.what == PEOPLE and one.level == "warning" for one in findings)
    if kept.stop - kept.start == count or cut:
        return []
    used = f"the clip is cut to {frames_in_words(range(kept.start, kept.stop))} of {count}"
    why = "the longest stretch in which the person is found in every frame"
    return [Finding("warning", "person", f"{used}, {why}")]


def _check_outline(masks: np.ndarray, clip: Path) -> None:
    if (masks.mean((1, 2)) < EMPTY).mean() > 0.5:
        raise UsageError(
            f"{clip}: the person's outline is found in too few frames; "
            f"put masks of your own beside it as {clip.stem}.masks.mp4"
        )
