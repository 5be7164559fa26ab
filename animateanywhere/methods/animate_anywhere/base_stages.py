"""The stages of base training; each writes its part of the base to the folder of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from animateanywhere.backbones.base import Base, latent_shape, load_parts, token_ids
from animateanywhere.backbones.create import save_once
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.core.files import write_aside
from animateanywhere.evaluation.perception_training import train_perception
from animateanywhere.media.video import contact_sheet
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.base_data import Rendered
from animateanywhere.methods.animate_anywhere.base_samples import (
    caption_errors,
    held_out_puppets,
    sampler,
)
from animateanywhere.methods.animate_anywhere.corpus_data import CorpusData, open_samples
from animateanywhere.methods.animate_anywhere.puppet_corpora import open_puppets
from animateanywhere.methods.animate_anywhere.settings import Recipe, Stage
from animateanywhere.methods.animate_anywhere.text_stage import Pairs
from animateanywhere.methods.animate_anywhere.vae_pictures import vae_sources
from animateanywhere.methods.animate_anywhere.vae_stage import autoencoder_loss, draw_pictures
from animateanywhere.metrics import psnr
from animateanywhere.training.ahead import DrawAhead, processes_for
from animateanywhere.training.contrastive import contrastive_loss, retrieval_accuracy
from animateanywhere.training.cuda_graph import replayed
from animateanywhere.training.log import Track
from animateanywhere.training.loop import fit
from animateanywhere.training.progress import last_mean
from animateanywhere.training.throughput import Draw


@dataclass(frozen=True)
class Run:
    """What all stages of one base training share."""

    settings: Recipe
    out: Path
    data: Rendered | CorpusData
    track: Track | None = None  # a tracker of the log, besides TensorBoard


def open_data(settings: Recipe, out: Path) -> Rendered | CorpusData:
    """The data that a recipe names: puppets, rendered to the run's folder, or a corpus."""
    if settings.corpus.source == "puppets":
        return Rendered(settings, out, *open_puppets(settings, out / "corpus"))
    return CorpusData(settings, out, open_samples(Path(settings.corpus.source)))


