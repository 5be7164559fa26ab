"""Parts of a base from external sources: folders in diffusers layout, a hub, a single file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from rich.markup import escape
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from animateanywhere.backbones.spec import Model
from animateanywhere.core import hub
from animateanywhere.core.errors import Failure, UsageError, first_line
from animateanywhere.core.json_file import read_json
from animateanywhere.core.messages import say

M = TypeVar("M", bound=Model)
SEPARATE = ("motion_adapter", "controlnet")  # parts that are published in their own repositories
PLAIN = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # without a variant
SHARD = re.compile(r"(?<!\.fp16)-\d+-of-(\d+)\.safetensors$")
SMALL = (".json", ".txt", ".model", ".jinja")  # of a tokenizer or scheduler
LOADING = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)  # of damaged files
# A vocabulary of that size is published, and its tokenizer has nearly all of it. Tokenizers that
# are trained on a few captions have fewer words than the text encoder has room for.
PUBLISHED, MOST = 30_000, 0.9
SENTENCE = "a man in a red shirt walks on a beach"


def load_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a part."""
    return read_json(folder / "config.json")


def part_of(kind: Any, table: dict[str, Any], name: str, half: bool = False) -> Any:
    """Load a part of class `kind` from the folder or file that its table of a recipe names, or
    build it from the config in the table, with new weights.

    name: of the part; also of its folder in the source, unless the table has `subfolder`. half:
    load weights in bfloat16, as published. Raises UsageError if the part cannot be loaded or built,
    also for want of single weights.
    """
    if "from" in table:
        dtype = torch.bfloat16 if half else None
        try:
            if "config" in table:
                return _from_single_file(kind, table, name, dtype)
            return from_folder(kind, Path(table["from"]) / place_of(name, table), dtype)
        except LOADING as error:
            raise UsageError(
                f"cannot load {name} from {table['from']}: {first_line(error)}"
            ) from None
    config = {key: value for key, value in table.items() if key != "_class_name"}
    try:
        if issubclass(kind, PreTrainedModel):
            return kind(kind.config_class(**config))
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"model.{name}: {error}") from None


def from_folder(kind: Any, folder: Path, dtype: torch.dtype | None = None) -> Any:
    """Load a part of class `kind` from its folder; dtype: of its weights, by default that of the
    files. Raises OSError if the folder is missing, ValueError for missing weights, and the
    libraries' errors (`LOADING`) for damaged files."""
    if not folder.is_dir():  # the libraries would look for a repository of that name
        raise OSError(f"it has no folder {folder.name}")
    if not issubclass(kind, nn.Module):
        return kind.from_pretrained(folder)
    options: dict[str, Any] = {"use_safetensors": True}  # pickle files can run code
    if dtype is not None:
        options["dtype" if issubclass(kind, PreTrainedModel) else "torch_dtype"] = dtype
    model, found = kind.from_pretrained(
        folder, local_files_only=True, output_loading_info=True, **options
    )
    _require_weights(folder.name, found["missing_keys"])
    return model


def tokenizer_of(kind: Any, table: dict[str, Any]) -> Any:
    """Load the tokenizer from the source of the text encoder; table: the text encoder's. Raises
    UsageError if it is incomplete."""
    source = table.get("config", table["from"])
    tokenizer = part_of(kind, {"from": source}, "tokenizer")
    encoder = Path(source) / place_of("text_encoder", {} if "config" in table else table)
    try:
        require_vocabulary(tokenizer, load_config(encoder))
    except LOADING as error:
        raise UsageError(f"cannot load tokenizer from {source}: {error}") from None
    return tokenizer


