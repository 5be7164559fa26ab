"""The quality filter: which pieces teach a base nothing, or something wrong. Each function raises
Unfit; the thresholds are beside those of `preprocessing.quality.clip`."""

from __future__ import annotations

import numpy as np

from animateanywhere.core.frame_size import Size
from animateanywhere.pose.continuity import body_size
from animateanywhere.preprocessing.corpus.source import Unfit
from animateanywhere.preprocessing.quality import clip, footage

MIN_SCALE = clip.SMALL  # of the corpus's size: below, most detail would be invented by scaling up
MIN_PERSON = 0.2  # of the frame's longer side: the person's longer side
BLURRED = clip.BLURRED  # sharpness of the person, in half of the frames
SHARP_SIDE = 256  # pixels of the longer side at which it is measured: more add little detail
CHANGES = 12  # of 255: a smaller change is what video coding makes of one picture
MOVING = 0.5  # share of the frames that must differ from the one before
STILL = 0.05  # joint speed in body heights per second: detectors on a still picture reach 0.02


def check_size(source: Size, size: Size) -> None:
    """Frames of `source` pixels are large enough to be scaled to `size`."""
    scale = min(source.width / size.width, source.height / size.height)
    if scale < MIN_SCALE:
        raise Unfit("low resolution", f"{source} pixels, where the corpus has {size}")


def check_cuts(frames: np.ndarray) -> None:
    """Frames uint8 (F, H, W, 3) are of one shot."""
    at = clip.cut_frames(footage.color_changes(frames))
    if len(at):
        raise Unfit("cut", f"a cut at {clip.frames_in_words(at)} of {len(frames)}")


def check_changes(frames: np.ndarray) -> None:
    """Frames uint8 (F, H, W, 3) of a clip are not one picture again and again."""
    if len(frames) < 2:
        return
    seen = frames[:, ::3, ::3, 1].astype(np.int16)  # green is most of the light
    differ = np.abs(np.diff(seen, axis=0)).max((1, 2)) > CHANGES
    if differ.mean() < MOVING:
        text = f"{int((~differ).sum())} of {len(differ)} frames are as the one before"
        raise Unfit("near-still", text)


def check_motion(keypoints: np.ndarray, fps: float) -> None:
    """The person of (F, 18, 3) moves."""
    speed = clip.joint_speed(keypoints, fps)
    if speed < STILL:  # NaN is not
        raise Unfit("near-still", f"the joints move by {speed:.3f} of the body's height a second")


def check_person_size(keypoints: np.ndarray, size: Size) -> None:
    """The person of (F, 18, 3), in pixels of frames of `size`, is not too small."""
    share = body_size(keypoints) / max(size)
    if share < MIN_PERSON:
        raise Unfit("small person", f"the person takes {share:.0%} of the frame's longer side")


def check_sharpness(pictures: np.ndarray, masks: np.ndarray) -> float:
    """The sharpness of the person in uint8 (F, H, W, 3), where masks (F, H, W) in 0..1 show them;
    NaN if it cannot be measured."""
    small = (footage.downscaled(part, SHARP_SIDE) for part in (pictures, masks))
    sharp = footage.sharpness(*small)
    known = sharp[np.isfinite(sharp)]
    middle = float(np.median(known)) if len(known) else float("nan")
    if middle < BLURRED:  # NaN is not
        raise Unfit("blurred", f"sharpness of the person {middle:.2f}; {BLURRED} is needed")
    return middle