def vae(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the autoencoder on people and procedural pictures (see `vae_stage`)."""
    base = _parts(run)
    base.vae.to(memory_format=torch.channels_last)  # 1.13 times as fast on a processor
    pictures, size = run.data.pictures, run.settings.model.size
    with PartialState().main_process_first():  # it renders what is missing
        sources = vae_sources(run.settings, run.out / "corpus", pictures)
    rule, pose_weight = run.settings.autoencoder, run.settings.loss.pose_weight

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return draw_pictures(sources, stage.batch, pose_weight, rule.face_weight, generator)

    # A corpus reads ahead itself
    processes = processes_for(_device(base.vae)) if isinstance(run.data, Rendered) else 0
    batch = Draw(DrawAhead(draw, seed, processes))

    def loss(vae: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        x, weight = (part.to(_device(vae)) for part in batch(generator))
        return autoencoder_loss(vae, x, weight, rule, generator)

    held_out = np.concatenate([clip.frames for clip in held_out_puppets(size)])
    folder = run.out / "training" / stage.name

    def show(step: int) -> None:
        rebuilt = decode_latents(base.vae, encode_frames(base.vae, held_out[:8]))
        rows = [("render", held_out[:8]), ("through the VAE", rebuilt)]
        contact_sheet(folder / "samples" / f"{step:06d}.png", rows)

    fit(base.vae, stage, loss, folder, seed, show, data=batch, track=run.track)
    base.vae.register_to_config(scaling_factor=1.0)
    some = np.linspace(0, len(pictures) - 1, min(256, len(pictures))).astype(int)
    std = float(encode_frames(base.vae, pictures.take(some)[0]).std())
    base.vae.register_to_config(scaling_factor=1 / std)
    save_once(base.vae, run.out / "vae")
    rebuilt = decode_latents(base.vae, encode_frames(base.vae, held_out))
    return {"psnr_held_out": psnr(rebuilt, held_out)}


def text(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the text encoder on pairs of captions and pictures (see `text_stage`)."""
    base = _parts(run)
    channels, side, _ = latent_shape(base)
    model = Pairs(base.text_encoder, channels, side)
    batch = Draw(run.data.pairs(base, stage, seed))

    def loss(model: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return contrastive_loss(model(*pairs(*batch(generator))))

    def pairs(texts: list[str], pictures: Tensor) -> tuple[Tensor, Tensor]:
        device = _device(model)
        return token_ids(base.tokenizer, texts).to(device), pictures.float().to(device)

    folder = run.out / "training" / stage.name
    fit(model, stage, loss, folder, seed, data=batch, track=run.track)
    save_once(base.text_encoder, run.out / "text_encoder")
    held_out = held_out_puppets(run.settings.model.size)
    pictures = encode_frames(base.vae, np.concatenate([clip.frames for clip in held_out]))
    with torch.no_grad():
        similar = model(*pairs([clip.caption for clip in held_out], pictures))
    return {"retrieval_held_out": retrieval_accuracy(similar)}


def image(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the spatial UNet on text-image-pose triplets, with the text encoder if the recipe says
    so."""
    base = _parts(run)
    name, network = base.family.denoiser, base.family.build(base, False)
    model = nn.ModuleDict({name: network, "text_encoder": base.text_encoder})
    rule, scheduler = run.settings.loss, base.scheduler_for(network)
    read = Draw(run.data.rows(base, stage, seed, video=False))
    family = replayed(base.family, stage)
    if stage.recompute:
        recompute(network, base.family)

    def loss(model: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = read(generator).batch(base)
        return method.loss(
            family, model[name], rows, generator, scheduler, rule, stage.timestep_shift
        )

    folder = run.out / "training" / stage.name
    show, measure = sampler(base, network, folder, frames=1), caption_errors(base)

    def sample(step: int) -> None:
        show(step)
        with write_aside(folder / "samples" / f"{step:06d}.json") as aside:
            aside.write_text(json.dumps(measure(), indent=1) + "\n")

    fit(model, stage, loss, folder, seed, sample, data=read, track=run.track)
    save_once(base.denoiser, run.out / name)
    save_once(base.text_encoder, run.out / "text_encoder")
    return last_mean(folder, "loss") | measure()


def video(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the temporal layers, in the frozen image UNet, on text-video-pose triplets."""
    base = _parts(run)
    rule = run.settings.loss
    unet = method.build(base, rule, video=True)
    scheduler = base.scheduler_for(unet)
    read = Draw(run.data.rows(base, stage, seed, video=True))
    family = replayed(base.family, stage)
    if stage.recompute:
        recompute(unet, base.family)

    def loss(unet: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = read(generator).batch(base)
        share = run.settings.model.noise_share
        return method.loss(
            family, unet, rows, generator, scheduler, rule, stage.timestep_shift, share
        )

    folder = run.out / "training" / stage.name
    show = sampler(base, unet, folder, frames=run.settings.model.frames)
    fit(unet, stage, loss, folder, seed, show, data=read, track=run.track)
    save_once(base.parts["motion_adapter"], run.out / "motion_adapter")  # shares the UNet's layers
    return last_mean(folder, "loss")


def perception(run: Run, stage: Stage, seed: int) -> dict[str, float]:
    """Train the perception network, which measures pose, mask and scene of generated frames."""
    folder = run.out / "training" / stage.name
    return train_perception(run.out / "perception", stage, folder, seed, track=run.track)


def _parts(run: Run) -> Base:
    """Load the base in its current state."""
    return load_parts(run.out, run.settings.model.base_toml(), PartialState().device)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


STAGES: dict[str, Callable[[Run, Stage, int], dict[str, float]]] = {
    "vae": vae, "text": text, "image": image, "video": video, "perception": perception,
}  # fmt: skip
