"""`aa export`: personal weights in the formats of other tools.

diffusers: a folder with `pytorch_lora_weights.safetensors` and `learned_embeds.safetensors`.
kohya: the same adapter with alpha and metadata, under the layer names of sd-scripts, which Stable
Diffusion web UIs read, or for a transformer under Wan's original names. comfyui: kohya's file in
the layout of ComfyUI's `models` folder. base: a complete base that has learned the person. LoRA is
exported exactly; full weights are first approximated by a low rank.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from rich.markup import escape
from safetensors.torch import save_file
from torch import Tensor

from animateanywhere.backbones import lora
from animateanywhere.backbones.base import Base, Family, load_base, open_base, write_base_toml
from animateanywhere.backbones.create import save_part
from animateanywhere.backbones.family import OWN
from animateanywhere.backbones.low_rank import low_rank
from animateanywhere.backbones.personal_weights import (
    base_of,
    learned_frame,
    load_personal,
    read_fitting,
    read_metadata,
    whole_parts,
)
from animateanywhere.backbones.vae import latent_channels
from animateanywhere.commands.comfyui import is_workflow, workflow_files, write_workflows
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside, require_free, write_aside
from animateanywhere.core.frame_size import Size, square
from animateanywhere.core.messages import say, warn
from animateanywhere.core.run_folder import owned
from animateanywhere.core.tensor_file import read_about, sort_metadata
from animateanywhere.diffusion.losses import FLOW

Format = Literal["diffusers", "kohya", "comfyui", "base"]
RANK = 32


def export(
    weights: Path, kind: Format, out: Path | None = None, *, rank: int = RANK,
    base: str | None = None, overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write personal weights in another format; returns the file or folder.

    out: by default next to the weights, named after token and format. rank: of the approximation
    of full weights (LoRA keeps its rank). base: the base of the weights, if it was moved.
    overwrite: replace files that are not earlier exports, too. Raises UsageError as `load_personal`
    does, and for an unusable `out`.
    """
    metadata = read_metadata(weights)
    out = out or weights.with_name(f"{metadata['token']}-{kind}" + _suffix(kind))
    if out.suffix != _suffix(kind):
        raise UsageError(f"--out {out}: for {kind}, give the name of a {_suffix(kind) or 'folder'}")
    if out.resolve() == weights.resolve():
        raise UsageError(f"--out {out} would overwrite the weights: give another name")
    for path in _files(kind, metadata, out):
        require_free(path, overwrite, _is_export(path))
    place = base or base_of(metadata, weights)
    in_folder = kind in _FOLDERS
    with owned(out, "export", _FOLDERS[kind]) if in_folder else nullcontext():
        if kind == "base":
            _write_base(weights, load_base(place), metadata, out)
        else:
            _write_lora(weights, place, kind, metadata, out, rank)
    say(f"wrote [bold]{escape(str(out))}[/bold]")
    return out


def _write_lora(
    weights: Path, place: str, kind: Format, metadata: Mapping[str, str], out: Path, rank: int
) -> None:
    """Write all formats but "base". place: the base. LoRA is written as it is, so of the base only
    names and shapes are needed."""
    model = open_base(place, whole_parts(weights), metadata["base_hash"])
    fitting = read_fitting(weights, model)
    if model.family.architecture(model)[1].startswith(OWN):
        warn(
            escape(
                f"no other tool can run base {model.config['name']}, so these weights are of "
                "no use there: personalize on a public base (`aa bases`)"
            )
        )
    pairs = fitting.pairs | low_rank(fitting, rank)
    _WRITE[kind](pairs, fitting.embedding, model, metadata, out)


def kohya_names(pairs: lora.Pairs, family: Family, channels: int) -> dict[str, Tensor]:
    """Factors under the names of kohya's sd-scripts (`Family.kohya_name`), with alpha = rank.

    Layers that other tools do not have are left out. Of `conv_in`, only the first `channels` input
    channels are kept, those of the noisy latent: other tools have their own pose conditioning.
    Factors of smaller rank are padded with zeros, since diffusers misreads alphas of mixed ranks.
    """
    out, rank = {}, highest_rank(pairs)
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


def highest_rank(pairs: lora.Pairs) -> int:
    """The highest rank of the factors; 0 without factors."""
    return max((len(a) for a, _ in pairs.values()), default=0)


def kohya_metadata(
    pairs: lora.Pairs, model: Base, metadata: Mapping[str, str], title: str
) -> dict[str, str]:
    """Metadata of a kohya file: Stability AI's ModelSpec 1.0.0, and the keys of sd-scripts."""
    rank = str(highest_rank(pairs))
    kind, version = model.family.architecture(model)
    phrase = f"{metadata['token']} {metadata['class_word']}"
    appearance = metadata.get("appearance", "")
    predicts = {"v_prediction": "v", FLOW: "flow"}
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{kind}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.description": f"One person, learned from one clip by AnimateAnywhere on base "
        f"{metadata['base']} ({metadata['base_hash'][:8]})",
        "modelspec.trigger_phrase": phrase,
        "modelspec.usage_hint": f"{phrase} {appearance} on a beach".replace("  ", " "),
        "modelspec.resolution": str(_frame(model, metadata)),
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


