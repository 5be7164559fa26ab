"""The data of training: triplets, rendered and encoded once, as shards of latents.

A sample is one person (`triplets.Triplet`) of S scenes of F frames, N = S·F, with K pictures; all
are arrays of float16:

truth.npy, other.npy, poses.npy   latents (N, C, h, w) of the frames and of their skeletons
hidden.npy, masks.npy             latents (V·N, C, h, w) of `truth` with an augmented mask of stage
                                  1 cut out, and the masks (V·N, 1, h, w)
outlines.npy, other_outlines.npy  fine masks (V·N, 1, h, w) of both persons, if stage 2 has such
boxes.npy, mask_boxes.npy         boxes (N, 4) of the other person, and (V·N, 4) of those masks
keypoints.npy                     (N, 18, 3), in pixels
pictures.npy, picture_poses.npy   latents (K, C, h', w') of the reference pictures
caption.txt                       the person in words

For a network of the paper's size, which learns from footage, there is nothing of another person, no
latents of skeletons, and tokens.npy (K, 1, D) of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.borrowing import part_hashes
from animateanywhere.backbones.vae import encode_frames
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.footage import Footage, footage_hash
from animateanywhere.datasets.rendered import (
    PER_SHARD,
    array_sample,
    cached_shards,
    rendered_shards,
)
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.datasets.shards import Sample
from animateanywhere.methods.anycharv.footage import Clip, Taken, draws, open_footage
from animateanywhere.methods.anycharv.full_size import image_tokens
from animateanywhere.methods.anycharv.generation import cells_of, encode_skeletons, hidden
from animateanywhere.methods.anycharv.masks import (
    TRAINED,
    box_masks,
    boxes,
    fine_mask,
    grown,
    steady,
)
from animateanywhere.methods.anycharv.settings import GROW, Mask, Recipe, Swap
from animateanywhere.methods.anycharv.swap_base import reference_size
from animateanywhere.methods.anycharv.triplets import Triplet, triplets

VERSION = 1  # of what is computed; a change makes all anew


def encoded_people(base: Base, settings: Recipe, folder: Path, video: bool) -> ShardCorpus:
    """The people of a recipe as latents, in single frames or in clips: those missing in `folder`
    are rendered and encoded. base: of the run, which gives the VAE."""
    corpus = settings.corpus
    count = corpus.clips if video else corpus.images
    frames = int(base.config["frames"]) if video else 1
    side, fps = int(base.config["size"]), float(base.config["fps"])
    rule = asdict(replace(corpus, images=0, clips=0))
    del rule["source"]  # a corpus may be moved
    if not corpus.reference_background:
        del rule["reference_background"]
    about = {
        "version": VERSION, "people": rule, "frames": frames,
        "size": base.config["size"], "fps": base.config["fps"], "seed": settings.seed,
        "reference": [] if settings.full_size else list(reference_size(base)),
        "vae": part_hashes(base, "vae"),
    }  # fmt: skip
    swap, usual = settings.swap, Swap()
    for key in ("augment_masks", "compose_mask", "boost_mask"):
        if getattr(swap, key) != getattr(usual, key):
            about[key] = getattr(swap, key)
    if settings.full_size:
        about["footage"] = footage_hash(Path(corpus.source))
        about["count"] = count
        about["image_encoder"] = part_hashes(base, "image_encoder")

    def encode(number: int, one: Triplet | Taken) -> Sample:
        caption = "" if isinstance(one, Taken) else one.caption
        return array_sample(f"{number:07d}", _encoded(base, one, settings, number), caption)

    name = "clips" if video else "images"
    each = max(PER_SHARD // frames, 1)
    place = folder / name, count, each, about
    label = f"people in {name}"
    if not settings.full_size:
        size = reference_size(base)
        render = partial(
            triplets, corpus, frames=frames, size=side, fps=fps, reference=size, seed=settings.seed
        )
        return rendered_shards(*place, render, encode, label)

    @cache
    def footage() -> Footage[Clip]:
        return open_footage(Path(corpus.source), frames, side, fps)

    def make(numbers: range) -> Iterator[Sample]:
        return map(encode, numbers, draws(footage(), corpus, numbers, frames, settings.seed))

    return cached_shards(*place, make, label)


def _encoded(
    base: Base, one: Triplet | Taken, settings: Recipe, number: int
) -> dict[str, np.ndarray]:
    """The arrays of a person."""
    swap, variants = settings.swap, settings.corpus.fine_masks
    truth, points = (part.reshape(-1, *part.shape[2:]) for part in (one.truth, one.keypoints))
    latents = _latents(base, truth)
    fixed = not swap.augment_masks

    def augmented(kind: Mask, masks: np.ndarray) -> np.ndarray:
        # Of footage, every other one is as it is, as in the public code
        each = range(variants)
        plain = [fixed or (isinstance(one, Taken) and not variant % 2) for variant in each]
        some = [_regions(kind, masks, number, v, plain[v]) for v in each]
        return np.concatenate(some)

    def cells(regions: np.ndarray) -> np.ndarray:
        found = cells_of(base, regions, *latents.shape[-2:])
        array: np.ndarray = found.numpy().astype(np.float16)
        return array

    fine = augmented(swap.compose_mask, one.masks)
    found = {
        "truth": latents,
        "hidden": _latents(base, hidden(base, np.tile(truth, (variants, 1, 1, 1)), fine)),
        "masks": cells(fine),
        "mask_boxes": _boxes(fine.reshape(-1, *one.masks.shape[1:])).astype(np.float32),
        "keypoints": points.astype(np.float32),
        "pictures": _latents(base, one.pictures),
    }
    if swap.boost_mask == "fine":
        found["outlines"] = cells(augmented("fine", one.masks))
        if not isinstance(one, Taken):
            found["other_outlines"] = cells(augmented("fine", one.other_masks))
    if isinstance(one, Taken):
        tokens = image_tokens(base.parts["image_encoder"], one.pictures)
        found["tokens"] = tokens.cpu().numpy().astype(np.float32)
        return found
    side = int(base.config["size"])
    return found | {
        "other": _latents(base, one.other.reshape(truth.shape)),
        "poses": _skeletons(base, points, Size(side, side)),
        "boxes": _boxes(one.other_masks).astype(np.float32),
        "picture_poses": _skeletons(base, one.picture_keypoints, reference_size(base)),
    }


def _regions(kind: Mask, clips: np.ndarray, number: int, variant: int, plain: bool) -> np.ndarray:
    """Masks float32 (S·F, H, W) in 0..1 of the persons in clips (S, F, H, W), uint8: outlines, made
    irregular, or boxes, grown at random; plain: as at use. The same in all frames of a clip, so
    that they do not flicker."""
    out = []
    for scene, masks in enumerate(clips):
        seed = [number, variant, scene]
        if kind == "box":
            share = GROW if plain else float(np.random.default_rng(seed).uniform(*TRAINED))
            out.append(box_masks(grown(steady(boxes(masks)), share), *masks.shape[1:]))
        elif plain:
            out.append(masks / np.float32(255))
        else:
            out.append(np.stack([fine_mask(mask, np.random.default_rng(seed)) for mask in masks]))
    found: np.ndarray = np.concatenate(out)
    return found


def _boxes(clips: np.ndarray) -> np.ndarray:
    """The boxes (S·F, 4) of masks (S, F, H, W), each clip's steadied as at use."""
    found: np.ndarray = np.concatenate([steady(boxes(masks)) for masks in clips])
    return found


def _latents(base: Base, frames: np.ndarray) -> np.ndarray:
    found: np.ndarray = encode_frames(base.vae, frames).cpu().numpy().astype(np.float16)
    return found


def _skeletons(base: Base, keypoints: np.ndarray, size: Size) -> np.ndarray:
    found: np.ndarray = encode_skeletons(base, keypoints, size).cpu().numpy().astype(np.float16)
    return found