def require_vocabulary(tokenizer: Any, config: Mapping[str, Any]) -> None:
    """Raise ValueError if a tokenizer is not that of a text encoder with this config: transformers
    makes a tokenizer of a few marks where its files are missing."""
    words, room = len(tokenizer), int(config["vocab_size"])
    if words > room:
        raise ValueError(f"the tokenizer has {words} words, the text encoder only {room}")
    ids = tokenizer(SENTENCE, add_special_tokens=False).input_ids
    if (room >= PUBLISHED and words < MOST * room) or tokenizer.unk_token_id in ids:
        raise ValueError(
            f"the tokenizer has {words} words, the text encoder {room}: it is incomplete"
        )


def place_of(part: str, table: Mapping[str, Any]) -> str:
    """The folder of a part in its source."""
    return table.get("subfolder", "" if part in SEPARATE else part)


def fetch(model: M, existing: Collection[str], out: Path) -> M:
    """Download the parts that a recipe takes from a hub; returns the recipe with their folders in
    the hub's cache as sources.

    Says first which files, their sizes and licenses, and where they go. existing: parts that `out`
    has. Raises UsageError for sources that do not exist or are not open to this user, Failure for a
    hub that does not answer and for a disk that is too small.
    """
    places: dict[str, dict[str, str]] = {}  # by source: part -> its folder there
    for part, table in model.tables().items():
        source = _source(table)
        if "config" in table:
            say(escape(f"{part}: {table['from']}; config and tokenizer of {source}"))
        if source is None or Path(source).is_dir():
            continue
        needed = {part: place_of(part, {} if "config" in table else table)}
        if part == "text_encoder" and "tokenizer" not in existing:
            needed["tokenizer"] = "tokenizer"  # which is checked against the encoder's config
        elif part in existing:
            continue
        places.setdefault(source, {}).update(needed)
    plans = []
    for source, parts in places.items():
        repository = _look_up(source)
        paths = []
        for part, folder in parts.items():
            weights = part not in existing and "config" not in model.tables().get(part, {})
            paths += _files(repository, part, folder, weights)
        plans.append((repository, list(dict.fromkeys(paths))))  # two parts may share a folder
    _report(plans, out)
    folders = {repository.name: str(hub.download(repository, paths)) for repository, paths in plans}
    tables: dict[str, Any] = {
        part: {**table, "config" if "config" in table else "from": folders[source]}
        for part, table in model.tables().items()
        if (source := _source(table)) in folders
    }
    return replace(model, **tables)


def fetch_file(source: str, name: str) -> Path:
    """A file of a repository, in the hub's cache; says before what is downloaded, and its license.

    Raises UsageError for a file that is not there, and errors as `fetch` does.
    """
    repository = _look_up(source)
    if name not in repository.files:
        raise UsageError(f"{repository.name} has no file {name}: name another in the recipe")
    _report_download([(repository, [name])])
    return Path(hub.download(repository, [name])) / name


def _source(table: Mapping[str, Any]) -> Any:
    """The folder or repository that a table names; None if the part is new."""
    return table.get("config", table.get("from"))


def _files(repository: hub.Repository, part: str, folder: str, weights: bool) -> list[str]:
    """Paths of the files in a repository that a part consists of; weights: with its weights."""
    within = [path for path in repository.files if str(Path(path).parent) == (folder or ".")]
    found = files_of(part, within, weights)
    if not found and repository.local:
        raise Failure(
            f"{repository.name} cannot be downloaded: the hub does not answer, and its cache has "
            f"no complete {part}; run the same command again with a network"
        )
    if not found:
        raise UsageError(
            f"{repository.name} has no {part} as safetensors in {folder or 'its top folder'}: name "
            f"another source in the recipe (pickled weights, .bin, are not read)"
        )
    return found


def files_of(part: str, paths: Collection[str], weights: bool = True) -> list[str]:
    """Those paths of files in one folder that a part is loaded from; none if one is missing."""
    if part in ("tokenizer", "scheduler"):
        return [path for path in paths if path.endswith(SMALL)]
    found = [path for path in paths if Path(path).name == "config.json"]
    if found and weights:
        return [*found, *some] if (some := weight_files(paths)) else []
    return found


