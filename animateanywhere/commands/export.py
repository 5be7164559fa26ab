"""`aa export`: personal weights as files that other tools load.

diffusers: a folder with `pytorch_lora_weights.safetensors` and `learned_embeds.safetensors`.
kohya: the same adapter under the names of sd-scripts, which Stable Diffusion web UIs read, or of a
transformer under Wan's own, with its alpha and metadata. comfyui: kohya's file laid out as
ComfyUI's `models` folder. base: a whole base with the person in it. What was learned as LoRA is
written as it is; whole weights are first brought to a low rank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from rich.markup import escape
from safetensors.torch import save_file
from torch import Tensor

from animateanywhere.backbones import lora
from animateanywhere.backbones.base import Base, Family, load_base, write_base_toml
from animateanywhere.backbones.create import save_part
from animateanywhere.backbones.personal_weights import (
    Fitting,
    base_of,
    load_personal,
    read_fitting,
    read_metadata,
)
from animateanywhere.backbones.vae import latent_channels
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside, write_aside
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.diffusion.losses import FLOW

Format = Literal["diffusers", "kohya", "comfyui", "base"]
RANK = 32


def export(
    weights: Path, kind: Format, out: Path | None = None, *, rank: int = RANK,
    base: str | None = None,
) -> Path:  # fmt: skip
    """Write personal weights in another format; returns the file or folder.

    out: without, beside the weights, named after the format. rank: to which whole weights are
    brought (LoRA keeps its own). base: where the base of whole weights is, if it moved.
    Raises UsageError as `load_personal` does.
    """
    metadata = read_metadata(weights)
    out = out or weights.with_name(f"{metadata['token']}-{kind}" + _suffix(kind))
    if out.suffix != _suffix(kind):
        raise UsageError(f"--out {out}: give the name of a {_suffix(kind) or 'folder'}")
    if out.resolve() == weights.resolve():
        raise UsageError(f"--out {out} would overwrite the weights: give another name")
    if kind in _MADE and out.is_dir() and any(out.iterdir()) and not (out / _MADE[kind]).is_file():
        raise UsageError(f"--out {out} holds other files: give a new folder")
    model = load_base(base or base_of(metadata))
    if kind == "base":
        _write_base(weights, model, metadata, out)
    else:
        fitting = read_fitting(weights, model)
        pairs = fitting.pairs | low_rank(fitting, rank)
        _WRITE[kind](pairs, fitting.embedding, model, metadata, out)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def low_rank(fitting: Fitting, rank: int) -> lora.Pairs:
    """The best factors of what whole weights changed, by singular values; says how much they keep.

    Of vectors (biases and norms) and of other tensors no adapter is known to these formats.
    """
    pairs: lora.Pairs = {}
    if not fitting.whole:
        return pairs
    kept = total = 0.0
    left = []
    with progress("to low rank", total=len(fitting.whole)) as bar:
        for name, tensor in fitting.whole.items():
            change = tensor.float() - fitting.targets[name].float()
            energy = float(change.square().sum())
            total += energy
            if change.ndim in (2, 4) and name.endswith(".weight"):
                u, s, v = torch.linalg.svd(change.flatten(1), full_matrices=False)
                few = min(rank, len(s))
                root = s[:few].sqrt()
                a, b = root[:, None] * v[:few], u[:, :few] * root
                if change.ndim == 4:
                    a, b = a.view(few, *change.shape[1:]), b[:, :, None, None]
                pairs[name] = (a.contiguous(), b.contiguous())
                kept += float(s[:few].square().sum())
            else:
                left.append(name)
            bar.advance(1)
    share = kept / total if total else 1.0
    say(f"rank {rank} keeps {share:.1%} of what was learned ({len(left)} vectors left out)")
    if share < 0.9:
        warn("that is little: give a higher --rank, or learn with --recipe personalize-lora")
    return pairs


def kohya_names(pairs: lora.Pairs, family: Family, channels: int) -> dict[str, Tensor]:
    """Factors under the names of kohya's sd-scripts (`Family.kohya_name`), alpha the rank.

    Layers that other tools do not have are left out; of `conv_in` remains what acts on the
    first `channels` of its input, the noisy latent: other tools give the pose in their own way.
    Smaller ranks are filled up with zeros: diffusers reads the alphas of mixed ones wrongly.
    """
    out, rank = {}, widest(pairs)
    for name, (a, b) in pairs.items():
        layer = name.removesuffix(".weight")
        key = family.kohya_name(layer)
        if key is None:
            continue
        if layer == f"{family.denoiser}.conv_in":
            a = a[:, :channels]
        down, up = a.new_zeros(rank, *a.shape[1:]), b.new_zeros(len(b), rank, *b.shape[2:])
        down[: len(a)], up[:, : len(a)] = a, b
        out[f"{key}.lora_down.weight"], out[f"{key}.lora_up.weight"] = down, up
        out[f"{key}.alpha"] = torch.tensor(float(rank))
    return out


def widest(pairs: lora.Pairs) -> int:
    """The highest rank of factors; 0 of none."""
    return max((len(a) for a, _ in pairs.values()), default=0)


def about(
    pairs: lora.Pairs, model: Base, metadata: Mapping[str, str], title: str
) -> dict[str, str]:
    """Metadata of a kohya file: ModelSpec 1.0.0 of Stability AI, and sd-scripts' own keys."""
    rank = str(widest(pairs))
    kind, version = model.family.architecture(model)
    phrase = f"{metadata['token']} {metadata['class_word']}"
    appearance = metadata.get("appearance", "")
    predicts = {"v_prediction": "v", FLOW: "flow"}
    side = model.config["size"]
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{kind}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.description": f"One person, learned from one clip by AnimateAnywhere on base "
        f"{metadata['base']} ({metadata['base_hash'][:8]})",
        "modelspec.trigger_phrase": phrase,
        "modelspec.usage_hint": f"{phrase} {appearance} on a beach".replace("  ", " "),
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": predicts.get(
            model.scheduler.config.prediction_type, "epsilon"
        ),
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": rank,
        "ss_network_args": json.dumps({"conv_dim": rank, "conv_alpha": rank}),
        "ss_base_model_version": version,
        "ss_v2": "False",
        "ss_output_name": title,
        "ss_sd_model_hash": metadata["base_hash"],
        "ss_training_comment": json.dumps({"token": metadata["token"], "appearance": appearance}),
    }


