"""Generation of swaps: for `aa swap`, for pairs of the self-boosting stage, and for samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import (
    Base,
    guidance_rescale,
    noise_share,
    sampler_of,
    window_length,
)
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.core.frame_size import Size
from animateanywhere.diffusion.kept_steps import kept
from animateanywhere.diffusion.losses import video_noise
from animateanywhere.diffusion.sampling import Denoiser, blend, make_scheduler, sample, windows
from animateanywhere.methods.anycharv import full_size, method
from animateanywhere.methods.anycharv.full_size import is_full_size, keeps_background
from animateanywhere.methods.anycharv.masks import to_latents
from animateanywhere.methods.anycharv.method import Character, Scene
from animateanywhere.methods.anycharv.reference_picture import GRAY, cut_out
from animateanywhere.methods.anycharv.settings import Mask
from animateanywhere.methods.anycharv.swap_base import reference_size
from animateanywhere.preprocessing.ground import on_ground

STEPS = 12  # denoising steps of bases whose base.toml has none


@dataclass(frozen=True)
class Options:
    """Options of sampling; None stands for the base's default.

    mask: what the region is, a person's box or outline. hidden: whether its pixels are gray, as in
    stage 1, or the scene's own, so that the network sees who is there, as in stage 2; None: as the
    base learned it with that kind of mask. inside: what `vace` shows in the region.
    steps_folder: of these inputs alone, to keep the steps in (`kept_steps`); None: they are not
    kept.
    """

    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    mask: Mask | None = None
    hidden: bool | None = None
    inside: Literal["skeleton", "gray"] = "skeleton"
    steps_folder: Path | None = None


def read_character(
    base: Base,
    pictures: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    poses: Sequence[np.ndarray],
) -> Character:
    """Read one character from pictures: cut out, cropped, encoded, and passed through the network
    once.

    base: of `load_swap_base`. pictures: (H, W, 3) uint8, of any size. masks: (H, W) in [0, 1], 1
    the person. poses: (18, 3) in pixels of the picture, with confidence 0 for what is not known.
    Raises ValueError for an empty mask.
    """
    if is_full_size(base):
        frames = full_size.cut_outs(base, pictures, masks)
        with full_size.reading(base):
            tokens = full_size.image_tokens(base.parts["image_encoder"], frames)[None]
            return read_latents(base, encode_frames(base.vae, frames)[None], None, tokens)
    size = reference_size(base)
    each = [
        cut_out(*one, size, background=keeps_background(base))
        for one in zip(pictures, masks, poses, strict=True)
    ]
    frames, points = (np.stack(part) for part in zip(*each, strict=True))
    return read_cut_outs(base, frames, points)


def read_cut_outs(base: Base, pictures: np.ndarray, poses: np.ndarray) -> Character:
    """`read_character` from pictures (K, h, w, 3) uint8 of the `reference_size`, as of
    `reference_picture.cut_out`, and poses (K, 18, 3) in their pixels."""
    latents = encode_frames(base.vae, pictures)[None]  # (1, K, C, h, w)
    drawn = encode_skeletons(base, poses, reference_size(base))[None]
    return read_latents(base, latents, drawn)


@torch.no_grad()
def read_latents(
    base: Base, pictures: Tensor, poses: Tensor | None, tokens: Tensor | None = None
) -> Character:
    """`read_character` of B characters from latents (B, K, C, h, w) of their cut-out pictures and
    skeletons. tokens: of the pictures, (B, K, n, D); None: by the base's picture encoder."""
    if tokens is None:
        tokens = method.tokens(base.parts["image_encoder"], pictures)
    words = full_size.no_words(base) if is_full_size(base) else method.words(base)
    return method.read(method.reader_of(base), pictures, poses, tokens, words)


