"""The same task by Phantom-Wan 1.3B (arXiv 2502.11079), whose weights are public: Wan 2.1's
text-to-video network as it is, trained to see the latents of pictures behind those of the clip.

What ContextAnyone adds is missing; its paper compares with this network. As its authors' code has
it: at each step the last positions of the sequence are the pictures' latents, without noise, at the
time of the clip; the pass without pictures sees zeros there; guidance on pictures and prompt is
apart, and the empty prompt is a negative one. Pictures lie on white, as large as fits in the frame.

The weights are one file under the names of Wan's own code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from animateanywhere.backbones import wan_vace
from animateanywhere.backbones.base import Base, encode_prompts, window_length
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.exact_weights import empty_network, fill
from animateanywhere.backbones.family import Family, latent_shape
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.backbones.sources import LOADING, fetch_file, load_config
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import encode_frames, latent_count
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.core.messages import say
from animateanywhere.diffusion.kept_steps import kept
from animateanywhere.diffusion.sampling import Denoiser, blend, make_scheduler, sample, windows
from animateanywhere.methods.context_anyone import full_size
from animateanywhere.methods.context_anyone.generation import (
    Options,
    sampler_name,
    scales_of,
    steps_of,
)
from animateanywhere.methods.context_anyone.method import Scales, guided
from animateanywhere.methods.context_anyone.settings import Recipe

NETWORK = "phantom"  # `network` of a recipe's [cast], and of base.toml
FAMILY: Family = replace(
    full_size.FAMILY, name="Phantom-Wan",
    parts={
        **{name: kind for name, kind in wan_vace.FAMILY.parts.items() if name != "transformer"},
        "transformer": WanTransformer3DModel,
    },
    hashed=("transformer",), optional=(), blocks=(WanTransformerBlock,), pretrained=True,
)  # fmt: skip


def is_phantom(config: dict[str, Any]) -> bool:
    """Whether base.toml is of this network."""
    return config.get("network") == NETWORK


def create_parts(settings: Recipe, out: Path) -> None:
    """Create the parts that are missing in `out`, from the sources that a recipe names.

    `model.transformer` names a repository or folder (`from`), the file in it, and where the config
    of Wan's text-to-video network is (`config`). Raises UsageError for weights that do not fit, and
    errors as `create_base` does.
    """
    model = settings.model
    if not (out / "transformer").is_dir():
        license = model.license or "not stated in the recipe; read the page of their authors first"
        say(f"license of the weights of {settings.name}: {license}")
        file = _file_of(model.transformer)
        model = replace(model, transformer=model.transformer | {"from": str(file)})
    create_base(model, out, [], settings.seed, replace(FAMILY, create=_part))


def _file_of(table: dict[str, Any]) -> Path:
    """The file with the network's weights, downloaded where it is in a repository."""
    source, name = Path(table["from"]), str(table["file"])
    if not name.endswith(".safetensors"):
        raise UsageError(f"model.transformer: {name}: pickled weights (.pth, .bin) are not read")
    if source.is_dir():
        if not (source / name).is_file():
            raise UsageError(f"cannot load transformer from {source}: it has no {name}")
        return source / name
    return fetch_file(str(table["from"]), name)


def _part(name: str, model: Model, out: Path, captions: list[str]) -> Any:
    """See `Family.create`."""
    if name != "transformer":
        return wan_vace.create(name, model, out, captions)
    table = model.transformer
    try:
        return read_network(Path(table["from"]), Path(table["config"]) / "transformer")
    except LOADING as error:
        raise UsageError(
            f"cannot load transformer from {table['from']}: {first_line(error)}"
        ) from None


def read_network(file: Path, config: Path) -> WanTransformer3DModel:
    """The network of a file in Wan's own names, in bfloat16, with the config in a folder.

    Raises ValueError that names weights which are missing, unknown or of another shape.
    """
    network = empty_network(WanTransformer3DModel, load_config(config))
    found = convert_wan_transformer_to_diffusers(load_file(file))
    fill(network, {name: weight.to(torch.bfloat16) for name, weight in found.items()}, "it ")
    return network


def phantom_latents(
    base: Base, prompt: str, pictures: np.ndarray, frames: int, options: Options | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """The latents (T, C, h, w) of a video of at least `frames` frames.

    pictures: (R, H, W, 3) uint8, persons on white, of the base's frame. Each window of a long video
    sees them.
    """
    options = options or Options()
    with torch.no_grad():
        text, empty = encode_prompts(base, [prompt, str(base.config.get("negative", ""))]).split(1)
    with room_for_vae(base):
        shown = encode_frames(base.vae, pictures)[None]  # (1, R, C, h, w)
    behind, count = shown.shape[1], latent_count(frames, base.packed)
    scheduler = make_scheduler(base.scheduler.config, sampler_name(base, options))
    generator = torch.Generator().manual_seed(options.seed)  # on the CPU: the same on each device
    noise = torch.randn(1, behind + count, *latent_shape(base), generator=generator)
    scales = scales_of(base, options)

    def denoiser_of(start: int, stop: int) -> Denoiser:
        return denoiser(base.denoiser, text, empty, shown, scales)

    joint = blend(denoiser_of, windows(count, window_length(base)), behind)
    joint = kept(joint, options.steps_folder)
    steps = steps_of(base, options)
    made = sample(joint, noise.to(shown), scheduler, steps, generator, lambda *_: progress())
    return made[0, behind:]


def denoiser(
    network: Any, text: Tensor, empty: Tensor, pictures: Tensor, scales: Scales
) -> Denoiser:
    """The function that a sampler calls, of the latents (1, R + T, C, h, w) of R pictures and a
    clip. Those of the pictures are replaced by `pictures` (1, R, C, h, w), behind the clip:

        y = f(0, n) + likeness · (f(r, n) − f(0, n)) + guidance · (f(r, c) − f(r, n))

    text, empty: states (1, L, D) of the prompt c and of the negative one n.
    """
    count = pictures.shape[1]

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        timesteps, clip = t.reshape(1).to(x.device), x[:, count:]

        def flow(given: Tensor, states: Tensor) -> Tensor:
            both = rearrange(torch.cat([clip, given], 1), "b t c h w -> b c t h w")
            y = network(both, timesteps, full_size.padded(states)).sample
            return rearrange(y, "b c t h w -> b t c h w")

        y = guided(flow, scales, pictures, torch.zeros_like(pictures), text, empty)
        return torch.cat([y[:, -count:], y[:, :-count]], 1)  # as x has them

    return denoise