def _suffix(kind: Format) -> str:
    return ".safetensors" if kind == "kohya" else ""


def _as_diffusers(
    pairs: lora.Pairs, embedding: Tensor | None, model: Base, metadata: Mapping[str, str], out: Path
) -> None:
    factors: dict[str, Tensor] = {}
    for name, (a, b) in pairs.items():
        layer = name.removesuffix(".weight")
        factors |= {layer + lora.A: a.contiguous(), layer + lora.B: b.contiguous()}
    with folder_aside(out) as aside:
        if factors:
            more = {
                "format": "pt",
                "trigger_phrase": f"{metadata['token']} {metadata['class_word']}",
                "appearance": metadata.get("appearance", ""),
            }
            save_file(factors, aside / "pytorch_lora_weights.safetensors", more)
        if embedding is not None:
            row = {metadata["token"]: embedding[0].float().contiguous()}
            save_file(row, aside / "learned_embeds.safetensors", {"format": "pt"})


def _as_kohya(
    pairs: lora.Pairs, embedding: Tensor | None, model: Base, metadata: Mapping[str, str],
    out: Path, beside: Path | None = None,
) -> None:  # fmt: skip
    """The adapter, and the token as an embedding file in `beside`, else next to it."""
    left = sum(".motion_modules." in name for name in pairs)
    if left:
        warn(f"{left} temporal layers are left out: a LoRA of this kind is for images")
    made = kohya_names(pairs, model.family, latent_channels(model.vae))
    if made:
        with write_aside(out) as aside:
            save_file(made, aside, {"format": "pt", **about(pairs, model, metadata, out.stem)})
    if embedding is not None:
        path = (beside or out.parent) / f"{metadata['token']}.safetensors"
        with write_aside(path) as aside:
            save_file({"emb_params": embedding.float().contiguous()}, aside, {"format": "pt"})
        say(f"the token's embedding: {escape(str(path))}")


def _as_comfyui(
    pairs: lora.Pairs, embedding: Tensor | None, model: Base, metadata: Mapping[str, str], out: Path
) -> None:
    name = f"{metadata['token']}-{metadata['class_word']}.safetensors"
    _as_kohya(pairs, embedding, model, metadata, out / "loras" / name, out / "embeddings")
    word = "" if embedding is None else "embedding:"
    say(f'in a prompt: "{word}{metadata["token"]} {metadata["class_word"]}"')


def _write_base(weights: Path, model: Base, metadata: Mapping[str, str], out: Path) -> None:
    load_personal(weights, model)
    with folder_aside(out) as aside:
        for name, part in model.parts.items():
            save_part(part, aside / name)
        own = {key: value for key, value in model.config.items() if key != "hash"}
        write_base_toml(aside, own | {"name": f"{own['name']}-{metadata['token']}"})


_MADE = {"diffusers": "pytorch_lora_weights.safetensors", "base": "base.toml"}
_WRITE: dict[str, Any] = {"diffusers": _as_diffusers, "kohya": _as_kohya, "comfyui": _as_comfyui}
