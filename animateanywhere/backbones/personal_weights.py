"""Personal weights: what one-shot learning changed, as a safetensors file that identifies its base.

Tensor names are parameter names prefixed by the part of the base (`unet.`, `transformer.`,
`motion_adapter.`, `text_encoder.`, `vae.`); `token_embedding` (1, D) is the learned token's
embedding. Motion modules may have the prefix `unet.`, as in the running UNetMotionModel. LoRA
factors, named as in `backbones.lora`, are added to a weight; other tensors replace one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.markup import escape
from torch import Tensor
from transformers import AddedToken

from animateanywhere.backbones import lora
from animateanywhere.backbones.family import Base
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.frame_size import Size, parse_size
from animateanywhere.core.json_file import parse_json, read_table
from animateanywhere.core.messages import warn
from animateanywhere.core.paths import RUNS
from animateanywhere.core.tensor_file import (
    read_about,
    read_names,
    read_tensors,
    require_finite,
    write_tensors,
)

FILE = "personal.safetensors"
RECORD = "run.json"  # beside it: what the run depends on, and where its base is on this machine
FORMAT = "animateanywhere-personal-1"
PARTS = ("unet", "transformer", "motion_adapter", "text_encoder", "vae")
EMBEDDING = "token_embedding"
METADATA = ("token", "class_word", "base", "base_hash", "recipe", "version")
RENAMED = {"looks": "appearance", "chosen": "selected_steps"}  # earlier names of other keys


def save_personal(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], half: bool = False
) -> None:
    """Write personal weights, completely or not at all; equal content gives equal bytes.

    tensors: named as described for this module. metadata: strings under all keys of `METADATA`
    (`base` is the base's name, `recipe` is JSON) and any others. half: store floats as float16.
    Raises ValueError for missing metadata and unknown names, Failure for values that are not
    finite.
    """
    missing = [key for key in METADATA if key not in metadata]
    if missing:
        raise ValueError(f"metadata lacks {', '.join(missing)}")
    ready = {}
    for name, tensor in sorted(tensors.items()):
        if name != EMBEDDING and name.split(".")[0] not in PARTS:
            raise ValueError(f"{name} belongs to no part of a base")
        if half and tensor.is_floating_point():
            tensor = tensor.half()
        if not tensor.isfinite().all():
            raise Failure(f"{name} is not finite: training diverged; lower the learning rate")
        ready[name] = tensor
    write_tensors(path, ready, {**metadata, "format": FORMAT})


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of personal weights, without reading the tensors.

    Raises UsageError if the file is missing, damaged, not a safetensors file, or not personal
    weights.
    """
    return _read(path, tensors=False)[0]


def require_whole(path: Path) -> dict[str, str]:
    """Read a file completely, and return its metadata. Raises UsageError as `read_metadata` does,
    and for values that are damaged."""
    return _read(path, tensors=True)[0]


def whole_parts(path: Path) -> set[str]:
    """The parts of a base of which a file has full tensors, without reading them. Raises UsageError
    as `read_metadata` does."""
    read_metadata(path)
    names = [name for name in read_names(path) if not name.endswith((lora.A, lora.B))]
    adapter = "motion_adapter" if any(".motion_modules." in name for name in names) else ""
    return {*(name.partition(".")[0] for name in names), adapter} - {EMBEDDING, ""}


def base_of(metadata: Mapping[str, str], path: Path | None = None) -> str:
    """The base of personal weights, for `find_base`: its folder, or its name if that is unknown.

    path: of the weights. The folder is written in the `run.json` beside them, and not in the
    weights, which are shared (version 0.1 wrote it there); it is gone on another machine.
    """
    folder = metadata.get("base_folder")
    if path is not None:
        run = read_table(path.parent / RECORD)
        if run.get("base_hash") == metadata.get("base_hash"):
            folder = run.get("base_folder", folder)
    if isinstance(folder, str) and (Path(folder) / "base.toml").is_file():
        return folder
    return metadata.get("base", "mini")


class Fitting(NamedTuple):
    """Personal weights that match a base."""

    metadata: dict[str, str]
    whole: dict[str, Tensor]  # full tensors, which replace parameters
    pairs: lora.Pairs
    embedding: Tensor | None  # (1, D), of the learned token
    targets: dict[str, Tensor]  # the base's parameters, by the names in `whole` and `pairs`


def read_fitting(path: Path, base: Base) -> Fitting:
    """Read personal weights and find the base's parameters they apply to, without changing these.

    Raises UsageError as `read_metadata` does, and for weights that were learned on another base.
    """
    metadata, tensors = _read(path, tensors=True)
    if metadata["base_hash"] not in (base.hash, base.earlier_hash):
        raise UsageError(
            f"{path}: learned on base {metadata['base']} ({metadata['base_hash'][:8]}), but this "
            f"is another one ({base.hash[:8]}): give that base with --base, or personalize again"
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
    """Apply personal weights to a loaded base, in place, and return their metadata.

    The token is added to the tokenizer, and its embedding to the text encoder. LoRA is merged into
    the weights, W + B·A in float32, so load a file only once into a base. scale: factor on the
    learned changes (not on the token's embedding). untouched: to combine several files, the same
    dict at each call, initially empty; their changes then add up. If the file does not match,
    nothing is changed. Raises UsageError as `read_fitting` does.
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
            table = base.text_encoder.get_input_embeddings().weight  # replaced by `add_token`
            table[index] = embedding[0]
    return metadata


def add_token(base: Base, token: str) -> int:
    """Add a word to the tokenizer as one token, and return its id.

    The text encoder's embedding gets a new row, drawn by transformers like the others. The word is
    matched only as a whole word.
    """
    base.tokenizer.add_tokens([AddedToken(token, single_word=True, normalized=True)])
    embedding: Any = base.text_encoder.get_input_embeddings()
    if embedding.num_embeddings < len(base.tokenizer):
        base.text_encoder.resize_token_embeddings(len(base.tokenizer), mean_resizing=False)
    index = base.tokenizer.convert_tokens_to_ids(token)
    assert isinstance(index, int)
    return index


def mentions(prompt: str, token: str) -> bool:
    """Whether a prompt contains a token as a whole word; case is ignored."""
    return re.search(rf"(?<!\w){re.escape(token)}(?!\w)", prompt, re.IGNORECASE) is not None


def find_weights(prompt: str, runs: Path = RUNS) -> tuple[Path, str] | None:
    """Find the newest personal weights in `runs/<token>` whose token is in the prompt.

    Returns their path and the token, or None if no word of the prompt is a learned token. Files
    that cannot be read are skipped with a warning.
    """
    folders = [f for f in runs.iterdir() if mentions(prompt, f.name)] if runs.is_dir() else []
    files = [file for folder in folders for file in folder.rglob(FILE)]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        try:
            token = read_metadata(file)["token"]
        except UsageError as error:
            warn(escape(f"skipped: {error}"))
            continue
        if mentions(prompt, token):
            return file, token
    return None


def unfinished(prompt: str, runs: Path = RUNS) -> str | None:
    """A token in the prompt that `runs/<token>` was begun for; None if there is none. Call it where
    `find_weights` finds nothing: the weights are then missing or damaged."""
    for file in sorted(runs.glob(f"*/{RECORD}")):
        token = read_table(file).get("token")
        if isinstance(token, str) and mentions(prompt, token):
            return token
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
        raise UsageError(f"{path} is a folder: give a file, such as {path / FILE}")
    try:
        content, metadata = read_tensors(path) if tensors else ({}, read_about(path))
    except UsageError as error:
        raise UsageError(f"{error}; copy it again" if path.exists() else str(error)) from None
    if metadata.get("format") != FORMAT or any(key not in metadata for key in METADATA):
        raise UsageError(f"{path}: not personal weights of AnimateAnywhere: give a {FILE}")
    require_finite(path, content)
    _check_metadata(path, metadata)
    for old, new in RENAMED.items():
        if old in metadata:
            metadata.setdefault(new, metadata.pop(old))
    return metadata, content


def _check_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Raise UsageError for metadata that cannot be of this program: words become names of files,
    and the rest is read long after the weights."""
    for key in ("token", "class_word"):
        if not re.fullmatch(r"\w[\w-]{0,63}", metadata[key]):
            raise UsageError(
                f"{path}: {key} {metadata[key]!r} is not a word; damaged? copy it again"
            )
    try:
        learned_frame(metadata)
        learned_keypoints(metadata)
        whole = isinstance(parse_json(metadata.get("selected_steps", "{}")), dict)
    except (ValueError, TypeError, OverflowError, UsageError):
        whole = False
    if not whole:
        raise UsageError(f"{path}: its metadata are damaged; copy it again")


def learned_keypoints(learned: dict[str, str]) -> np.ndarray | None:
    """The learned person's keypoints (N, 18, 3) float32: x and y in pixels of the base, confidence.

    learned: metadata of personal weights. None if they have no keypoints.
    """
    text = learned.get("keypoints")
    return None if text is None else np.array(parse_json(text), np.float32).reshape(-1, 18, 3)


def learned_frame(learned: dict[str, str]) -> Size | None:
    """The size of the frames that a person was learned on; None if the metadata do not say it:
    those of earlier versions are squares of the base's size."""
    return parse_size(learned.get("frame"))
