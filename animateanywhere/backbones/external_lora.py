"""LoRA files of other tools: a style, or a distillation that needs only a few denoising steps (LCM,
Luo et al. 2023, arXiv 2311.05556; distilled Wan)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from diffusers.utils import convert_unet_state_dict_to_peft
from rich.markup import escape
from torch import Tensor

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.personal_weights import FORMAT
from animateanywhere.backbones.weight_kinds import LORA, TEXT, kind_of
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.core.json_file import parse_json, read_json
from animateanywhere.core.messages import say, warn
from animateanywhere.core.tensor_file import read_tensors, require_finite

LEAST = 0.5  # share of a file's layers that must be in the base
NAMED = 3  # of the layers that are not
CONFIG = "lora_adapter_metadata"  # key of diffusers and peft, whose files have no alphas
PEFT = "base_model.model."  # prefix of peft's own files, whose settings are in a file beside them
PEFT_CONFIG = "adapter_config.json"
OTHER_FORMATS = "; other formats can run code"


def add_lora(base: Base, file: Path, scale: float = 1.0) -> None:
    """Merge a LoRA into the denoiser's weights, in place, and print how many layers it has.

    Tensor names may be those of diffusers, of peft, of kohya's tools, or of Wan; alphas are
    tensors, or in the metadata as diffusers writes it, or in peft's `adapter_config.json`. scale:
    factor on the LoRA's change of the weights. Layers of the text encoder, and layers that the base
    does not have, are ignored with a warning; the pose channels of a UNet's widened input are not
    changed.

    Raises UsageError for a file that is not readable as safetensors, has values that are not
    finite (in the file, or once they are added), is not a LoRA, or has less than half of its layers
    in the base.
    """
    name, network = base.family.denoiser, base.denoiser
    tensors, about = _read(file, name)
    kind, is_lora = kind_of(tensors)
    wrong = f"{file}: {kind}, not a LoRA for base {base.config['name']}"
    if not is_lora:
        raise UsageError(f"{wrong}: only LoRA can be added")
    own, layers = _sorted_out(tensors)
    if not layers:
        raise UsageError(f"{wrong}: it has no layers of a {name}")
    try:
        found, alphas = base.family.read_lora(own, network)
        fitting, others = _fitting(found, network, name)
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        raise UsageError(f"{wrong} ({first_line(error)})") from None
    count = f"{len(fitting)} of {len(layers)} layers"
    left = [*others, *sorted({key for key in tensors if not LORA.search(key)})]
    if len(fitting) < LEAST * len(layers):
        raise UsageError(f"{wrong}: {count} fit{_names(left)}")
    used = {key: tensor for some in fitting.values() for key, tensor in some.items()}
    config = None if alphas else _config(file, about, name, list(fitting))
    try:
        network.load_lora_adapter(used, prefix=name, network_alphas=alphas, metadata=config)
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError) as error:
        raise UsageError(f"{wrong} ({first_line(error)})") from None
    network.fuse_lora(lora_scale=scale)
    network.unload_lora()
    weights = dict(network.named_parameters())
    require_finite(file, {f"{layer} + LoRA": weights[f"{layer}.weight"] for layer in fitting})
    say(escape(f"{file}: {count} of {kind}"))
    if left or len(fitting) < len(layers):
        missing = len(layers) - len(fitting)
        warn(escape(f"{file}: ignored: {missing} layers that the base does not have{_names(left)}"))
    if any(TEXT.match(key) for key in tensors):
        warn(escape(f"{file}: its layers of the text encoder are ignored"))


def _read(file: Path, prefix: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file's tensors and metadata; of peft's files as diffusers writes them, under `prefix`."""
    try:
        tensors, about = read_tensors(file)
    except UsageError as error:
        hint = "" if file.suffix == ".safetensors" or file.is_dir() else OTHER_FORMATS
        raise UsageError(f"{error}{hint}") from None
    if about.get("format") == FORMAT:
        raise UsageError(f"{file}: personal weights of aa, not a LoRA: give it with --weights")
    require_finite(file, tensors)
    for key, tensor in tensors.items():
        if LORA.search(key) and not key.endswith("alpha") and not tensor.is_floating_point():
            raise UsageError(f"{file}: {key} is quantized ({tensor.dtype}), which is not supported")
    if all(key.startswith(PEFT) for key in tensors) and tensors:
        tensors = {f"{prefix}.{key.removeprefix(PEFT)}": t for key, t in tensors.items()}
        about |= _peft_config(file.with_name(PEFT_CONFIG), prefix)
    return tensors, about


