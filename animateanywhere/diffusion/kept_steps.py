"""Denoising that goes on after a stop: the predictions of finished steps are kept on the disk."""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.diffusion.sampling import Denoiser

DIGEST = hashlib.sha256().digest_size  # bytes
OLD = 7 * 24 * 3600.0  # seconds, after which steps of a run that never went on are removed


def kept(denoiser: Denoiser, folder: Path | None) -> Denoiser:
    """A denoiser that keeps each of its predictions in a folder, and takes those that are there.

    The sampler goes through all steps again, whatever it remembers of earlier ones, so the result
    is that of an undisturbed run, bit for bit; only predictions take time. The folder must be of
    these inputs alone. Where nothing can be written, nothing is kept. folder: None: as it is.
    """
    if folder is None:
        return denoiser
    numbers = count()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        path = folder / f"{next(numbers):04d}.npy"
        found = _read(path)
        if found is not None and found.shape == x.shape:
            return found.to(x.device)
        y = denoiser(x, t)
        with suppress(OSError, Failure, UsageError):
            _write(path, y.float().cpu().numpy())
        return y

    return denoise


def count_kept(folder: Path) -> int:
    """About how many steps are kept in a folder: damaged ones count, and are made anew."""
    return sum(1 for _ in folder.glob("[0-9]*.npy"))


def _write(path: Path, prediction: np.ndarray) -> None:
    """Write a prediction as NumPy's file, and a digest of it after that."""
    content = io.BytesIO()
    np.save(content, prediction)
    with write_aside(path) as aside:
        aside.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def _read(path: Path) -> Tensor | None:
    """A prediction of `_write`; None without one, and if a bit of it is another."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    data, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        return None
    return torch.from_numpy(np.load(io.BytesIO(data)))


def clear_kept(folder: Path | None) -> None:
    """Remove the steps of a run that has ended, and beside them those of runs that were stopped
    long ago."""
    if folder is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        for other in folder.parent.glob(f"*{folder.suffix}"):
            if other.is_dir() and time.time() - other.stat().st_mtime > OLD:
                shutil.rmtree(other, ignore_errors=True)
