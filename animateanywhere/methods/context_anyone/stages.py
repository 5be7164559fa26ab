"""The stages of training; each writes its parts of the base to the folder of the run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from animateanywhere.backbones.base import Base, encode_text, load_parts, token_ids
from animateanywhere.backbones.borrowing import lent_config
from animateanywhere.backbones.create import save_once
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.datasets.described import Described, Pairs
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.methods.context_anyone import method
from animateanywhere.methods.context_anyone.batch import rows
from animateanywhere.methods.context_anyone.cast_base import COMMAND, family_of
from animateanywhere.methods.context_anyone.data import captions, encoded_people
from animateanywhere.methods.context_anyone.generation import read_latents
from animateanywhere.methods.context_anyone.method import Reference
from animateanywhere.methods.context_anyone.samples import sampler
from animateanywhere.methods.context_anyone.settings import Recipe, Stage, still_frames
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
    corpus: Path | None = None  # folder of the rendered people; None: in `out`

    @property
    def config(self) -> dict[str, Any]:
        """The contents of the base.toml that the run ends with, but for its hash."""
        cast, model = self.settings.cast, self.settings.model
        own = {"steps": cast.steps, "likeness": cast.likeness,
               "guidance_scale": cast.guidance_scale,
               "prompt_motion": cast.prompt_motion, "collage": cast.collage}  # fmt: skip
        if self.settings.full_size:
            about = {"name": self.settings.name, "command": COMMAND}
            found = model.base_toml()
            found.pop("noise_share")
            if self.settings.published:
                about |= {"network": cast.network, "negative": cast.negative}
            return found | about | own
        found = lent_config(cast.base, self.settings.name, COMMAND)
        for key in ("noise_share", "aspects"):  # of the other base's network
            found.pop(key, None)
        return found | own | {"sampler": "unipc", "rendered": True}

    def base(self) -> Base:
        """The base in its current state."""
        config = self.config
        return load_parts(self.out, config, PartialState().device, family_of(config))

    def people(self, base: Base, video: bool) -> ShardCorpus:
        """The people that the stages learn from, in stills or in clips."""
        return encoded_people(base, self.settings, self.corpus or self.out / "corpus", video)


def train(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train a stage, and save what it trained. Returns values to keep."""
    return tower(run, stage, seed) if stage.kind == "tower" else cast(run, stage, seed)


def tower(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the picture encoder against the frozen text encoder, on reference pictures and what
    captions say of the person."""
    base = run.base()
    people = run.people(base, video=False)
    known = Described(
        people, lambda row: captions(people, row)[0], run.settings.corpus.pictures, seed
    )

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


def cast(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the transformer by the dual-guidance loss, on stills or clips."""
    base, settings = run.base(), run.settings
    people = run.people(base, stage.frames > still_frames(settings))
    model = nn.ModuleDict({"transformer": base.denoiser})
    if "image_encoder" in base.parts and not settings.full_size:
        model["image_encoder"] = base.parts["image_encoder"]
    if stage.recompute:
        recompute(base.denoiser, base.family)
    read = Draw(rows(base, settings, stage, seed, people))

    def loss(model: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        batch = on_device(read(generator), base.denoiser.device)
        text, reference = batch.states, None
        if text is None:
            with torch.no_grad():
                text = encode_text(base, batch.prompts)
        if batch.pictures is not None and settings.full_size:
            reference = Reference(batch.pictures, batch.tokens)
        elif batch.pictures is not None:
            reference = read_latents(dict(model.items()).get("image_encoder"), batch.pictures)
        poses = batch.poses if settings.cast.poses else None
        value, logs = method.loss(
            model["transformer"], batch.latents, text, reference, poses, batch.weight,
            base.scheduler, generator, stage.timestep_shift, settings.cast.reconstruction,
        )  # fmt: skip
        return value if reference is not None else value + _unused(model), logs

    folder = run.out / "training" / stage.name
    show = None if settings.full_size else sampler(base, settings, stage, folder)
    fit(model, stage, loss, folder, seed, show, data=read, track=run.track)
    for name, part in model.items():
        save_once(part, run.out / name)
    return last_mean(folder, "loss")


@torch.no_grad()
def _ends(base: Base, texts: list[str]) -> Tensor:
    """Texts as vectors (B, D), in the way in which the base's own text encoder was trained."""
    ids = token_ids(base.tokenizer, texts).to(base.text_encoder.device)
    return end_states(base.text_encoder, ids)


def _unused(model: nn.Module) -> Tensor:
    """0 that depends on all parameters: a pass without a reference uses none of what reads it, and
    data parallelism waits for their gradients."""
    return 0.0 * torch.stack([p.sum() for p in model.parameters() if p.requires_grad]).sum()
