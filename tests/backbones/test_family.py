"""What depends on the kind of backbone is one record of functions, chosen in one place."""

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from animateanywhere.backbones import controlnet, sd_unet, wan_vace
from animateanywhere.backbones.base import (
    base_config,
    encode_poses,
    encode_text,
    family_in,
    family_of,
    latent_shape,
    load_base,
    load_parts,
)
from animateanywhere.backbones.family import Base, Family
from animateanywhere.backbones.low_memory import recompute, room_for_vae, to_device
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.generation import Sampling, render_latents
from animateanywhere.methods.animate_anywhere.settings import Loss
from animateanywhere.pose import skeleton

PACKAGE = Path(__file__).parents[2] / "animateanywhere"
# What only asks which backbone there is: families, their classes, and parts that tell them apart
SWITCHES = re.compile(
    r"backbones(\.| import .*)(sd_unet|controlnet|wan_vace)"
    r"|UNet2DConditionModel|UNetMotionModel|ControlNetModel|Transformer3DModel|UMT5|CLIPTextModel"
    r"|(unet|transformer|controlnet|motion_adapter)\W* is (not )?None"
    r"|[\"'](unet|transformer|controlnet)[\"']\]? (not )?in\b"
    r"|family(\.name)? (is\b|==(?! socket)|!=|in\b)|family_of|packed (>|==|!=) 1"
)
# Where a family is asked for before there is a base: whether a recipe may have training stages.
# And two methods that each have a network of their own
CHOOSERS = {Path("commands/base_train.py")}
NETWORKS = {Path("backbones"), Path("methods/anycharv"), Path("methods/context_anyone")}


def test_no_module_outside_asks_which_backbone_it_is() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parent not in NETWORKS
        and file.relative_to(PACKAGE) not in CHOOSERS
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if SWITCHES.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "if base.transformer is not None:",
        'if base.parts["controlnet"] is None:',
        'if "transformer" in base.parts:',
        "if isinstance(network, WanVACETransformer3DModel):",
        "from animateanywhere.backbones import wan_vace",
        "from animateanywhere.backbones.sd_unet import motion_unet",
        'if model.family.name == "Wan":',
        "if model.packed > 1:",
    ],
)
def test_a_switch_is_seen(line: str) -> None:
    assert SWITCHES.search(line)


def test_families_are_known_by_their_parts(tiny_base: Path, tiny_wan: Path) -> None:
    assert family_in(tiny_base) is sd_unet.FAMILY and family_in(tiny_wan) is wan_vace.FAMILY
    assert family_of({"unet", "controlnet"}) is controlnet.FAMILY
    assert load_base(tiny_base).family is sd_unet.FAMILY


@pytest.mark.parametrize("kind", ["tiny_base", "tiny_wan"])
def test_a_base_on_the_meta_device_has_shapes_and_no_memory(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    whole, empty = load_base(folder), load_parts(folder, base_config(folder), "meta")
    assert empty.networks.keys() == whole.networks.keys() and empty.family is whole.family
    for name, part in empty.networks.items():
        assert all(p.is_meta and not p.requires_grad for p in part.parameters())
        shapes = {n: p.shape for n, p in part.named_parameters()}
        assert shapes == {n: p.shape for n, p in whole.networks[name].named_parameters()}
    assert latent_shape(empty) == latent_shape(whole) and empty.packed == whole.packed


class Mixer(nn.Module):
    """The smallest denoiser: one convolution of latent, pose, and the mean of the text states."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.device = torch.device("cpu")


class Poses(nn.Module):
    """Runs beside it and never trains: brightness of the picture, at latent size."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)


def mix(network: Any, x: Tensor, t: Tensor, poses: Tensor, text: Tensor, region: Any = None):
    frames = x.shape[1]
    word = text.mean((1, 2))[:, None, None, None, None].expand(-1, frames, 1, *x.shape[-2:])
    y = torch.cat([x.mean(2, keepdim=True), poses, word], 2).flatten(0, 1)
    return network.conv(y).unflatten(0, (-1, frames))


def fourth(base: Base) -> Base:
    """A base of a family that the package does not know."""

    def see(base: Base, pictures: np.ndarray, clip: bool) -> Tensor:
        small = torch.from_numpy(pictures).float()[:, ::8, ::8].mean(-1)[:, None] / 255
        return small * base.parts["poses"].scale

    def read(base: Base, prompts: list[str]) -> Tensor:
        return torch.tensor([[[float(len(prompt))]] for prompt in prompts])

    def unknown(*_: Any) -> Any:
        raise NotImplementedError

    family = Family(
        name="a mixer", parts={"mixer": Mixer, "poses": Poses}, denoiser="mixer",
        hashed=("mixer",), learns_tokens=False, blocks=(Mixer,), stacks=(),
        checkpoint=sd_unet.FAMILY.checkpoint, create=unknown,
        build=lambda base, video: base.denoiser, guide=lambda network, gamma: None, predict=mix,
        encode_pose=see, encode_text=read, pose_shape=lambda base: (1, *latent_shape(base)[1:]),
        draw=skeleton.draw,
        text_shape=lambda base: (1, 1), read_lora=unknown, kohya_name=lambda layer: None,
        architecture=lambda base: ("mixer", "mixer"), auxiliary=("poses",), stride=lambda base: 8,
    )  # fmt: skip
    torch.manual_seed(0)
    parts = {name: base.parts[name] for name in ("tokenizer", "text_encoder", "vae", "scheduler")}
    return replace(base, family=family, parts={**parts, "mixer": Mixer(), "poses": Poses()})


def test_a_fourth_family_needs_no_change_elsewhere(tiny_base: Path, pictures: Any) -> None:
    known = load_base(tiny_base)
    base = fourth(replace(known, config={**known.config, "guidance_scale": 2.0}))
    with to_device(base, "cpu"), room_for_vae(base):
        poses = encode_poses(base, pictures(4))
    assert poses.shape == (4, *base.family.pose_shape(base))
    network = method.build(base, Loss(), video=True)
    recompute(network, base.family)
    made = render_latents(base, network.eval(), "a man", poses, 0, Sampling(steps=2))
    assert made.shape == (4, *latent_shape(base)) and made.isfinite().all()
    assert not torch.equal(
        made, render_latents(base, network, "a woman", poses, 0, Sampling(steps=2))
    )

    batch = Batch(made[None], poses[None], encode_text(base, ["a man"]))
    optimizer, values = torch.optim.AdamW(network.parameters(), lr=0.01), []
    for _ in range(20):
        same = torch.Generator().manual_seed(1)
        value, _ = method.loss(base.family, network, batch, same, base.scheduler, Loss())
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(float(value.detach()))
    assert values[-1] < values[0]
    own = base.copy()
    assert own.denoiser is not base.denoiser and own.parts["poses"] is base.parts["poses"]
    assert copy.deepcopy(base.family) == base.family
