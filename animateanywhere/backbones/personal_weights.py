"""Personal weights: what one-shot learning changed, as a safetensors file that knows its base.

Tensor names are full parameter names under the part of the base they belong to (`unet.`,
`transformer.`, `motion_adapter.`, `text_encoder.`, `vae.`), and `token_embedding` (1, D) is the
token's row. Motion modules may stand under `unet.` as they do in the running UNetMotionModel. LoRA
factors, as `backbones.lora` names them, stand for what is added to a weight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.markup import escape
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import AddedToken

from animateanywhere.backbones import lora
from animateanywhere.backbones.family import Base
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import warn
from animateanywhere.core.paths import RUNS

FILE = "personal.safetensors"
FORMAT = "animateanywhere-personal-1"
PARTS = ("unet", "transformer", "motion_adapter", "text_encoder", "vae")
EMBEDDING = "token_embedding"
METADATA = ("token", "class_word", "base", "base_hash", "recipe", "version")


def save_personal(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], half: bool = False
) -> None:
    """Write personal weights, whole or not at all; the same content gives the same bytes.

    tensors: named as the module's docstring says. metadata: strings under all keys of `METADATA`
    (`base` the base's name, `recipe` JSON), more are kept. half: floats as fp16.
    Raises ValueError for metadata or names that are not so, Failure for values that are not finite.
    """
    missing = [key for key in METADATA if key not in metadata]
    if missing:
        raise ValueError(f"metadata without {', '.join(missing)}")
    ready = {}
    for name, tensor in sorted(tensors.items()):
        if name != EMBEDDING and name.split(".")[0] not in PARTS:
            raise ValueError(f"{name} belongs to no part of a base")
        if half and tensor.is_floating_point():
            tensor = tensor.half()
        if not tensor.isfinite().all():
            raise Failure(f"{name} is not finite: training diverged; lower the learning rate")
        ready[name] = tensor.detach().cpu().contiguous()
    with write_aside(path) as tmp:
        tmp.write_bytes(_sorted_header(save(ready, {**metadata, "format": FORMAT})))


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of personal weights, without reading the tensors.

    Raises UsageError when the file is missing, no safetensors, damaged or not ours.
    """
    return _read(path, tensors=False)[0]


def base_of(metadata: Mapping[str, str]) -> str:
    """Where the base of personal weights is, or was: runs move to other machines."""
    folder = metadata.get("base_folder")
    if folder is not None and (Path(folder) / "base.toml").is_file():
        return folder
    return metadata.get("base", "mini")


class Fitting(NamedTuple):
    """Personal weights that fit a base."""

    metadata: dict[str, str]
    whole: dict[str, Tensor]
    pairs: lora.Pairs
    embedding: Tensor | None  # (1, D), the token's row
    targets: dict[str, Tensor]  # the base's own parameters, by the names of whole and pairs


def read_fitting(path: Path, base: Base) -> Fitting:
    """Personal weights, and what of a base they belong to; the base is not changed.

    Raises UsageError as `load_personal` does.
    """
    metadata, tensors = _read(path, tensors=True)
    if metadata["base_hash"] != base.hash:
        raise UsageError(
            f"{path}: learned on base {metadata['base']} ({metadata['base_hash'][:8]}), this is "
            f"another one ({base.hash[:8]}): choose that with --base, or personalize again"
        )
    embedding = tensors.pop(EMBEDDING, None)
    try:
        whole, pairs = lora.split(tensors)
        shapes = [(name, tuple(tensor.shape)) for name, tensor in whole.items()]
        shapes += [(name, lora.shape(*pair)) for name, pair in pairs.items()]
    except ValueError as error:
        raise UsageError(f"{path}: {error}; damaged?") from None
    targets = {}
    for name, shape in shapes:
        target = _parameter(base, name)
        if target is None or target.shape != shape:
            raise UsageError(f"{path}: {name} {shape} does not fit; damaged?")
        targets[name] = target
    table: Any = base.text_encoder.get_input_embeddings().weight
    if embedding is not None and embedding.shape != (1, table.shape[1]):
        raise UsageError(f"{path}: {EMBEDDING} {tuple(embedding.shape)} does not fit; damaged?")
    return Fitting(metadata, whole, pairs, embedding, targets)


def load_personal(
    path: Path, base: Base, scale: float = 1.0, untouched: dict[str, Tensor] | None = None
) -> dict[str, str]:
    """Put personal weights into a loaded base, in place, and return their metadata.

    The token is added to the tokenizer and gets its row of the text encoder's embedding. LoRA is
    merged into the weights, W + B·A in float32: so load a file once into one base. scale: so much
    of what was learned counts (the token's row whole). untouched: for several files, the same dict
    at each call; what they learned then adds up. Nothing is changed when the file does not fit.
    Raises UsageError as `read_metadata` does, and for weights that were learned on another base.
    """
    metadata, whole, pairs, embedding, targets = read_fitting(path, base)
    with torch.no_grad():
        if untouched is not None:
            for name, target in targets.items():
                untouched.setdefault(name, target.detach().clone())
        for name, tensor in whole.items():
            target = targets[name]
            if untouched is None and scale == 1:
                target.copy_(tensor)
            else:
                before = target.clone() if untouched is None else untouched[name]
                target.add_(scale * (tensor.to(target) - before))
        for name, pair in pairs.items():
            targets[name].add_(scale * lora.product(*pair).to(targets[name]))
        if embedding is not None:
            index = add_token(base, metadata["token"])
            table = base.text_encoder.get_input_embeddings().weight  # a new one, with the row
            table[index] = embedding[0]
    return metadata


def add_token(base: Base, token: str) -> int:
    """Make a word a token of its own, and return its id.

    A new row of the text encoder's embedding (transformers draws it like the others) stands for
    it. The word is matched as a whole only, not within other words.
    """
    base.tokenizer.add_tokens([AddedToken(token, single_word=True, normalized=True)])
    embedding: Any = base.text_encoder.get_input_embeddings()
    if embedding.num_embeddings < len(base.tokenizer):
        base.text_encoder.resize_token_embeddings(len(base.tokenizer), mean_resizing=False)
    index = base.tokenizer.convert_tokens_to_ids(token)
    assert isinstance(index, int)
    return index


def mentions(prompt: str, token: str) -> bool:
    """Whether a token occurs as a word of a prompt, in whatever case."""
    return re.search(rf"(?<!\w){re.escape(token)}(?!\w)", prompt, re.IGNORECASE) is not None


def find_weights(prompt: str, runs: Path = RUNS) -> tuple[Path, str] | None:
    """The newest personal weights in `runs/<token>` of a token that the prompt mentions.

    Returns their path and the token, or None when nothing was learned under such a word. Files
    that cannot be read are passed over with a warning.
    """
    folders = [f for f in runs.iterdir() if mentions(prompt, f.name)] if runs.is_dir() else []
    files = [file for folder in folders for file in folder.rglob(FILE)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        try:
            token = read_metadata(file)["token"]
        except UsageError as error:
            warn(escape(f"passing over {error}"))
            continue
        if mentions(prompt, token):
            return file, token
    return None


def _parameter(base: Base, name: str) -> Tensor | None:
    part, _, rest = name.partition(".")
    if ".motion_modules." in rest and "motion_adapter" in base.parts:
        part = "motion_adapter"
    if part not in PARTS or part not in base.parts:
        return None
    try:
        return base.parts[part].get_parameter(rest)
    except AttributeError:
        return None


def _read(path: Path, tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the file {path / FILE}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            content = (
                {name: file.get_tensor(name) for name in file.offset_keys()} if tensors else {}
            )
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: not readable as safetensors ({reason}); copy it again") from None
    if metadata.get("format") != FORMAT or any(key not in metadata for key in METADATA):
        raise UsageError(f"{path}: not personal weights of AnimateAnywhere: give a {FILE}")
    for name, tensor in content.items():
        if not tensor.isfinite().all():
            raise UsageError(f"{path}: {name} is not finite; damaged? copy it again")
    if "looks" in metadata:  # as 0.1 wrote it
        metadata["appearance"] = metadata.pop("looks")
    return metadata, content


def _sorted_header(file: bytes) -> bytes:
    """The same safetensors file with its metadata in order; the library's order is random."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


def build_of(learned: dict[str, str]) -> np.ndarray | None:
    """The learned person's own keypoints (N, 18, 3) in the base's pixels, where they were kept."""
    text = learned.get("keypoints")
    return None if text is None else np.array(json.loads(text), np.float32).reshape(-1, 18, 3)