def swap_latents(
    base: Base,
    character: Character,
    scene: np.ndarray,
    region: np.ndarray,
    poses: np.ndarray,
    options: Options | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """The latents (F, C, h, w) of a scene in which the character takes the person's place.

    scene: (F, H, W, 3) uint8. region: (F, H, W) in [0, 1], 1 may change; the others' latents are
    the scene's own. poses: (F, 18, 3) in pixels of the scene. progress: called after each denoising
    step (`steps_of` tells how many). Scenes beyond the length the network was trained with are
    denoised in overlapping windows, one at a time, so that memory does not grow with length.
    """
    options = options or Options()
    whole = encode_frames(base.vae, scene)
    seen = encode_frames(base.vae, hidden(base, scene, region)) if hides(base, options) else whole
    cells = cells_of(base, region, *whole.shape[-2:]).to(whole)
    drawn = encode_skeletons(base, poses, Size(scene.shape[2], scene.shape[1]))
    if is_full_size(base):
        drawn = drawn.cpu()  # 5 MB a frame of 512 pixels: each pass takes those of its window
    inputs = Scene(
        seen[None], cells[None], drawn[None], whole[None] if keeps_scene(base) else None,
        bool(base.config.get("mask_input", True)),
    )  # fmt: skip
    return sample_scenes(base, character, inputs, options, progress)[0]


def sample_scenes(
    base: Base,
    character: Character,
    scene: Scene,
    options: Options,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """The latents (B, F, C, h, w) of B scenes, each with its own character; arguments as for
    `swap_latents`."""
    video = scene.latents.shape[1] > 1 and "motion_adapter" in base.parts
    network = method.build(base, video)
    guidance = options.guidance
    guidance = float(base.config["guidance_scale"]) if guidance is None else guidance
    text, rescale = method.words(base), guidance_rescale(base)

    def denoiser_of(start: int, stop: int) -> Denoiser:
        window = scene.window(start, stop)
        return method.denoiser(base, network, window, text, character, guidance, rescale)

    return sample_windows(base, network, denoiser_of, scene.latents, options, progress)


def sample_windows(
    base: Base, network: Any, denoiser_of: Callable[[int, int], Denoiser], scene: Tensor,
    options: Options, progress: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """Latents of the shape of the scenes', (B, F, C, h, w). network: that the denoisers of windows
    call. `Options.guidance` is theirs."""
    config, share = base.scheduler_for(network).config, noise_share(base)
    scheduler = make_scheduler(config, options.sampler or sampler_of(base))
    generator = torch.Generator().manual_seed(options.seed)  # on the CPU: the same on each device
    noise = video_noise(scene.shape, generator, share).to(scene)
    joint = blend(denoiser_of, windows(scene.shape[1], window_length(base)))
    joint = kept(joint, options.steps_folder)
    steps = steps_of(base, options)
    return sample(joint, noise, scheduler, steps, generator, lambda *_: progress(), share)


def decode(base: Base, latents: Tensor) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 of the latents of consecutive frames; if the VAE compresses time,
    the last ones may lie beyond the scene."""
    return decode_latents(base.vae, latents, clip=True)


def through_vae(base: Base, scene: np.ndarray) -> np.ndarray:
    """A scene (F, H, W, 3) uint8 with what the VAE loses: frames of `swap_latents`, decoded, differ
    from these only where the network meant it."""
    return decode(base, encode_frames(base.vae, scene, clip=True))[: len(scene)]


def steps_of(base: Base, options: Options) -> int:
    """The number of denoising steps."""
    return options.steps or int(base.config.get("steps", STEPS))


def hidden(base: Base, frames: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 without what a region (F, H, W) in 0..1 holds, as the base is
    trained with them."""
    return on_ground(frames, 1 - region, full_size.GROUND if is_full_size(base) else GRAY)


def mask_of(base: Base, options: Options | None = None) -> Mask:
    """What the region is: as asked for, or as the base learned it last."""
    own: Mask = "fine" if base.config.get("mask") == "fine" else "box"
    return (options and options.mask) or own


def hides(base: Base, options: Options) -> bool:
    """Whether the region's pixels are gray. The kind of mask that the base did not learn last is
    that of stage 1, which always hides them."""
    if options.hidden is not None:
        return options.hidden
    return mask_of(base, options) != mask_of(base) or bool(base.config.get("hides", False))


def cells_of(base: Base, region: np.ndarray, height: int, width: int) -> Tensor:
    """Regions (F, H, W) in 0..1 at the size of latents, as the base was trained with them,
    (F, 1, height, width)."""
    return to_latents(region, height, width, "nearest" if is_full_size(base) else "area")


def keeps_scene(base: Base) -> bool:
    """Whether the scene's latents are put in outside of the region."""
    return bool(base.config.get("keep_scene", True))


def encode_skeletons(base: Base, keypoints: np.ndarray, size: Size) -> Tensor:
    """Pose latents or features (F, C, h, w) of keypoints (F, 18, 3) in pixels of frames of a
    size."""
    drawn = base.family.draw(keypoints, size.height, size.width)
    return base.family.encode_pose(base, drawn, False)
