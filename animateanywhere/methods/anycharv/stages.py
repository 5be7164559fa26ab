"""The stages of training; each writes its parts of the base to the folder of the run.

The paper's four runs (appendix A.2) are stages of two kinds: "compose" on images, "boost" on
images, "compose" on clips, which trains the temporal layers, and "boost" on clips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from animateanywhere.backbones.base import Base, load_parts, noise_share, token_ids
from animateanywhere.backbones.borrowing import lent_config
from animateanywhere.backbones.create import save_once
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.datasets.described import Described, Pairs
from animateanywhere.datasets.samples import parse_captions
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.methods.anycharv import full_size, method
from animateanywhere.methods.anycharv.batch import rows
from animateanywhere.methods.anycharv.data import encoded_people
from animateanywhere.methods.anycharv.pairs import generated_pairs
from animateanywhere.methods.anycharv.samples import sampler
from animateanywhere.methods.anycharv.settings import Recipe, Stage
from animateanywhere.methods.anycharv.swap_base import COMMAND, FAMILY
from animateanywhere.training.ahead import on_device
from animateanywhere.training.contrastive import end_states
from animateanywhere.training.log import Track
from animateanywhere.training.loop import fit, pass_number
from animateanywhere.training.picture_encoder import learn_words
from animateanywhere.training.progress import last_mean
from animateanywhere.training.throughput import Draw


@dataclass(frozen=True)
class Run:
    """What all stages of one training share."""

    settings: Recipe
    out: Path
    track: Track | None = None  # a tracker of the log, besides TensorBoard

    @property
    def config(self) -> dict[str, Any]:
        """The contents of the base.toml that the run ends with, but for its hash."""
        settings = self.settings
        if settings.full_size:
            return settings.model.base_toml() | {
                "name": settings.name, "command": COMMAND, "keep_scene": settings.swap.keep_scene,
            } | settings.as_trained  # fmt: skip
        swap = settings.swap
        return lent_config(swap.base, settings.name, COMMAND) | {
            "reference_width": swap.reference_width, "reference_height": swap.reference_height,
            "keep_scene": swap.keep_scene, "collage": swap.collage,
        } | settings.as_trained  # fmt: skip

    def base(self) -> Base:
        """The base in its current state."""
        family = full_size.FAMILY if self.settings.full_size else FAMILY
        return load_parts(self.out, self.config, PartialState().device, family)

    def people(self, base: Base, video: bool) -> ShardCorpus:
        """The people that the stages learn from, in single frames or in clips."""
        return encoded_people(base, self.settings, self.out / "corpus", video)


def train(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train a stage, and save what it trained. Returns values to keep."""
    return tower(run, stage, seed) if stage.kind == "tower" else swap(run, stage, seed)


def tower(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the picture encoder against the frozen text encoder, on reference pictures and what
    captions say of the person."""
    base = run.base()
    people = run.people(base, video=False)
    known = Described(people, lambda row: _caption(people, row), run.settings.corpus.pictures, seed)

    def draw(generator: torch.Generator) -> Pairs:
        return known.batch(pass_number(generator, seed), stage.batch)

    encoder, dim = base.parts["image_encoder"], base.text_encoder.config.hidden_size
    folder = run.out / "training" / stage.name
    found = learn_words(
        encoder, dim, draw, partial(_ends, base), stage, folder, seed, run.track,
        known.held_out(),
    )  # fmt: skip
    save_once(encoder, run.out / "image_encoder")
    return found


def swap(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train a stage of kind "compose" (eq. 2) or "boost" (eq. 3), on images or clips.

    Who reads the reference learns it on images too: itself with `reference = "own"`, as a part of
    the denoiser with "shared". On clips it is as it is then, as in the paper's second stage.
    """
    base, video = run.base(), stage.frames > 1
    people, pairs = run.people(base, video), None
    if stage.kind == "boost" and run.settings.swap.pairs != "rendered":
        folder = run.out / "corpus" / f"pairs-{stage.name}"
        pairs = generated_pairs(base, run.settings, people, video, folder, seed)
    network, reader = method.build(base, video), method.reader_of(base)
    model = nn.ModuleDict({"unet": network})
    if not full_size.is_full_size(base):  # CLIP's is not trained
        model["image_encoder"] = base.parts["image_encoder"]
    for name in ("reference_unet", "pose_guider"):
        if name in base.parts:
            model[name] = base.parts[name]
    if stage.recompute:
        recompute(network, base.family)
    draw = Draw(rows(base, run.settings, stage, seed, people, pairs))
    text, scheduler = method.words(base), base.scheduler_for(network)
    share = noise_share(base) if video else 0.0

    def loss(model: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = on_device(draw(generator), base.denoiser.device)
        character, scene, words = None, batch.scene, text
        if "pose_guider" in model:
            pictures = scene.poses.flatten(0, 1)
            features = full_size.pose_features(model["pose_guider"], pictures)
            scene = replace(scene, poses=features.unflatten(0, scene.poses.shape[:2]))
            words = full_size.no_words(base)
        if not batch.alone:
            tokens = batch.tokens
            if tokens is None:
                tokens = method.tokens(model["image_encoder"], batch.pictures)
            read = method.read(reader, batch.pictures, batch.picture_poses, tokens, words)
            character = read.rows(batch.person)
        value, logs = method.loss(
            model["unet"], batch.latents, scene, batch.weight, text, character, scheduler,
            generator, stage.timestep_shift, share,
        )  # fmt: skip
        return value + _unused(model), logs

    folder = run.out / "training" / stage.name
    show = sampler(base, run.settings, stage, folder)
    fit(model, stage, loss, folder, seed, show, data=draw, track=run.track)
    for name in {*model, "motion_adapter"} if video else {*model}:
        save_once(base.parts[name], run.out / name)  # a network for clips shares UNet and adapter
    return last_mean(folder, "loss")


def _unused(model: Any) -> Tensor | float:
    """0 that depends on all parameters of what reads references: a pass without one, and the last
    layers of a reference UNet, use none of them, and data parallelism waits for their gradients."""
    parts = (model[name] for name in model if name != "unet")
    trained = [p for part in parts for p in part.parameters() if p.requires_grad]
    return 0.0 * sum(p.sum() for p in trained)


def _caption(people: ShardCorpus, row: int) -> str:
    name = people.name(row, "caption.txt")
    return parse_captions(people.read(row, ["caption.txt"]), name)[0]


@torch.no_grad()
def _ends(base: Base, texts: list[str]) -> Tensor:
    """Texts as vectors (B, D), in the way in which the base's own text encoder was trained."""
    ids = token_ids(base.tokenizer, texts).to(base.text_encoder.device)
    return end_states(base.text_encoder, ids)
