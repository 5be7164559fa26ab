"""`aa corpus encode`: the latents of a corpus for a base, computed before training."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from accelerate import PartialState

from animateanywhere.backbones.base import base_config, find_base, load_parts
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.methods.animate_anywhere.corpus_data import open_samples
from animateanywhere.methods.animate_anywhere.latent_shards import encoded_samples, layout_of


def corpus_encode(corpus: Path, base: str | Path = "mini", workers: int = 2) -> Path:
    """Write the latents of a corpus for the VAE, frame sizes and frame rate of a base into a folder
    in it, which `aa base-train` then reads; run it again to resume.

    workers: threads that decode ahead. Processes of `accelerate launch` share the work. Returns the
    folder. Raises UsageError for a folder that is no corpus, or a base that cannot be loaded.
    """
    # Processes wait for the one that has the most to encode, which may take hours
    device = PartialState(cpu=best_device() == "cpu", timeout=timedelta(days=2)).device
    folder = find_base(base)
    config = base_config(folder)
    loaded = load_parts(folder, config, device)
    if loaded.packs_clips:
        raise UsageError(
            f"base {config['name']}: its VAE compresses time, and it needs no base training"
        )
    layout = layout_of(loaded, config.get("aspects", ()))
    out = corpus / f"latents-{layout.key}"
    encoded_samples(loaded, open_samples(corpus), layout, [out], workers)
    return out
