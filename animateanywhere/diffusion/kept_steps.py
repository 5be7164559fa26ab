"""Denoising that goes on after a stop: the predictions of finished steps are kept on the disk."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from animateanywhere.core.errors import Failure
from animateanywhere.core.files import write_aside
from animateanywhere.diffusion.sampling import Denoiser

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
        with suppress(OSError, ValueError, EOFError):
            found = torch.from_numpy(np.load(path))
            if found.shape == x.shape:
                return found.to(x.device)
        y = denoiser(x, t)
        with suppress(OSError, Failure), write_aside(path) as aside, aside.open("wb") as file:
            np.save(file, y.float().cpu().numpy())
        return y

    return denoise


def clear_kept(folder: Path | None) -> None:
    """Remove the steps of a run that has ended, and beside them those of runs that were stopped
    long ago."""
    if folder is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        for other in folder.parent.iterdir():
            if time.time() - other.stat().st_mtime > OLD:
                shutil.rmtree(other, ignore_errors=True)
