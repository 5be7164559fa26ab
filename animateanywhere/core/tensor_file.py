"""Safetensors files with a checksum of names, metadata and values: written whole, checked when
read, so that flipped bytes are an error and never other weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import warn

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "sha256"  # key of the metadata


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors (on any device) with a checksum; equal content gives equal bytes.

    Raises Failure if the disk is full.
    """
    from safetensors.torch import save_file

    ready = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    about = dict(metadata or {})
    digest = _start(about)
    for name, tensor in ready.items():
        _add(digest, name, tensor)
    with write_aside(path) as aside:
        save_file(ready, aside, {**about, CHECKSUM: digest.hexdigest()})
        sort_metadata(aside)


@contextmanager
def checked(path: Path) -> Iterator[Any]:
    """A file as opened by `safetensors.safe_open`, after its checksum was compared.

    A file without a checksum, of an earlier version or another tool, is opened as it is. Raises
    UsageError with the path if the file is missing or damaged.
    """
    from safetensors import safe_open

    with _reading(path):
        file: Any = safe_open(path, "pt")
        about = file.metadata() or {}
        wanted = about.pop(CHECKSUM, None)
        digest = _start(about)
        for name in sorted(file.keys()) if wanted is not None else ():
            _add(digest, name, file.get_tensor(name))
    if wanted not in (None, digest.hexdigest()):
        raise UsageError(f"{path}: damaged: its values do not match its checksum")
    with file:
        yield file


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a file, and its metadata without the checksum. Raises as `checked` does."""
    with checked(path) as file:
        about = {key: text for key, text in (file.metadata() or {}).items() if key != CHECKSUM}
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118


def read_cached(path: Path) -> dict[str, Tensor] | None:
    """All tensors of a file that can be made again; None if it is missing or, with a warning,
    damaged."""
    if not path.is_file():
        return None
    try:
        return read_tensors(path)[0]
    except UsageError as error:
        from rich.markup import escape

        warn(escape(f"{error}; it is made again"))
        return None


def read_about(path: Path) -> dict[str, str]:
    """The metadata of a file, without the checksum, which is not compared. Raises as `checked`."""
    from safetensors import safe_open

    with _reading(path), safe_open(path, "numpy") as file:  # without torch, which takes seconds
        return {key: text for key, text in (file.metadata() or {}).items() if key != CHECKSUM}


def read_names(path: Path) -> list[str]:
    """The names of a file's tensors. Raises as `checked`."""
    from safetensors import safe_open

    with _reading(path), safe_open(path, "numpy") as file:
        return list(file.keys())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of the library as UsageError with the path."""
    from safetensors import SafetensorError

    if path.is_dir():
        raise UsageError(f"{path} is a folder: give a file")
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: not readable as safetensors ({reason})") from None


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise UsageError for the first tensor with a value that is NaN or infinite."""
    for name, tensor in tensors.items():
        # Of 8 bits, torch knows the values but not whether they are finite
        wide = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
        if not wide.isfinite().all():
            raise UsageError(f"{path}: {name} is not finite; damaged? copy it again")


def _start(about: Mapping[str, str]) -> Any:
    return hashlib.sha256(json.dumps(dict(sorted(about.items()))).encode())


def _add(digest: Any, name: str, tensor: Tensor) -> None:
    import torch

    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy())


def sort_metadata(path: Path) -> None:
    """Sort a file's metadata, in place: the library writes it in random order."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:  # otherwise the two escape characters differently
            file.seek(8)
            file.write(text.ljust(size))
