"""AnyCharV's networks, small and with random weights, saved under the names of the published ones;
and a plain pass through them, as their code describes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

WIDTHS, HEADS, GROUPS, WIDTH, TABLE = (32, 64), 4, 32, 24, 32
SIDE = 16


class Temporal(nn.Module):
    """Their temporal transformer: each frame is normalized by itself, positions are added before
    each of two attentions over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = nn.Module()
        self.temporal_transformer = inner
        inner.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        inner.proj_in, inner.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        block = nn.Module()
        inner.transformer_blocks = nn.ModuleList([block])
        block.attention_blocks = nn.ModuleList([attention(width, width) for _ in range(2)])
        block.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        block.ff, block.ff_norm = feed_forward(width), nn.LayerNorm(width)
        position = torch.arange(TABLE)[:, None]
        rate = torch.exp(torch.arange(0, width, 2) * (-np.log(10000.0) / width))
        table = torch.zeros(1, TABLE, width)
        table[0, :, 0::2], table[0, :, 1::2] = (position * rate).sin(), (position * rate).cos()
        for one in block.attention_blocks:
            one.pos_encoder = nn.Module()
            one.pos_encoder.register_buffer("pe", table.clone())

    def forward(self, x: Tensor, frames: int) -> Tensor:  # (B·F, C, h, w)
        inner, high = self.temporal_transformer, x.shape[2]
        h = inner.proj_in(rearrange(inner.norm(x), "n c h w -> n (h w) c"))
        h = rearrange(h, "(b f) d c -> (b d) f c", f=frames)
        block = inner.transformer_blocks[0]
        for one, norm in zip(block.attention_blocks, block.norms, strict=True):
            seen = norm(h) + one.pos_encoder.pe[:, :frames]
            h = h + attend(one, seen, seen)
        h = h + fed(block.ff, block.ff_norm(h))
        h = rearrange(h, "(b d) f c -> (b f) d c", d=x.shape[2] * x.shape[3])
        return x + rearrange(inner.proj_out(h), "n (h w) c -> n c h w", h=high)


def attention(width: int, context: int) -> nn.Module:
    one = nn.Module()
    one.to_q = nn.Linear(width, width, bias=False)
    one.to_k, one.to_v = (nn.Linear(context, width, bias=False) for _ in range(2))
    one.to_out = nn.ModuleList([nn.Linear(width, width)])
    return one


def feed_forward(width: int) -> nn.Module:
    one, first = nn.Module(), nn.Module()
    first.proj = nn.Linear(width, 8 * width)
    one.net = nn.ModuleList([first, nn.Identity(), nn.Linear(4 * width, width)])
    return one


def attend(one: Any, x: Tensor, context: Tensor) -> Tensor:
    q, k, v = one.to_q(x), one.to_k(context), one.to_v(context)
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (q, k, v))
    weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    out: Tensor = one.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
    return out


def fed(one: Any, x: Tensor) -> Tensor:
    value, gate = one.net[0].proj(x).chunk(2, -1)
    out: Tensor = one.net[2](value * F.gelu(gate))
    return out


def spatial(
    layer: Any, x: Tensor, states: Tensor, more: Tensor | None, seen: list[Tensor]
) -> Tensor:
    """A spatial transformer; `more` joins the keys and values of its self-attention."""
    h = rearrange(layer.proj_in(layer.norm(x)), "n c h w -> n (h w) c")
    block = layer.transformer_blocks[0]
    own = block.norm1(h)
    seen.append(own)
    h = h + attend(block.attn1, own, own if more is None else torch.cat([own, more], 1))
    h = h + attend(block.attn2, block.norm2(h), states)
    h = h + fed(block.ff, block.norm3(h))
    return x + layer.proj_out(rearrange(h, "n (h w) c -> n c h w", h=x.shape[2]))


