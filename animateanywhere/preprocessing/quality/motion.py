"""Quality findings about a driving motion, also compared with the learned person."""

from __future__ import annotations

import numpy as np

from animateanywhere.core.findings import Finding
from animateanywhere.core.frame_size import Size
from animateanywhere.pose import body
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import (
    VIEWS,
    has_person,
    parts_shown,
    view_directions,
    view_shares,
)
from animateanywhere.preprocessing.quality.clip import (
    MIN_VIEW_SHARE,
    frame_ranges,
    frames_in_words,
    jump_findings,
    worst_first,
)
from animateanywhere.preprocessing.quality.upright import rotation_findings

MIN_SHARE = 0.1  # of a motion's frames that show a body part or view, for it to count
MAX_SCALE = 1.5  # times larger or smaller than the learned person in their frame
MAX_PROPORTION = 1.25  # ratio of a bone's relative length; people differ by 1.1
EDGE = 0.015  # of the frame: a joint nearer to the edge is leaving
LEAVES = 0.1  # share of the frames with a joint at the edge
HIPS = (8, 11)  # keypoints
# In the order of `body.PAIRS`
BONES = ("trunk", "thighs", "shins", "upper arms", "forearms", "head", "shoulders", "hips")


def motion_findings(
    keypoints: np.ndarray,
    source: Size,
    reference: np.ndarray | None = None,
    learned: Size | None = None,
    fps: float = 8.0,
) -> list[Finding]:
    """Findings about a driving motion, most severe first.

    Args:
        keypoints: (F, 18, 3) in pixels of a picture of size `source`.
        reference: (N, 18, 3), the keypoints of the person to be shown if known, in pixels of a
            frame of size `learned`; without that, sizes and proportions are not compared.
        fps: frame rate of the motion.
    """
    visible = keypoints[..., 2] >= VISIBLE
    empty = np.flatnonzero(~has_person(keypoints))
    if len(empty) == len(keypoints):
        return [Finding("unusable", "skeleton", "no frame contains a skeleton to follow")]
    found = []
    if len(empty):
        text = f"no skeleton in {len(empty)} of {len(keypoints)} frames ({frame_ranges(empty)})"
        found.append(Finding("warning", "skeleton", f"{text}; add poses for them, or remove them"))
    found += [*rotation_findings(keypoints), *jump_findings(keypoints, fps)]
    found += _leaving(keypoints, visible, *source)
    found += _cut(keypoints, reference)
    if reference is not None and learned is not None and len(reference):
        found += _not_in_reference(keypoints, reference)
        shrink = max(source.width / learned.width, source.height / learned.height)
        found += _proportions(keypoints, reference, shrink)
    return worst_first(found)


def _leaving(keypoints: np.ndarray, visible: np.ndarray, width: int, height: int) -> list[Finding]:
    x, y = keypoints[..., 0] / width, keypoints[..., 1] / height
    edges = {"left": x < EDGE, "right": x > 1 - EDGE, "upper": y < EDGE, "lower": y > 1 - EDGE}
    out = []
    for name, beyond in edges.items():
        frames = np.flatnonzero((beyond & visible).any(1))
        if len(frames) >= max(LEAVES * len(keypoints), 1):
            text = f"the motion leaves by the {name} edge in {frames_in_words(frames)}"
            out.append(Finding("warning", "frame", f"{text}; what lies outside is not generated"))
    return out


def _cut(keypoints: np.ndarray, reference: np.ndarray | None) -> list[Finding]:
    """Legs or feet that a motion does not show, unless the person to be shown has none either."""
    shown = parts_shown(keypoints)
    missing = next((part for part in ("legs", "feet") if shown[part] < MIN_SHARE), None)
    if missing is None:
        return []
    known = None if reference is None else reference[has_person(reference)]
    if known is not None and len(known) and parts_shown(known)[missing] < MIN_SHARE:
        return []
    hips = (keypoints[..., list(HIPS), 2] >= VISIBLE).any(1).mean() >= MIN_SHARE
    end = "knees" if missing == "feet" else "hips" if hips else "waist"
    text = f"the motion shows nobody below the {end}: the body ends there"
    return [Finding("warning", "cut off", f"{text}; take a motion that shows the whole person")]


def _not_in_reference(keypoints: np.ndarray, reference: np.ndarray) -> list[Finding]:
    """Body parts and views that the motion shows and the learned clip does not."""
    out = []
    here, there = parts_shown(keypoints), parts_shown(reference)
    parts = [name for name in here if here[name] >= MIN_SHARE and there[name] < MIN_VIEW_SHARE]
    if parts:
        text = (
            f"shows {' and '.join(parts)}, which the person's clip does not; they will be invented"
        )
        out.append(Finding("warning", "unseen parts", text))
    now, then = view_shares(view_directions(keypoints)), view_shares(view_directions(reference))
    sides = [view for view in VIEWS if now[view] >= MIN_SHARE and then[view] < MIN_VIEW_SHARE]
    if sides and any(then.values()):
        text = " and ".join(f"{side} ({now[side]:.0%} of the frames)" for side in sides)
        text = f"shows the {text}, which the person's clip does not; it will be invented"
        out.append(Finding("warning", "unseen views", text))
    return out


def _proportions(keypoints: np.ndarray, reference: np.ndarray, shrink: float) -> list[Finding]:
    """Findings about size in the frame and bone lengths, compared with the learned person's.

    shrink: pixels of the driving frame for one pixel of the learned person's frame.
    """
    own, theirs = body.measure(keypoints), body.measure(reference)
    if own is None or theirs is None:
        return []
    out = []
    scale = body.stature(theirs) / body.stature(own)
    larger = shrink * scale
    if not 1 / MAX_SCALE < larger < MAX_SCALE:
        how = f"{larger:.1f} times as large" if larger > 1 else f"{1 / larger:.1f} times smaller"
        text = f"the learned person is {how} in their frame; the skeleton is scaled to that size"
        out.append(Finding("note", "scale", text))
    ratios = body.at_one_height(own, theirs)
    off = [f"{name} {ratios[bone]:.2f}" for bone, name in enumerate(BONES)
           if not 1 / MAX_PROPORTION < ratios[bone] < MAX_PROPORTION]  # fmt: skip
    if off:
        text = f"other proportions: ratios of the learned person's bones: {', '.join(off)}"
        out.append(Finding("note", "proportions", f"{text}; bone lengths are fitted"))
    return out
