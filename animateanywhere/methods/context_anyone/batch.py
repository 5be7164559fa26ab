"""The inputs of a training step, drawn from shards of latents by seed and pass alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.backbones.vae import latent_count
from animateanywhere.datasets.order import Order
from animateanywhere.datasets.rendered import undamaged
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.methods.context_anyone.data import captions
from animateanywhere.methods.context_anyone.full_size import padded
from animateanywhere.methods.context_anyone.settings import Recipe, Stage
from animateanywhere.pose.skeleton import heat
from animateanywhere.training.ahead import DrawAhead, processes_for
from animateanywhere.training.loop import pass_number

# Target, weight, pose and prompt; of footage, its states (L, D) in the place of the prompt
Row = tuple[np.ndarray, np.ndarray, np.ndarray, str, np.ndarray | None]
COUNTS = (0.6, 0.25, 0.15)  # shares of the passes with 1, 2 and 3 reference pictures


@dataclass(frozen=True)
class Batch:
    """B rows of T latents, each of one person."""

    latents: Tensor  # (B, T, C, h, w), targets
    weight: Tensor  # of the error, (B, T, 1, h, w)
    prompts: list[str]
    poses: Tensor  # (B, T, C, h, w), zeros in rows without
    pictures: Tensor | None  # latents (B, K, C, h, w); None: a pass without reference
    # Of footage, which is encoded once: states (B, L, D) of the prompts, and image tokens
    # (B, K·M, D')
    states: Tensor | None = None
    tokens: Tensor | None = None


def rows(
    base: Base, settings: Recipe, stage: Stage, seed: int, people: ShardCorpus
) -> Callable[[torch.Generator], Batch]:
    """A function that draws the batch of a pass. people: as of `data.encoded_people`."""
    order = Order([np.arange(len(people))], seed)
    draw = _Draw(base, settings, stage, people)

    def batch(generator: torch.Generator) -> Batch:
        number = pass_number(generator, seed)
        _, chosen = order.rows(number, stage.batch)
        return draw.batch(chosen, np.random.default_rng([seed, 5, number]))

    processes = 0 if settings.full_size else processes_for(base.denoiser.device)
    return DrawAhead(batch, seed, processes)


@dataclass(frozen=True)
class _Draw:
    base: Base
    settings: Recipe
    stage: Stage
    people: ShardCorpus
    damaged: set[int] = field(default_factory=set)  # people that could not be read

    def batch(self, chosen: np.ndarray, rng: np.random.Generator) -> Batch:
        alone = bool(rng.random() < self.stage.dropout)
        known = self.settings.corpus.pictures
        shares = np.array(COUNTS[:known])
        count = 1 + int(rng.choice(len(shares), p=shares / shares.sum()))
        people = [self._person(int(row), alone, rng) for row in chosen]
        targets, shown = zip(*people, strict=True)
        latents, weight, poses, prompts, states = zip(*targets, strict=True)
        pictures, tokens = None, None
        if not alone:
            some = [rng.permutation(known)[:count] for _ in chosen]
            pictures, *more = (
                self._tensor([each[one] for each, one in zip(part, some, strict=True)])
                for part in zip(*shown, strict=True)
            )  # (B, K, ...)
            tokens = more[0].flatten(1, 2) if more else None
        return Batch(
            self._tensor(latents), self._tensor(weight), list(prompts), self._tensor(poses),
            pictures, self._padded(states) if self.settings.full_size else None, tokens,
        )  # fmt: skip

    def _person(self, row: int, alone: bool, rng: np.random.Generator) -> tuple[Row, list[Any]]:
        """A row, and what is known of all reference pictures of its person."""
        before = rng.bit_generator.state
        names = [] if alone else ["pictures.npy"]
        if names and self.settings.full_size and self.settings.cast.image_tokens:
            names.append("tokens.npy")

        def read(number: int) -> tuple[Row, list[Any]]:
            rng.bit_generator.state = before
            return self._row(number, alone, rng), self.people.rows(number, names)

        return undamaged(read, row, len(self.people), self.damaged)

    def _padded(self, states: tuple[np.ndarray | None, ...]) -> Tensor:
        """States (B, 512, D) of prompts; None stands for the empty one."""
        with torch.no_grad():
            empty = encode_text(self.base, [""])[0]
        empty = empty.cpu()
        each = [empty if one is None else padded(self._tensor([one]))[0] for one in states]
        return torch.stack(each)

    def _row(self, row: int, alone: bool, rng: np.random.Generator) -> Row:
        """Target, weight, pose and prompt of a row; of footage, its states (L, D) in the place of
        the prompt."""
        stage, packed = self.stage, self.base.packed
        frames = len(self.people.rows(row, ["keypoints.npy"])[0])
        first = 0 if packed > 1 else int(rng.integers(frames - stage.frames + 1))
        (points,) = self.people.rows(row, ["keypoints.npy"], first, first + stage.frames)
        cut = (first, first + latent_count(stage.frames, packed))
        latents, poses = self.people.rows(row, ["latents.npy", "poses.npy"], *cut)
        near = heat(points, int(self.base.config["size"]), latents.shape[-2:])
        near = per_latent(near, len(latents), packed)[:, None]
        if not self.settings.cast.poses or rng.random() < stage.pose_dropout:
            poses = np.zeros_like(poses)
        weight = 1 + self.settings.cast.pose_weight * near
        if self.settings.full_size:
            return latents, weight, poses, "", self._states(row, rng)
        return latents, weight, poses, self._prompt(row, alone, rng), None

    def _states(self, row: int, rng: np.random.Generator) -> np.ndarray | None:
        """The states (L, D) of a caption of a row, None for the empty prompt."""
        (lengths,) = self.people.rows(row, ["lengths.npy"])
        ends = lengths.astype(int).cumsum()
        one = int(rng.integers(len(ends)))
        if rng.random() < self.stage.text_dropout:
            return None
        start = 0 if one == 0 else int(ends[one - 1])
        return self.people.rows(row, ["states.npy"], start, int(ends[one]))[0]

    def _prompt(self, row: int, alone: bool, rng: np.random.Generator) -> str:
        """A caption of a row. Without a reference, only words can tell the appearance."""
        _, told, plain = captions(self.people, row)
        some = told if alone or rng.random() < self.stage.appearance else plain
        prompt = some[int(rng.integers(len(some)))]
        return "" if rng.random() < self.stage.text_dropout else prompt

    def _tensor(self, arrays: list[np.ndarray] | tuple[np.ndarray, ...]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).float()


def per_latent(values: np.ndarray, count: int, packed: int) -> np.ndarray:
    """Values (F, ...) of frames as means (count, ...) of those that share a latent: the first
    alone, then `packed` of them."""
    if packed == 1:
        return values
    groups = [values[:1], *np.array_split(values[1:], count - 1)] if count > 1 else [values]
    return np.stack([group.mean(0) for group in groups])