def run(
    unet: Any, x: Tensor, t: int, states: Tensor, frames: int, poses: Tensor | None,
    reference: list[Tensor] | None, motion: dict[str, Temporal],
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """A pass of their network over frames (F, C, h, w), with the layers of diffusers' UNet for what
    theirs has in common with it; and what each self-attention saw."""
    seen: list[Tensor] = []
    left = None if reference is None else list(reference)

    def look(layer: Any, x: Tensor) -> Tensor:
        more = None if left is None else left.pop(0).expand(len(x), -1, -1)
        return spatial(layer, x, states.expand(len(x), -1, -1), more, seen)

    def move(x: Tensor, place: str) -> Tensor:
        return motion[place](x, frames) if motion else x

    time = unet.time_embedding(unet.time_proj(torch.tensor([t])).float()).expand(len(x), -1)
    x = unet.conv_in(x)
    x = x if poses is None else x + poses
    skips = [x]
    for i, block in enumerate(unet.down_blocks):
        for j, resnet in enumerate(block.resnets):
            x = resnet(x, time)
            if hasattr(block, "attentions"):
                x = look(block.attentions[j], x)
            x = move(x, f"down_blocks.{i}.motion_modules.{j}")
            skips.append(x)
        if block.downsamplers:
            x = block.downsamplers[0](x)
            skips.append(x)
    x = look(unet.mid_block.attentions[0], unet.mid_block.resnets[0](x, time))
    x = unet.mid_block.resnets[1](move(x, "mid_block.motion_modules.0"), time)
    for i, block in enumerate(unet.up_blocks):
        for j, resnet in enumerate(block.resnets):
            x = resnet(torch.cat([x, skips.pop()], 1), time)
            if hasattr(block, "attentions"):
                x = look(block.attentions[j], x)
            x = move(x, f"up_blocks.{i}.motion_modules.{j}")
        if block.upsamplers:
            x = block.upsamplers[0](x)
    return unet.conv_out(F.silu(unet.conv_norm_out(x))), seen


def small_unet(channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIDE, in_channels=channels, out_channels=4, block_out_channels=WIDTHS,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1,
        attention_head_dim=HEADS, norm_num_groups=GROUPS, cross_attention_dim=WIDTH,
    ).eval()  # fmt: skip


CONFIG = {
    "_class_name": "UNet3DConditionModel", "sample_size": SIDE, "in_channels": 9, "out_channels": 4,
    "block_out_channels": WIDTHS, "layers_per_block": 1, "attention_head_dim": HEADS,
    "cross_attention_dim": WIDTH, "norm_num_groups": GROUPS, "use_inflated_groupnorm": True,
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    "mid_block_type": "UNetMidBlock3DCrossAttn", "use_motion_module": True,
    "motion_module_mid_block": True, "motion_module_type": "Vanilla",
    "motion_module_decoder_only": False,
    "motion_module_kwargs": {
        "num_attention_heads": HEADS, "num_transformer_block": 1, "temporal_attention_dim_div": 1,
        "attention_block_types": ["Temporal_Self", "Temporal_Self"],
        "temporal_position_encoding": True, "temporal_position_encoding_max_len": TABLE,
    },
}  # fmt: skip
PLACES = {
    "down_blocks.0.motion_modules.0": 32, "down_blocks.1.motion_modules.0": 64,
    "mid_block.motion_modules.0": 64, "up_blocks.0.motion_modules.0": 64,
    "up_blocks.0.motion_modules.1": 64, "up_blocks.1.motion_modules.0": 32,
    "up_blocks.1.motion_modules.1": 32,
}  # fmt: skip


class Theirs:
    """Their networks with random weights, and the folder where they are saved."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(5)
        self.folder = folder
        self.unet, self.reader = small_unet(9), small_unet(4)
        self.motion = {place: Temporal(width) for place, width in PLACES.items()}
        self.guider = nn.ModuleList([
            nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 12, 3, padding=1, stride=2), nn.Conv2d(12, 32, 3, padding=1),
        ])  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4,
            down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        )  # fmt: skip
        vae.save_pretrained(folder / "vae")
        config = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                  "num_attention_heads": 2}  # fmt: skip
        self.clip = CLIPModel(CLIPConfig(
            text_config=config | {"vocab_size": 9}, projection_dim=WIDTH,
            vision_config=config | {"image_size": 32, "patch_size": 8, "projection_dim": WIDTH},
        )).eval()  # fmt: skip
        self.clip.save_pretrained(folder / "clip")
        temporal = {f"{place}.{name}": weight for place, one in self.motion.items()
                    for name, weight in one.state_dict().items()}  # fmt: skip
        self.write("denoising_unet", {**self.unet.state_dict(), **temporal}, CONFIG)
        ends = ("conv_norm_out.", "conv_out.")
        self.write(
            "reference_unet",
            {n: w for n, w in self.reader.state_dict().items() if not n.startswith(ends)},
            {**self.reader.config, "_class_name": "UNet2DConditionModel"},
        )
        names = ("conv_in", "blocks.0", "blocks.1", "conv_out")
        found = {f"{name}.{kind}": getattr(layer, kind) for kind in ("weight", "bias")
                 for name, layer in zip(names, self.guider, strict=True)}  # fmt: skip
        self.write("pose_guider", found, {
            "_class_name": "PoseGuider", "conditioning_embedding_channels": 32,
            "block_out_channels": [8, 12],
        })  # fmt: skip

    def write(self, name: str, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        tensors = {key: value.detach().contiguous() for key, value in weights.items()}
        save_file(tensors, place / "diffusion_pytorch_model.safetensors")
        (place / "config.json").write_text(json.dumps(dict(config), default=list))

    def features(self, pictures: np.ndarray) -> Tensor:
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
        for layer in list(self.guider)[:-1]:
            x = F.silu(layer(x))
        out: Tensor = self.guider[-1](x)
        return out


RECIPE = """
[swap]
reference = "own"
pairs = "generated"
keep_scene = false
[model]
size = 32
frames = 6
fps = 8
steps = 2
grow = 0.0
vae = {from = "HERE", subfolder = "vae"}
unet = {from = "HERE", subfolder = "denoising_unet"}
motion_adapter = {from = "HERE", subfolder = "denoising_unet"}
reference_unet = {from = "HERE", subfolder = "reference_unet"}
pose_guider = {from = "HERE", subfolder = "pose_guider"}
image_encoder = {from = "HERE", subfolder = "clip"}
[model.scheduler]
beta_schedule = "linear"
prediction_type = "v_prediction"
rescale_betas_zero_snr = true
timestep_spacing = "trailing"
"""


def recipe_of(folder: Path, source: Path) -> Path:
    path = folder / "small.toml"
    path.write_text(RECIPE.replace("HERE", str(source)))
    return path
