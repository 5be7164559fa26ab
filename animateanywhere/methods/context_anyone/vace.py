"""The same task by Wan 2.1 VACE's reference-to-video (arXiv 2503.07598), whose weights are public:
pictures of the person in front of the clip, and a skeleton or nothing in its control video.

What ContextAnyone adds is missing: the pictures are frames without a gap, see the video, and are
seen by no other way. Its paper compares with this network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_prompts
from animateanywhere.backbones.behind_pictures import Words, sample_behind
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.backbones.wan_vace import GRAY
from animateanywhere.methods.context_anyone.generation import Options, steps_of


def vace_latents(
    base: Base, prompt: str, pictures: np.ndarray, frames: int, drawn: np.ndarray | None = None,
    options: Options | None = None, progress: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """The latents (T, C, h, w) of a video of `frames` frames.

    pictures: (R, H, W, 3) uint8, whole persons on white, of the base's frame. drawn: skeletons
    (F, H, W, 3) uint8, None for a motion of the network's own. `Options.likeness` has no part in
    it; the others as for `generation.cast_latents`.
    """
    options, family = options or Options(), base.family
    assert family.encode_reference is not None, "a base without"
    with torch.no_grad():
        words = Words(*encode_prompts(base, [prompt, ""]).split(1))
    gray = np.full((frames, *pictures.shape[1:]), GRAY, np.float32)
    with room_for_vae(base):
        front = family.encode_reference(base, pictures)
        control = family.encode_pose(base, gray if drawn is None else drawn, True)
    return sample_behind(
        base, front, control, words, options.seed, steps_of(base, options), options.guidance,
        options.sampler, progress, options.steps_folder,
    )  # fmt: skip
