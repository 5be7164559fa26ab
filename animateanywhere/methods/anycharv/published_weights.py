"""The weights that the paper's authors published, under the names of our parts.

Their networks are those of Moore-AnimateAnyone: the denoiser is a UNet of Stable Diffusion 1.5
whose temporal layers bear AnimateDiff's names, and the ReferenceNet another one, without its last
two layers, which nothing needs. All else is named as in diffusers. Only .safetensors files are
read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from animateanywhere.backbones.exact_weights import empty_network, fill
from animateanywhere.backbones.sd_unet import EACH_FRAME
from animateanywhere.backbones.sources import load_config, weight_files
from animateanywhere.methods.anycharv.pose_guider import WIDTHS, PoseGuider

TEMPORAL = ".motion_modules."
SECOND_TABLE = ".attention_blocks.1.pos_encoder.pe"  # of positions, the same as the first
# Their names in the temporal layers, and those of diffusers
RENAMED = (
    (r"\.temporal_transformer\.", "."), (r"\.attention_blocks\.0\.pos_encoder\.", ".pos_embed."),
    (r"\.attention_blocks\.0\.", ".attn1."),
    (r"\.attention_blocks\.1\.", ".attn2."), (r"\.norms\.0\.", ".norm1."),
    (r"\.norms\.1\.", ".norm2."), (r"\.ff_norm\.", ".norm3."),
)  # fmt: skip
UNREAD = ("conv_norm_out.", "conv_out.")  # of a ReferenceNet: after the last attention
# Entries of the denoiser's config that must have these values, where it has them: others would be
# another network
REQUIRED = {
    "use_inflated_groupnorm": True, "use_motion_module": True, "motion_module_type": "Vanilla",
    "motion_module_decoder_only": False, "unet_use_temporal_attention": False,
    "unet_use_cross_frame_attention": False, "center_input_sample": False,
}  # fmt: skip
VANILLA = {"num_transformer_block": 1, "temporal_attention_dim_div": 1,
           "attention_block_types": ["Temporal_Self", "Temporal_Self"]}  # fmt: skip
SAME = (
    "sample_size", "in_channels", "out_channels", "flip_sin_to_cos", "freq_shift",
    "block_out_channels", "layers_per_block", "downsample_padding", "mid_block_scale_factor",
    "act_fn", "norm_num_groups", "norm_eps", "cross_attention_dim", "attention_head_dim",
    "use_linear_projection", "upcast_attention", "resnet_time_scale_shift",
)  # fmt: skip


def denoiser(folder: Path) -> tuple[UNet2DConditionModel, MotionAdapter]:
    """The published denoiser as a UNet for images and its temporal layers. Raises ValueError for
    other weights."""
    config = load_config(folder)
    _require_kind(config)
    spatial, temporal = dict[str, Tensor](), dict[str, Tensor]()
    for name, weight in read_weights(folder).items():
        if name.endswith(SECOND_TABLE):
            continue
        for theirs, ours in RENAMED if TEMPORAL in name else ():
            name = re.sub(theirs, ours, name)
        (temporal if TEMPORAL in name else spatial)[name] = weight
    unet = empty_network(UNet2DConditionModel, _unet_config(config))
    adapter = empty_network(MotionAdapter, _adapter_config(config))
    fill(unet, spatial)
    fill(adapter, temporal)
    adapter.register_to_config(**{EACH_FRAME: True})
    return unet, adapter


def reference_net(folder: Path) -> UNet2DConditionModel:
    """The published ReferenceNet; its last layers, where they are missing, put out zeros. Raises
    ValueError for other weights."""
    known = UNet2DConditionModel.load_config(folder)
    unet = empty_network(UNet2DConditionModel, known)
    found = read_weights(folder)
    for name, weight in unet.state_dict().items():
        if name.startswith(UNREAD) and name not in found:
            found[name] = torch.zeros(weight.shape)
    fill(unet, found)
    return unet


def pose_guider(folder: Path) -> PoseGuider:
    """The published pose guider. Raises ValueError for other weights."""
    guider = empty_network(PoseGuider, load_config(folder))
    fill(guider, read_weights(folder))
    return guider


def guider_of_controlnet(folder: Path) -> PoseGuider:
    """A pose guider that starts with the embedding of a ControlNet for skeletons, as the paper's
    did. Raises ValueError for other weights."""
    config, prefix = load_config(folder), "controlnet_cond_embedding."
    widths = config.get("conditioning_embedding_out_channels", WIDTHS)
    found = {
        name.removeprefix(prefix): weight
        for name, weight in read_weights(folder).items() if name.startswith(prefix)
    }  # fmt: skip
    first = config.get("block_out_channels", [320])[0]
    config = {"conditioning_embedding_channels": first, "block_out_channels": tuple(widths)}
    guider = empty_network(PoseGuider, config)
    fill(guider, found)
    return guider


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of the .safetensors files in a folder, float32. Raises ValueError if there are
    none: other formats can run code."""
    files = [Path(name) for name in weight_files([str(path) for path in sorted(folder.iterdir())])]
    tensors = [file for file in files if file.suffix == ".safetensors"]
    if not tensors:
        raise ValueError(
            "it has no weights as .safetensors; pickled ones (.bin, .pth) are not read"
        )
    return {name: weight.float() for file in tensors for name, weight in load_file(file).items()}


def _require_kind(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a denoiser that works in another way."""
    motion = config.get("motion_module_kwargs") or {}
    for table, wanted in ((config, REQUIRED), (motion, VANILLA)):
        for key, value in wanted.items():
            if (own := table.get(key)) is not None and own != value:
                raise ValueError(f"its config.json has {key} = {own!r}, where {value!r} is known")


def _unet_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the UNet for images in a denoiser for clips."""
    found = {key: config[key] for key in SAME if key in config}
    for key in ("down_block_types", "up_block_types"):
        if key in config:
            found[key] = tuple(name.replace("3D", "2D") for name in config[key])
    return found


def _adapter_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the temporal layers in a denoiser for clips."""
    motion = config.get("motion_module_kwargs") or {}
    return {
        "block_out_channels": tuple(config.get("block_out_channels", (320, 640, 1280, 1280))),
        "motion_layers_per_block": config.get("layers_per_block", 2),
        "motion_num_attention_heads": motion.get("num_attention_heads", 8),
        "motion_max_seq_length": motion.get("temporal_position_encoding_max_len", 32),
        "use_motion_mid_block": config.get("motion_module_mid_block", True),
    }
