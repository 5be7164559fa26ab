"""`aa base-train`: text, pictures and poses -> a base model (section 2.1 of the paper)."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn import functional as F

from animateanywhere import puppets
from animateanywhere.console import say
from animateanywhere.corpora import batches, corpora
from animateanywhere.data.corpus import Corpus
from animateanywhere.data.skeleton import heat
from animateanywhere.data.video import contact_sheet
from animateanywhere.errors import UsageError
from animateanywhere.files import write_aside
from animateanywhere.methods import animate_anywhere as method
from animateanywhere.models.base import (
    Base,
    decode_latents,
    encode_frames,
    hash_of,
    load_parts,
    to_pixels,
    vae_encode,
    write_base_toml,
)  # fmt: skip
from animateanywhere.models.fresh import create_base, save_part
from animateanywhere.recipe import Recipe, Stage, load_recipe, to_dict
from animateanywhere.samples import sampler
from animateanywhere.training.loop import fit
from animateanywhere.training.perception import train_perception

HELD_OUT = 64  # renders that no stage trains on


def base_train(recipe: str | Path | Recipe = "mini", out: Path | None = None) -> Path:
    """Train a base by a recipe into `out` (default runs/base); rerun to go on where it stopped.

    Each stage leaves its part of the base in `out`, its log and checkpoint in
    `out/training/<stage>`. Returns `out`, a base in diffusers layout.
    """
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if not settings.stage or settings.stages("appearance", "motion"):
        raise UsageError(f"recipe {settings.name} makes no base: it is for `aa personalize`")
    out = out or Path("runs") / "base"
    # The first process may encode for hours while the others wait.
    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=2))
    parts = {key: to_dict(settings)[key] for key in ("seed", "model", "corpus", "loss")}
    _keep(out / "recipe.json", parts)
    with PartialState().main_process_first():
        images, clips = corpora(settings, out / "corpus")
        words = [text for corpus in (images, clips) for row in corpus.captions for text in row]
        create_base(settings.model, out, words, settings.seed)
    for number, stage in enumerate(settings.stage):
        folder = out / "training" / stage.name
        done = folder / "done.json"
        _keep(folder / "stage.json", asdict(stage))
        if done.is_file():
            say(f"{stage.name}: done before")
            continue
        say(f"stage {stage.name}: {stage.steps} steps")
        run = {"vae": _vae, "image": _image, "video": _video, "perception": _perception}[stage.kind]
        metrics = run(settings, stage, out, images, clips, settings.seed + number)
        if PartialState().is_main_process:
            with write_aside(done) as aside:
                aside.write_text(json.dumps(metrics, indent=1) + "\n")
        PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        config = {"name": settings.name, **settings.model.base_toml(),
                  "personalize": settings.personalize, "hash": hash_of(out)}  # fmt: skip
        write_base_toml(out, config)
    say(f"the base is in {out}")
    return out


def _vae(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """An autoencoder whose latents are noisy while it trains, so that they come out smooth."""
    base = _parts(settings, out)
    size = settings.model.size

    def loss(vae: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(images.frames), (stage.batch,), generator=generator).sort().values
        x = to_pixels(torch.from_numpy(images.frames[rows.numpy(), 0])).to(_device(vae))
        latents = vae_encode(vae, x)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        y = vae.decode(latents + 0.1 * noise).sample
        warm = torch.from_numpy(heat(images.keypoints[rows.numpy(), 0], size, size // 8)).to(x)
        warm = 1 + settings.loss.heat * F.interpolate(warm[:, None], (size, size))  # (B, 1, H, W)
        pixel = (warm * ((y - x).abs() + (y - x).square())).mean()
        edges = (warm[:, :, 1:] * (y - x).diff(dim=2).abs()).mean()
        edges = edges + (warm[..., 1:] * (y - x).diff(dim=3).abs()).mean()
        return pixel + edges + 1e-3 * latents.square().mean(), {"pixel": float(pixel.detach())}

    held_out = np.concatenate([
        c.frames for c in puppets.render_batch(
            [puppets.sample_spec(n, split="held-out") for n in range(HELD_OUT)],
            [0.5] * HELD_OUT, size=size)
    ])  # fmt: skip
    folder = out / "training" / stage.name

    def show(step: int) -> None:
        rebuilt = decode_latents(base.vae, encode_frames(base.vae, held_out[:8]))
        rows = [("render", held_out[:8]), ("through the VAE", rebuilt)]
        contact_sheet(folder / "samples" / f"{step:06d}.png", rows)

    fit(base.vae, stage, loss, folder, seed, show)
    base.vae.register_to_config(scaling_factor=1.0)
    some = np.linspace(0, len(images.frames) - 1, min(256, len(images.frames))).astype(int)
    std = float(encode_frames(base.vae, images.frames[some, 0]).std())
    base.vae.register_to_config(scaling_factor=1 / std)
    _save(base.vae, out / "vae")
    rebuilt = decode_latents(base.vae, encode_frames(base.vae, held_out))
    error = (rebuilt.astype(float) - held_out) ** 2
    return {"psnr_held_out": float(np.mean(-10 * np.log10(error.mean((1, 2, 3)) / 255**2)))}


def _image(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """Text-image-pose triplets: the spatial UNet, and the text encoder where the recipe says so."""
    base = _parts(settings, out)
    model = nn.ModuleDict({"unet": base.unet, "text_encoder": base.text_encoder})
    batch = batches(base, stage, out, [(images, 0.75), (clips, 0.25)], settings.loss.heat > 0)

    def loss(model: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return method.loss(
            model["unet"], batch(generator), generator, base.scheduler, settings.loss
        )

    folder = out / "training" / stage.name
    show = sampler(base, base.unet, folder, frames=1)
    fit(model, stage, loss, folder, seed, show)
    _save(base.unet, out / "unet")
    _save(base.text_encoder, out / "text_encoder")
    return _last_loss(folder)


def _video(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """Text-video-pose triplets: the temporal layers, put into the frozen image UNet."""
    base = _parts(settings, out)
    unet = method.build(base, settings.loss, video=True)
    batch = batches(base, stage, out, [(clips, 1.0)], settings.loss.heat > 0)

    def loss(unet: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return method.loss(unet, batch(generator), generator, base.scheduler, settings.loss)

    folder = out / "training" / stage.name
    show = sampler(base, unet, folder, frames=settings.model.frames)
    fit(unet, stage, loss, folder, seed, show)
    adapter: Any = base.motion_adapter
    adapter.load_state_dict(
        {k: v for k, v in unet.state_dict().items() if "motion_modules" in k}, strict=True
    )
    _save(adapter, out / "motion_adapter")
    return _last_loss(folder)


def _perception(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """The network that measures pose, mask and scene of what the base makes."""
    return train_perception(out / "perception", stage, out / "training" / stage.name, seed)


def _keep(path: Path, settings: dict[str, Any]) -> None:
    """Remember what a folder is made with; refuse to go on in it with something else."""
    text = json.dumps(settings, indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{path.parent} was made with another recipe: remove it, or give another --out"
        )
    if PartialState().is_main_process:
        with write_aside(path) as aside:
            aside.write_text(text, encoding="utf-8")


def _parts(settings: Recipe, out: Path) -> Base:
    """The base as far as it is trained."""
    return load_parts(out, settings.model.base_toml(), PartialState().device)


def _save(part: Any, folder: Path) -> None:
    """Save a part from the main process; the others wait for it."""
    if PartialState().is_main_process:
        save_part(part, folder)
    PartialState().wait_for_everyone()


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _last_loss(folder: Path) -> dict[str, float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    recent = [json.loads(line)["loss"] for line in lines[-20:]]
    return {"loss": float(np.mean(recent))}