def _look_up(source: str) -> hub.Repository:
    """The repository as the hub tells it or, where the hub does not answer, as the cache does."""
    try:
        return hub.look_up(source)
    except Failure:
        cached = hub.look_up_cached(source)
        if cached is None:
            raise
        return cached


def _report(plans: list[tuple[hub.Repository, list[str]]], out: Path) -> None:
    """Say what will be downloaded; raise Failure if the disk is too small for it."""
    if not plans:
        return
    _report_download(plans)
    cache = hub.cache_folder()
    if hub.same_disk(cache, out):
        say(escape(f"{out} shares the files of the cache, so they take their space once"))
    else:
        kept = sum(repository.files[path] for repository, paths in plans for path in paths)
        say(escape(f"their copies in {out}, on another disk, take {kept / 1e9:.2f} GB as well"))
        hub.require_space(out, kept, "give --out on another disk")


def _report_download(plans: list[tuple[hub.Repository, list[str]]]) -> None:
    """Say which files will be in the hub's cache; raise Failure if its disk is too small."""
    load = 0
    for repository, paths in plans:
        missing = hub.missing_in_cache(repository, paths)
        for path in paths:
            if path.endswith(".safetensors"):
                size = repository.files[path]
                where = "" if path in missing else ", already in the hub's cache"
                say(escape(f"{repository.name}/{path}, {size / 1e9:.2f} GB{where}"))
        if not repository.local:
            say(escape(f"license of {repository.name}: {repository.license or 'not stated'}"))
        load += sum(repository.files[path] for path in missing)
    if load:
        cache = hub.cache_folder()
        say(escape(f"to download: {load / 1e9:.2f} GB, to the hub's cache {cache}"))
        hub.require_space(cache, load, "set HF_HOME to a folder on another disk")


def weight_files(files: Collection[str]) -> list[str]:
    """The files of a folder that are loaded: the one without a variant in its name, or all shards
    of a sharded one and their index; none if a shard is missing."""
    plain = [path for path in files if Path(path).name in PLAIN]
    if plain:
        return plain[:1]
    shards = {path: int(found[1]) for path in files if (found := SHARD.search(path))}
    index = [path for path in files if Path(path).name in {f"{name}.index.json" for name in PLAIN}]
    return [*index[:1], *shards] if {len(shards)} == {*shards.values()} else []


def _from_single_file(
    kind: Any, table: dict[str, Any], part: str, dtype: torch.dtype | None
) -> Any:
    file, config = table["from"], table["config"]
    if issubclass(kind, PreTrainedModel):  # CLIP, the only text encoder diffusers reads from a file
        model = create_diffusers_clip_model_from_ldm(
            kind, load_file(file), part, config, local_files_only=True
        )
        _require_weights(part, [name for name, p in model.named_parameters() if p.is_meta])
        return model
    options = {} if dtype is None else {"torch_dtype": dtype}
    try:
        model = kind.from_single_file(
            file, config=config, subfolder=part, local_files_only=True, **options
        )
    except RuntimeError as error:
        if "meta tensor" in str(error):  # what is missing has no data
            _require_weights(part, _missing(kind, file, Path(config) / part))
        raise
    model.register_to_config(_name_or_path=None)  # a local path
    return model


def _missing(kind: Any, file: str, folder: Path) -> set[str]:
    """Names of the weights of a part, by its config in `folder`, that a single file lacks."""
    with torch.device("meta"):
        model = kind.from_config(load_config(folder))
    convert = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"]
    return (
        model.state_dict().keys() - convert(config=model.config, checkpoint=load_file(file)).keys()
    )


def _require_weights(part: str, missing: Collection[str]) -> None:
    """Raise ValueError that names missing weights: libraries initialize them at random."""
    if missing:
        some = sorted(missing)
        more = f" and {len(some) - 3} more" if len(some) > 3 else ""
        raise ValueError(f"weights of {part} are missing: {', '.join(some[:3])}{more}")
