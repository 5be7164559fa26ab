"""A method in one file: a picture is learned under a caption, then drawn again from noise."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from torch import Tensor

from animateanywhere.backbones.base import Base, encode_text, latent_shape, load_base
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.cli.app import result
from animateanywhere.core.messages import say
from animateanywhere.core.recipe import load_recipe
from animateanywhere.diffusion.losses import add_noise, draw_timesteps, level, target
from animateanywhere.diffusion.sampling import make_scheduler, sample
from animateanywhere.media.video import contact_sheet, read
from animateanywhere.pose.retarget import pad
from animateanywhere.training.loop import fit
from animateanywhere.training.stage import Stage, check_stages


@dataclass(frozen=True)
class PictureStage(Stage):
    kind: Literal["picture"]


@dataclass(frozen=True)
class Recipe:
    name: str
    caption: str
    stage: tuple[PictureStage, ...]
    seed: int = 0


def loss(base: Base, network: Any, x0: Tensor, text: Tensor, generator: torch.Generator) -> Tensor:
    """Plain denoising without a pose. x0: (1, 1, C, h, w). text: (1, T, D)."""
    t = draw_timesteps(base.scheduler, len(x0), 1.0, generator)
    noise, levels = torch.randn(x0.shape, generator=generator), level(base.scheduler, t)
    x, no_pose = add_noise(x0, noise, levels), torch.zeros(1, 1, *base.family.pose_shape(base))
    prediction = base.family.predict(network, x, t, no_pose, text)
    kind = base.scheduler.config.prediction_type
    return (target(x0, noise, levels, kind) - prediction).square().mean()


def learn(base: Base, frame: np.ndarray, recipe: Recipe, out: Path) -> Any:
    """A network that learned a frame (H, W, 3) uint8."""
    network = base.family.build(base, False)
    x0, text = encode_frames(base.vae, frame[None])[None], encode_text(base, [recipe.caption])
    for stage in recipe.stage:
        fit(network, stage, lambda net, generator: (loss(base, net, x0, text, generator), {}),
            out / "training" / stage.name, recipe.seed)  # fmt: skip
    return network


def draw(base: Base, network: Any, caption: str, seed: int, steps: int) -> np.ndarray:
    """Frames (1, H, W, 3) uint8 of a caption."""
    text, scheduler = encode_text(base, [caption]), make_scheduler(base.scheduler.config)
    noise = torch.randn((1, 1, *latent_shape(base)), generator=torch.Generator().manual_seed(seed))

    no_pose = torch.zeros(1, 1, *base.family.pose_shape(base))

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return base.family.predict(network, x, t.reshape(1), no_pose, text)

    return decode_latents(base.vae, sample(denoise, noise, scheduler, steps)[0])


def toy(video: Path, recipe: Path, base: Path, out: Annotated[Path, typer.Option()]) -> None:
    """Learn the first frame of a video, and draw it again."""
    settings, model = load_recipe(recipe, Recipe), load_base(base)
    check_stages(settings.stage, str(recipe))
    frame = pad(read(video, max_frames=1).frames, model.frame)[0]
    network = learn(model, frame, settings, out)
    drawn = draw(model, network, settings.caption, settings.seed, steps=20)
    contact_sheet(out / "drawn.png", [("the frame", frame[None]), (settings.caption, drawn)])
    say("drawn")
    result(out / "drawn.png")
