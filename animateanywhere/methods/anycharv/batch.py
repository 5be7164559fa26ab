"""The inputs of a training step, drawn from shards of latents by seed and pass alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base
from animateanywhere.datasets.order import Order
from animateanywhere.datasets.rendered import undamaged
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.methods.anycharv.full_size import is_full_size
from animateanywhere.methods.anycharv.masks import TRAINED, box_masks, grown
from animateanywhere.methods.anycharv.method import Scene, weight_of
from animateanywhere.methods.anycharv.settings import Recipe, Stage
from animateanywhere.pose.skeleton import heat
from animateanywhere.training.ahead import DrawAhead, processes_for
from animateanywhere.training.loop import pass_number


@dataclass(frozen=True)
class Batch:
    """B rows of F frames, of R people with K reference pictures each."""

    latents: Tensor  # (B, F, C, h, w), targets
    scene: Scene
    weight: Tensor  # of the error, (B, F, 1, h, w)
    pictures: Tensor  # latents (R, K, C, h', w')
    picture_poses: Tensor | None  # the same of their skeletons; None for a network of full size
    tokens: Tensor | None  # of the pictures, (R, K, n, D), for that
    person: Tensor  # (B,) int64: which of the R people a row shows
    alone: bool  # this pass sees no reference


def rows(
    base: Base, settings: Recipe, stage: Stage, seed: int, people: ShardCorpus,
    pairs: ShardCorpus | None = None,
) -> Callable[[torch.Generator], Batch]:  # fmt: skip
    """A function that draws the batch of a pass of kind "compose" or "boost".

    people: as of `data.encoded_people`. pairs: generated scenes of the same people
    (`pairs.generated_pairs`), None if none are used. All scenes of a person are in one pass, and
    share the reference.
    """
    scenes = settings.corpus.scenes if stage.frames == 1 else 1
    order = Order([np.arange(len(people))], seed)
    draw = _Draw(base, settings, stage, people, pairs, scenes)

    def batch(generator: torch.Generator) -> Batch:
        number = pass_number(generator, seed)
        _, chosen = order.rows(number, stage.batch // scenes)
        return draw.batch(chosen, np.random.default_rng([seed, 5, number]))

    processes = 0 if settings.full_size else processes_for(base.denoiser.device)
    return DrawAhead(batch, seed, processes)


@dataclass(frozen=True)
class _Draw:
    base: Base
    settings: Recipe
    stage: Stage
    people: ShardCorpus
    pairs: ShardCorpus | None
    scenes: int
    damaged: set[int] = field(default_factory=set)  # people that could not be read

    @property
    def drawn(self) -> bool:
        """Whether poses are skeleton pictures (B, F, H, W, 3), for a pose guider that trains."""
        return is_full_size(self.base)

    def batch(self, chosen: np.ndarray, rng: np.random.Generator) -> Batch:
        alone = bool(rng.random() < self.stage.dropout)
        people = [self._person(int(row), rng) for row in chosen]
        each = [scene for scenes, _ in people for scene in scenes]
        shown = rng.permutation(self.settings.corpus.pictures)
        shown = shown[: rng.integers(1, len(shown) + 1)]  # of all people as many
        pictures, more = (
            self._tensor(np.stack(part)[:, shown])
            for part in zip(*(pictures for _, pictures in people), strict=True)
        )
        truth, scene, region, pose, near = (
            self._tensor(np.stack(part)) for part in zip(*each, strict=True)
        )
        rule = self.settings.swap
        return Batch(
            truth, Scene(scene, region, pose, mask_input=rule.mask_input),
            weight_of(region, near, rule.outside_weight, rule.pose_weight),
            pictures, None if self.drawn else more, more if self.drawn else None,
            torch.arange(len(chosen)).repeat_interleave(self.scenes), alone,
        )  # fmt: skip

    def _person(self, row: int, rng: np.random.Generator) -> tuple[list[Any], list[np.ndarray]]:
        """The scenes of a person, and all pictures with what belongs to them."""
        before = rng.bit_generator.state
        names = ["pictures.npy", "tokens.npy" if self.drawn else "picture_poses.npy"]

        def read(number: int) -> tuple[list[Any], list[np.ndarray]]:
            rng.bit_generator.state = before
            scenes = [self._row(number, scene, rng) for scene in range(self.scenes)]
            return scenes, self.people.rows(number, names)

        return undamaged(read, row, len(self.people), self.damaged)

    def _row(self, row: int, scene: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Target, scene, region and pose of a row, and how near to the limbs its latents are."""
        frames = self.stage.frames
        length = len(self.people.rows(row, ["keypoints.npy"])[0]) // self.scenes
        first = scene * length + int(rng.integers(length - frames + 1))
        cut = (first, first + frames)
        truth, points = self.people.rows(row, ["truth.npy", "keypoints.npy"], *cut)
        side = int(self.base.config["size"])
        if self.drawn:
            pose = self.base.family.draw(points, side, side)
        else:
            (pose,) = self.people.rows(row, ["poses.npy"], *cut)
        if self.stage.kind == "compose":
            shift = int(rng.integers(self.settings.corpus.fine_masks)) * length * self.scenes
            at = (shift + cut[0], shift + cut[1])
            seen, region = self.people.rows(row, ["hidden.npy", "masks.npy"], *at)
        else:
            seen, region = self._pair(row, cut, truth.shape[-2:], rng)
        near = heat(points, side, truth.shape[-2:])[:, None]
        return truth, seen, region, pose, near

    def _pair(
        self, row: int, cut: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The scene with another person, and that one's outline, or the box, grown at random."""
        rule, made = self.settings.swap, self.pairs
        generated = made is not None and (rule.pairs == "generated" or rng.random() < 0.5)
        source = made if generated and made is not None else self.people
        scenes = "made.npy" if generated else "other.npy"
        if rule.boost_mask == "fine":
            (seen,) = source.rows(row, [scenes], *cut)
            return seen, self._outline(row, cut, generated, rng)
        seen, found = source.rows(row, [scenes, "boxes.npy"], *cut)
        share = cells[0] / int(self.base.config["size"])
        grow = float(rng.uniform(*TRAINED))
        region = box_masks(grown(found, grow) * share, *cells)[:, None]
        return seen, region.round() if self.drawn else region

    def _outline(
        self, row: int, cut: tuple[int, int], generated: bool, rng: np.random.Generator
    ) -> np.ndarray:
        """An augmented outline of the person in a pair. Who is generated stands in the target's:
        that of the first augmentation, if stage 1 has fine masks."""
        if generated:
            return self.people.rows(row, ["outlines.npy"], *cut)[0]
        total = len(self.people.rows(row, ["keypoints.npy"])[0])
        shift = int(rng.integers(self.settings.corpus.fine_masks)) * total
        return self.people.rows(row, ["other_outlines.npy"], shift + cut[0], shift + cut[1])[0]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).float()
