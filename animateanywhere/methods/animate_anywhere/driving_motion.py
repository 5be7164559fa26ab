"""The driving motion of a generated video: fitted to the learned person, drawn and encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from animateanywhere.backbones.base import Base, encode_poses
from animateanywhere.backbones.loading import Loaded
from animateanywhere.backbones.personal_weights import learned_frame, learned_keypoints
from animateanywhere.core.findings import warn_findings
from animateanywhere.core.frame_size import Size, square
from animateanywhere.core.messages import say
from animateanywhere.pose import retarget, skeleton
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.preprocessing.driving import Driving
from animateanywhere.preprocessing.quality.motion import motion_findings

CLOSE = 1.5  # times the usual step from frame to frame
JITTER = 0.01  # of the frame's height
SLICE = 16  # skeletons that are drawn and encoded at once


class Motion(NamedTuple):
    """The motion of a video: fitted keypoints or, from a skeleton video, pictures."""

    driving: Driving
    fitted: np.ndarray | None  # keypoints (F, 18, 3), in pixels of the base
    pictures: np.ndarray | None  # (F, H, W, 3) uint8
    frame: Size  # of the video to generate
    # Draws fitted keypoints as the base is used to, see `Family.draw`
    draw: Callable[[np.ndarray, int, int], np.ndarray] = skeleton.draw

    def __len__(self) -> int:
        return len(self.driving.keypoints if self.pictures is None else self.pictures)

    def skeletons(self, which: np.ndarray) -> np.ndarray:
        """Skeleton pictures (N, H, W, 3) uint8 of the frames with these indices (N,)."""
        if self.pictures is not None:
            return self.pictures[which]
        assert self.fitted is not None
        return self.draw(self.fitted[which], self.frame.height, self.frame.width)

    def rows(self, which: np.ndarray, fit: str) -> list[tuple[str, np.ndarray]]:
        """Rows of a contact sheet for these frames (N,): the skeleton before and after fitting."""
        if fit == "none":
            return [("driving", self.skeletons(which))]
        before = retarget.letterbox(self.driving.keypoints[which], self.driving.size, self.frame)
        return [
            ("driving", self.draw(before, self.frame.height, self.frame.width)),
            (f"fitted ({fit})", self.skeletons(which)),
        ]


def closes(driving: Driving) -> bool:
    """Whether the last pose of a motion leads to the first: it is no further from it than `CLOSE`
    usual steps between frames, or than joints jitter."""
    points, seen = driving.keypoints[..., :2], driving.keypoints[..., 2] >= VISIBLE
    if driving.pictures is not None or len(points) < 3:
        return False
    pairs = [(i, i + 1) for i in range(len(points) - 1)] + [(len(points) - 1, 0)]
    moves = []
    for a, b in pairs:
        both = seen[a] & seen[b]
        if not both.any():
            return False
        moves.append(float(np.linalg.norm(points[a] - points[b], axis=-1)[both].mean()))
    return moves[-1] <= max(CLOSE * float(np.median(moves[:-1])), JITTER * driving.height)


def fit_motion(
    driving: Driving, name: str, base: Base, learned: dict[str, str], fit: retarget.Fit
) -> tuple[Motion, retarget.Fit]:
    """Fit a driving motion to the learned person; return it, and the fit that was used.

    name: of the motion's file, for messages. learned: metadata of the personal weights.
    """
    frame = base.frame
    if driving.pictures is not None:
        return Motion(driving, None, retarget.pad(driving.pictures, frame), frame), "none"
    build, fps = learned_keypoints(learned), float(base.config["fps"])
    theirs = learned_frame(learned) or square(int(base.config["size"]))
    warn_findings(name, motion_findings(driving.keypoints, driving.size, build, theirs, fps))
    if fit != "none" and build is None:
        say(
            "no keypoints of a learned person to fit to: the skeleton keeps its proportions, at an "
            "average height"
        )
    fitted = retarget.fit(driving.keypoints, driving.size, frame, fit, build, theirs)
    return Motion(driving, fitted, None, frame, base.family.draw), fit


def encode_motion(loaded: Loaded, motion: Motion) -> tuple[torch.Tensor, str]:
    """Draw and encode the skeletons: the pose condition (T, *pose_shape), and the SHA-256 of the
    pictures."""
    base, digest, poses = loaded.base, hashlib.sha256(), []
    # A VAE that compresses time needs the whole clip
    parts = 1 if base.packs_clips else -(-len(motion) // SLICE)
    with loaded.autocast, loaded.room_for_vae():
        for some in np.array_split(np.arange(len(motion)), parts):
            pictures = motion.skeletons(some)
            digest.update(pictures.tobytes())
            poses.append(encode_poses(base, pictures, clip=True))
    return torch.cat(poses), digest.hexdigest()