def _frame(model: Base, metadata: Mapping[str, str]) -> Size:
    """The size of the frames that the person was learned on."""
    return learned_frame(dict(metadata)) or square(int(model.config["size"]))


def _suffix(kind: Format) -> str:
    return ".safetensors" if kind == "kohya" else ""


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    save_file(tensors, path, metadata)
    sort_metadata(path)  # equal weights give equal files


def _as_diffusers(
    pairs: lora.Pairs, embedding: Tensor | None, model: Base, metadata: Mapping[str, str], out: Path
) -> None:
    factors: dict[str, Tensor] = {}
    for name, (a, b) in pairs.items():
        layer = name.removesuffix(".weight")
        factors |= {layer + lora.A: a.contiguous(), layer + lora.B: b.contiguous()}
    with folder_aside(out, (LORA, EMBEDS)) as aside:
        if factors:
            more = {
                "format": "pt",
                "trigger_phrase": f"{metadata['token']} {metadata['class_word']}",
                "appearance": metadata.get("appearance", ""),
            }
            _save(factors, aside / LORA, more)
        if embedding is not None:
            row = {metadata["token"]: embedding[0].float().contiguous()}
            _save(row, aside / EMBEDS, {"format": "pt"})


def _as_kohya(
    pairs: lora.Pairs, embedding: Tensor | None, model: Base, metadata: Mapping[str, str],
    out: Path, embeddings: Path | None = None,
) -> None:  # fmt: skip
    """Write the adapter, and the token's embedding to the folder `embeddings`, by default that of
    the adapter."""
    left = sum(".motion_modules." in name for name in pairs)
    if left:
        warn(f"{left} temporal layers are left out: a LoRA in this format is for images")
    factors = kohya_names(pairs, model.family, latent_channels(model.vae))
    if factors:
        about = kohya_metadata(pairs, model, metadata, out.stem)
        with write_aside(out) as aside:
            _save(factors, aside, {"format": "pt", "software": SOFTWARE, **about})
    if embedding is not None:
        path = (embeddings or out.parent) / f"{metadata['token']}.safetensors"
        with write_aside(path) as aside:
            row = {"emb_params": embedding.float().contiguous()}
            _save(row, aside, {"format": "pt", "software": SOFTWARE})
        say(f"wrote the token's embedding: {escape(str(path))}")


def _as_comfyui(
    pairs: lora.Pairs, embedding: Tensor | None, model: Base, metadata: Mapping[str, str], out: Path
) -> None:
    name = _name(metadata)
    file = out / "loras" / f"{name}.safetensors"
    _as_kohya(pairs, embedding, model, metadata, file, out / "embeddings")
    word = "" if embedding is None else "embedding:"
    person = f"{word}{metadata['token']} {metadata['class_word']}"
    phrase = " ".join(filter(None, (person, metadata.get("appearance", ""))))
    if file.is_file():
        write_workflows(out, model.family.denoiser, name, phrase, _frame(model, metadata))
    say(escape(f'use in prompts: "{phrase} on a beach"'))


def _write_base(weights: Path, model: Base, metadata: Mapping[str, str], out: Path) -> None:
    load_personal(weights, model)
    with folder_aside(out, (*model.parts, "base.toml")) as aside:
        for name, part in model.parts.items():
            save_part(part, aside / name)
        own = {key: value for key, value in model.config.items() if key != "hash"}
        write_base_toml(aside, own | {"name": f"{own['name']}-{metadata['token']}"})


def _files(kind: Format, metadata: Mapping[str, str], out: Path) -> list[Path]:
    """The single files that an export writes among others."""
    token, name = f"{metadata['token']}.safetensors", _name(metadata)
    if kind == "kohya":
        return [out, out.parent / token]
    if kind != "comfyui":
        return []
    loras, embeddings = out / "loras", out / "embeddings"
    return [loras / f"{name}.safetensors", embeddings / token, *workflow_files(out, name)]


def _name(metadata: Mapping[str, str]) -> str:
    return f"{metadata['token']}-{metadata['class_word']}"


def _is_export(path: Path) -> bool:
    """Whether a file says that it was written here."""
    try:
        if path.suffix == ".json":
            return is_workflow(path)
        about = read_about(path)
    except (UsageError, OSError, ValueError):
        return False
    return SOFTWARE in (about.get("software", "") + about.get("modelspec.description", ""))


def _is_diffusers(folder: Path) -> bool:
    """Whether a folder without a mark is an export of version 0.1, which wrote none."""
    return (folder / LORA).is_file() and "trigger_phrase" in read_about(folder / LORA)


def _is_base(folder: Path) -> bool:
    """The same of a base; bases that were trained here have a recipe."""
    return (folder / "base.toml").is_file() and not (folder / "recipe.json").exists()


LORA, EMBEDS = "pytorch_lora_weights.safetensors", "learned_embeds.safetensors"
SOFTWARE = "AnimateAnywhere"  # in the metadata
_FOLDERS = {"diffusers": _is_diffusers, "base": _is_base}
_WRITE: dict[str, Any] = {"diffusers": _as_diffusers, "kohya": _as_kohya, "comfyui": _as_comfyui}
