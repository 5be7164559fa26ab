"""One piece of a source becomes a sample: decoded, filtered, cropped, masked and captioned."""

from __future__ import annotations

import errno

import numpy as np

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.datasets.shards import Sample
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import describe
from animateanywhere.preprocessing.captions.template import fill_template
from animateanywhere.preprocessing.corpus import quality
from animateanywhere.preprocessing.corpus.person import Person, find_person
from animateanywhere.preprocessing.corpus.puppet import puppet_sample
from animateanywhere.preprocessing.corpus.row import Row, to_sample
from animateanywhere.preprocessing.corpus.source import (
    Piece,
    Rejection,
    Settings,
    Source,
    Unfit,
    unexpected,
)
from animateanywhere.preprocessing.crop import crop_boxes, crop_frames, crop_keypoints
from animateanywhere.preprocessing.frame_cache import KeptOpen
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.quality.upright import rotation_findings
from animateanywhere.preprocessing.reference_clip import Chosen, choose, outline_of

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # errors of the disk; Pillow's have no number


class Preprocessor:
    """`preprocess` for many pieces: detectors and models are loaded once. A piece that cannot be
    used, or at which something unexpected fails, becomes a Rejection."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.kept = settings, KeptOpen()

    def __call__(self, piece: Piece) -> Sample | Rejection:
        """Raises UsageError, Failure and OSError where no piece could be done: weights are missing,
        a server does not answer, the disk is full or fails."""
        events = Events()
        try:
            with reporting_to(events), self.kept.one_clip():
                return preprocess(piece, self.settings, events)
        except Unfit as error:
            return piece.rejected(error.reason, str(error), self.settings.frames.fps)
        except (UsageError, Failure):
            raise
        except Exception as error:  # a file may make a library raise whatever it meets
            if isinstance(error, OSError) and error.errno in DISK:
                raise
            text = unexpected(piece.source, error)
            return piece.rejected("failed", text, self.settings.frames.fps)


def preprocess(piece: Piece, settings: Settings, events: Events) -> Sample:
    """The sample of a piece.

    events: what was reported while it was read, for the sample's notes. Raises Unfit.
    """
    if piece.source.puppet is not None:
        return puppet_sample(piece, settings.frames, settings.seed)
    fps, part = settings.frames.fps, Part(piece.start, piece.frames)
    read = decode(piece.source, fps, part)
    whole = Size(read.frames.shape[2], read.frames.shape[1])
    size = settings.frames.nearest(whole)
    box = largest_box(whole, size)
    quality.check_size(box, size)
    quality.check_cuts(read.frames)
    quality.check_changes(read.frames)
    chosen = backends_of(piece.source, settings.backends)
    fewest = min(settings.frames.fewest, piece.frames)
    person = find_person(read, part, fewest, chosen, settings.backends.location)
    frames = read.frames[person.kept]
    boxes = boxes_around(person.keypoints, whole, box)
    keypoints = crop_keypoints(person.keypoints, boxes, size)
    quality.check_person_size(keypoints, size)
    quality.check_motion(keypoints, fps)
    pictures = crop_frames(frames, boxes, size)
    masks = masks_of(read, person, part, boxes, size, chosen, settings)
    sharp = quality.check_sharpness(pictures, masks)
    captions, captioner = captions_of(piece.source, frames, settings)
    notes = [event["text"] for event in events.events if event["kind"] == "message"]
    notes += person.notes + [one.text for one in rotation_findings(keypoints)]
    row = Row(piece.key, pictures, keypoints, person.filled, masks, captions,
              references_of(piece.source), fps)  # fmt: skip
    return to_sample(row, {
        "license": piece.source.license, "source": piece.source.name,
        "start": round(float(read.times[person.kept.start]), 3), "source_size": str(whole),
        "pose": chosen.pose, "mask": chosen.mask, "caption": captioner,
        "sharpness": None if np.isnan(sharp) else round(sharp, 3),
        "notes": list(dict.fromkeys(notes)),
    })  # fmt: skip


def decode(source: Source, fps: float, part: Part) -> video.Video:
    """Part of a source at `fps`. Raises Unfit if it cannot be read."""
    assert source.path is not None
    try:
        return video.read(source.path, fps=fps, part=part)
    except UsageError as error:
        raise Unfit("unreadable", source.named(error)) from None


def backends_of(source: Source, backends: Backends) -> Chosen:
    """The backends for a source. Raises Unfit if exact poses or masks are asked for and there is no
    file of them."""
    assert source.path is not None
    try:
        return choose(source.path, backends)
    except UsageError as error:
        if "exact" in (backends.pose, backends.mask):
            raise Unfit("unreadable", source.named(error)) from None
        raise


def largest_box(whole: Size, size: Size) -> Size:
    """The largest part of frames of `whole` that has the aspect ratio of `size`."""
    height = min(whole.height, whole.width / size.aspect)
    return Size(round(height * size.aspect), round(height))


def boxes_around(keypoints: np.ndarray, whole: Size, box: Size) -> np.ndarray:
    """Boxes (F, 3) as of `crop_boxes`, the same in all frames: `box` in frames of `whole`, where it
    shows most of the person of (F, 18, 3)."""
    x, y, _ = np.median(crop_boxes(keypoints, whole.height, whole.width, box.aspect), axis=0)
    middle = np.array([x, y]).clip(np.array(box) / 2, np.array(whole) - np.array(box) / 2)
    return np.tile([*middle, box.height], (len(keypoints), 1))


def masks_of(
    read: video.Video, person: Person, part: Part, boxes: np.ndarray, size: Size, chosen: Chosen,
    settings: Settings,
) -> np.ndarray:  # fmt: skip
    """Masks float32 (F, H, W) in 0..1 of the person in the crops: from a file or the alpha channel,
    or else by segmentation."""
    backends = settings.backends
    try:
        chosen, exact = outline_of(chosen, read, person.kept, person.keypoints, part, backends)
    except UsageError as error:  # of the file with masks
        text = str(error).replace(f"{read.path.parent}/", "")
        raise Unfit("unreadable", text) from None
    if exact is not None:
        return crop_frames(exact, boxes, size) / np.float32(255)
    return segment.extract(
        read.frames[person.kept], person.keypoints, boxes, size, chosen.mask, backends.location,
        person.others,
    )  # fmt: skip


def captions_of(
    source: Source, frames: np.ndarray, settings: Settings
) -> tuple[tuple[str, ...], str]:
    """The captions of a source, and where they are from: given with it, or else what the caption
    backend says of frames, uint8 (F, H, W, 3)."""
    if source.captions:
        return source.captions, "given"
    said = describe.describe(frames, None, settings.backends)
    return (fill_template("person", said).replace("<token> ", ""),), settings.backends.caption


def references_of(source: Source) -> list[np.ndarray]:
    """Pictures of the person, uint8 (H, W, 3), or (H, W, 4) of cut-outs, from other files. Raises
    Unfit if one is none."""
    try:
        read = [video.read(path, max_frames=1) for path in source.references]
    except UsageError as error:
        raise Unfit("unreadable", f"reference: {error}") from None
    return [one.frames[0] if one.alpha is None else np.dstack([one.frames[0], one.alpha[0]])
            for one in read]  # fmt: skip