def _peft_config(path: Path, prefix: str) -> dict[str, str]:
    """The settings in a file of peft as metadata in diffusers' form; {} with a warning if there is
    no such file."""
    if not path.is_file():
        warn(escape(f"{path}: missing, so the LoRA's alpha is unknown: its rank is used"))
        return {}
    try:
        found = read_json(path)
        return {CONFIG: json.dumps({f"{prefix}.{key}": value for key, value in found.items()})}
    except (OSError, ValueError, AttributeError):
        raise UsageError(f"{path}: damaged; copy it again") from None


def _sorted_out(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """The tensors of the denoiser's LoRA, and the names of its layers in the file."""
    own = {key: t for key, t in tensors.items() if LORA.search(key) and not TEXT.match(key)}
    return own, {LORA.sub("", key) for key in own}


def _fitting(
    found: Mapping[str, Tensor], network: Any, prefix: str
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Tensors of layers that the network has, in peft's names, by layer; and other layers' names.

    found: from `Family.read_lora`. prefix: of the network's layers.
    """
    inner = {key.removeprefix(f"{prefix}."): t for key, t in found.items()
             if key.startswith(f"{prefix}.")}  # fmt: skip
    if inner and not any("lora_A" in key for key in inner):
        inner = convert_unet_state_dict_to_peft(inner)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in inner.items():
        layers.setdefault(key.partition(".lora_")[0], {})[f"{prefix}.{key}"] = tensor
    shapes = {n: tuple(p.shape) for n, p in network.named_parameters()}
    fitting = {
        layer: some for layer, some in layers.items()
        if _shape(some) == shapes.get(f"{layer}.weight", ())
    }  # fmt: skip
    return fitting, sorted(layers.keys() - fitting.keys())


def _shape(factors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Shape of the weight that a layer's factors belong to; None if they do not match."""
    a = next((t for key, t in factors.items() if ".lora_A" in key and t.ndim > 1), None)
    b = next((t for key, t in factors.items() if ".lora_B" in key and t.ndim > 1), None)
    if a is None or b is None or a.ndim != b.ndim or len(a) != b.shape[1]:
        return None
    return len(b), *a.shape[1:]


def _config(
    file: Path, about: Mapping[str, str], prefix: str, layers: list[str]
) -> dict[str, Any] | None:
    """The LoRA's settings in the metadata, rank and alpha among them, as diffusers passes them on;
    None without any. layers: those to add it to."""
    from peft import LoraConfig

    if CONFIG not in about:
        return None
    known = {field.name for field in fields(LoraConfig)}  # a newer peft may write others
    try:
        stored = parse_json(about[CONFIG])
        config = {key: value for key, value in stored.items() if key.startswith(f"{prefix}.")
                  and key.removeprefix(f"{prefix}.") in known}  # fmt: skip
    except (ValueError, AttributeError):
        raise UsageError(f"{file}: its metadata {CONFIG} is damaged; copy it again") from None
    return config | {f"{prefix}.target_modules": layers} if config else None


def _names(left: list[str]) -> str:
    """Such as ", such as a, b and 7 others"."""
    if not left:
        return ""
    more = f" and {len(left) - NAMED} others" if len(left) > NAMED else ""
    return f", such as {', '.join(left[:NAMED])}{more}"
