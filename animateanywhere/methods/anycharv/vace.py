"""The same task by Wan 2.1 VACE (arXiv 2503.07598), a published network that was not trained for it
alone: the scene with the person's place masked, the skeleton in that place, and pictures of the
character in front of the clip.

That the skeleton is drawn in the masked place is not in the paper, where it is plain gray; users of
VACE found that the person then keeps the pose. Pictures are whole persons on white, as VACE's
authors prepare them. The prompt says who is seen, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_prompts
from animateanywhere.backbones.behind_pictures import Words, sample_behind
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.methods.anycharv.generation import Options, steps_of
from animateanywhere.methods.anycharv.reference_picture import cut_out

WHITE = 255
FILLED = 1.0  # of the frame's height or width by a cut-out person


class Character(NamedTuple):
    """What the network gets of one character: R pictures as `Family.encode_reference` gives them,
    (R, K, h, w), and the states of the prompt and of an empty one, each (1, T, D)."""

    pictures: Tensor
    prompt: Tensor
    empty: Tensor


def read_character(
    base: Base, pictures: Sequence[np.ndarray], masks: Sequence[np.ndarray],
    poses: Sequence[np.ndarray], prompt: str,
) -> Character:  # fmt: skip
    """Read one character from pictures: cut out on white, as large as the frame holds. Arguments as
    for `generation.read_character`."""
    each = [cut_out(*one, base.frame, FILLED, WHITE)[0]
            for one in zip(pictures, masks, poses, strict=True)]  # fmt: skip
    with torch.no_grad():
        text, empty = encode_prompts(base, [prompt, ""]).split(1)
    encode = base.family.encode_reference
    assert encode is not None, "see route.route_of"
    with room_for_vae(base):
        return Character(encode(base, np.stack(each)), text, empty)


def prompt_of(class_word: str, appearance: str, place: str) -> str:
    """The prompt of a swap, such as "a man in a red coat on a beach"."""
    article = "an" if class_word[0].lower() in "aeiou" else "a"
    return " ".join(filter(None, (article, class_word, appearance.strip(), place.strip())))


def swap_latents(
    base: Base, character: Character, scene: np.ndarray, region: np.ndarray, poses: np.ndarray,
    options: Options, progress: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """The latents (T, C, h, w) of a clip in which the character takes the person's place.

    Arguments as for `generation.swap_latents`. Each window gets the pictures, whose positions are
    denoised with the clip and then dropped.
    """
    drawn = None
    if options.inside == "skeleton":
        drawn = base.family.draw(poses, scene.shape[1], scene.shape[2])
    encode = base.family.encode_region
    assert encode is not None, "see route.route_of"
    with room_for_vae(base):
        control = encode(base, drawn, scene, region)  # (T, K, h, w)
    words = Words(character.prompt, character.empty)
    return sample_behind(
        base, character.pictures, control, words, options.seed, steps_of(base, options),
        options.guidance, options.sampler, progress, options.steps_folder,
    )  # fmt: skip
