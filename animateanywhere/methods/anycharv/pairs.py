"""Generated pairs for self-boosting (section 3.3, "Pair Construction"): the model of the stages so
far puts another person of the corpus into each scene, by the mask of stage 1 of who is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.borrowing import part_hashes
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.rendered import PER_SHARD, array_sample, cached_shards
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.datasets.shards import Sample
from animateanywhere.methods.anycharv.full_size import is_full_size
from animateanywhere.methods.anycharv.generation import (
    Options,
    encode_skeletons,
    read_latents,
    sample_scenes,
)
from animateanywhere.methods.anycharv.method import Scene
from animateanywhere.methods.anycharv.settings import Recipe

PARTS = ("unet", "motion_adapter", "image_encoder", "reference_unet", "pose_guider")
TOGETHER = 8  # images that are denoised at once


def generated_pairs(
    base: Base, settings: Recipe, people: ShardCorpus, video: bool, folder: Path, seed: int
) -> ShardCorpus:
    """For each of `people` latents made.npy (N, C, h, w) of the scenes with another one of them,
    and boxes.npy (N, 4), within which that one stands. Those missing in `folder` are generated.

    base: the model, whose weights these depend on. video: whether the people are in clips.
    """
    length = len(people.rows(0, ["keypoints.npy"])[0])
    scenes = 1 if video else settings.corpus.scenes
    about = {
        "people": people.about["shards"], "steps": settings.swap.pair_steps, "seed": seed,
        "keep_scene": settings.swap.keep_scene,
        "model": part_hashes(base, *PARTS),
    }  # fmt: skip
    # Who stands in whose scenes: the next in a circle through everybody, so nobody meets himself
    circle = np.random.default_rng([seed, 6]).permutation(len(people))
    guest = dict(zip(circle.tolist(), np.roll(circle, -1).tolist(), strict=True))
    at_once = 1 if video else max(TOGETHER // scenes, 1)

    def make(numbers: range) -> Iterator[Sample]:
        for start in range(numbers.start, numbers.stop, at_once):
            rows = list(range(start, min(start + at_once, numbers.stop)))
            others = [guest[row] for row in rows]
            made = _made(base, settings, people, rows, others, scenes, seed)
            for row, latents in zip(rows, made, strict=True):
                found = people.rows(row, ["mask_boxes.npy"], 0, length)[0]
                arrays = {"made": latents, "boxes": found}
                yield array_sample(people.key(row), arrays, "")

    each = max(PER_SHARD // length, 1)
    return cached_shards(folder, len(people), each, about, make, f"pairs for {people.folder.name}")


@torch.no_grad()
def _made(
    base: Base, settings: Recipe, people: ShardCorpus, rows: list[int], others: list[int],
    scenes: int, seed: int,
) -> np.ndarray:  # fmt: skip
    """Latents (R, N, C, h, w) float16 of the scenes of some rows with other people in them."""

    def tensor(name: str, some: list[int]) -> torch.Tensor:
        """(R·S, F, C, h, w) of scenes; the first of the augmented masks."""
        length = len(people.rows(some[0], ["keypoints.npy"])[0])
        found = np.stack([people.rows(row, [f"{name}.npy"], 0, length)[0] for row in some])
        split = found.reshape(len(some) * scenes, length // scenes, *found.shape[2:])
        return torch.from_numpy(split).float().to(base.denoiser.device)

    def of_pictures(name: str) -> torch.Tensor:
        found = np.stack([people.rows(row, [f"{name}.npy"])[0] for row in others])
        return torch.from_numpy(found).float().to(base.denoiser.device)

    pictures = of_pictures("pictures")
    if is_full_size(base):
        read = read_latents(base, pictures, None, of_pictures("tokens"))
        points = tensor("keypoints", rows)
        size = Size(*2 * [int(base.config["size"])])
        drawn = encode_skeletons(base, points.flatten(0, 1).cpu().numpy(), size)
        poses = drawn.unflatten(0, points.shape[:2])
    else:
        read = read_latents(base, pictures, of_pictures("picture_poses"))
        poses = tensor("poses", rows)
    character = read.rows(torch.arange(len(rows)).repeat_interleave(scenes))
    kept = tensor("truth", rows) if settings.swap.keep_scene else None
    scene = Scene(
        tensor("hidden", rows), tensor("masks", rows), poses, kept, settings.swap.mask_input
    )
    options = Options(seed=seed * 1_000_003 + rows[0], steps=settings.swap.pair_steps)
    made = sample_scenes(base, character, scene, options)  # (R·S, F, C, h, w)
    return made.reshape(len(rows), -1, *made.shape[2:]).cpu().numpy().astype(np.float16)
