"""Weights of third-party models: found in a local folder or the hub's cache, or downloaded."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape

from animateanywhere.core import hub
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import Failure, UsageError, first_line
from animateanywhere.core.files import sha256
from animateanywhere.core.messages import say

CONFIG_FILES = ("*.json", "*.txt", "*.jinja")  # settings and vocabularies


class Source(NamedTuple):
    """A model on the Hugging Face hub."""

    name: str  # of its folder in `WeightsLocation.models`
    repo: str
    files: tuple[str, ...] = ("*.safetensors",)  # of weights, all of them required; never pickles
    revision: str = "main"  # some repositories have safetensors on a branch only


class WeightsLocation(NamedTuple):
    """Where to find weights: in a folder if given, then the hub's cache, then the hub itself."""

    models: Path | None = None  # folder with one subfolder for each source
    offline: bool = False  # download nothing, like HF_HUB_OFFLINE=1


HUB = WeightsLocation()


GROUNDING_DINO = Source("grounding-dino", "IDEA-Research/grounding-dino-tiny")
SAM = Source("sam", "facebook/sam-vit-base")
RT_DETR = Source("rt-detr", "PekingU/rtdetr_r50vd_coco_o365")
VITPOSE = Source("vitpose", "usyd-community/vitpose-base-simple")
CLIP = Source("clip", "openai/clip-vit-base-patch32", revision="refs/pr/15")
DINO = Source("dino", "facebook/dino-vits16", revision="refs/pr/1")
VIDEOMAE = Source("videomae", "MCG-NJU/videomae-base-ssv2")
DWPOSE = Source("dwpose", "yzd-v/DWPose", ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"))


def find_local(source: Source, location: WeightsLocation) -> Path | None:
    """The local folder of a model, in `location` or in the hub's cache; None if it is in neither.

    Raises UsageError if `location` has a folder for the model without the weights.
    """
    own = location.models / source.name if location.models else None
    if own and own.is_dir():
        if missing := _missing(source, own):
            raise UsageError(
                f"{own}: contains no {missing}; put it there (pickled weights, .bin, are not read)"
            )
        return own
    cached = hub.look_up_cached(source.repo, source.revision)
    if cached is None:
        return None
    folder = hub.cached_folder(cached)
    # An interrupted download leaves a folder too
    return None if _missing(source, folder) else folder


def _missing(source: Source, folder: Path) -> str | None:
    return next((name for name in source.files if not list(folder.glob(name))), None)


def fingerprint(source: Source, folder: Path) -> str:
    """An identifier of weights, for cache keys: the source's name and a digest of its files."""
    files = sorted(file for name in source.files for file in folder.glob(name))
    states = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{source.name}-{_digest(tuple(states))}"


@cache  # gigabytes, asked for with each of many clips
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256("".join(sha256(file) for file, _, _ in files).encode())
    return digest.hexdigest()[:12]


def require_local(source: Source, location: WeightsLocation) -> Path:
    """The local folder of a model that is downloaded only by `aa models fetch`.

    Raises UsageError with that command if it is not local, and as `find_local` does.
    """
    found = find_local(source, location)
    if found is None:
        raise UsageError(
            f"{source.repo} is not on this machine: run `aa models fetch {source.name}`, or put it "
            f"into DIR/{source.name} and give --models DIR"
        )
    return found


def fetch(source: Source, location: WeightsLocation) -> Path:
    """The local folder of a model, downloaded if necessary; a message then gives its size.

    Raises UsageError if the model is not local and either downloads are off or the hub fails.
    """
    found = find_local(source, location)
    if found:
        return found
    remedy = f"put {source.repo} into DIR/{source.name} and give --models DIR"
    if location.offline or hub.is_offline():
        raise UsageError(f"{source.repo} is not on this machine, and downloads are off: {remedy}")
    try:
        repository = hub.look_up(source.repo, source.revision)
        paths = [
            path for path in sorted(repository.files)
            if any(fnmatch(path, pattern) for pattern in (*source.files, *CONFIG_FILES))
        ]  # fmt: skip
        size = sum(repository.files[path] for path in hub.missing_in_cache(repository, paths))
        say(escape(f"downloading {source.repo}: {size / 1e6:.0f} MB"))
        hub.require_space(hub.cache_folder(), size, "set HF_HOME to a folder on another disk")
        return hub.download(repository, paths)
    except (UsageError, Failure) as error:
        raise UsageError(f"{error}; or {remedy}") from None


def load(kind: Any, folder: Path) -> Any:
    """A frozen model of class `kind` from a folder of safetensors, on the best device."""
    try:
        model = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{folder}: the model cannot be loaded ({first_line(error)})") from None
    return model.to(best_device()).eval().requires_grad_(False)
