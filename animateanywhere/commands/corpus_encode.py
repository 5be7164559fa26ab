"""`aa corpus encode`: the latents of a corpus for a base, computed before training."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

from accelerate import PartialState

from animateanywhere.backbones.base import base_config, find_base, load_parts
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.run_folder import MARK, owned
from animateanywhere.methods.animate_anywhere.corpus_data import open_samples
from animateanywhere.methods.animate_anywhere.latent_shards import encoded_samples, layout_of


def corpus_encode(corpus: Path, base: str | Path = "mini", workers: int = 2) -> Path:
    """Write the latents of a corpus for the VAE, frame sizes and frame rate of a base into a folder
    in it, which `aa base-train` then reads; run it again to resume.

    workers: threads that decode ahead. Processes of `accelerate launch` share the work. Returns the
    folder. Raises UsageError for a folder that is no corpus, or a base that cannot be loaded,
    Failure if another process works in the corpus.
    """
    # Processes wait for the one that has the most to encode, which may take hours
    state = PartialState(cpu=best_device() == "cpu", timeout=timedelta(days=2))
    folder = find_base(base)
    config = base_config(folder)
    loaded = load_parts(folder, config, state.device)
    if loaded.packs_clips:
        raise UsageError(
            f"base {config['name']}: its VAE compresses time, and it needs no base training: give "
            "--base the one that is to be trained on this corpus"
        )
    layout = layout_of(loaded, config.get("aspects", ()))
    out = corpus / f"latents-{layout.key}"
    locked = state.is_main_process and (corpus / MARK).is_file()  # a folder of files has no mark
    with owned(corpus, "corpus") if locked else nullcontext():
        state.wait_for_everyone()  # the owner first clears what killed processes left
        encoded_samples(loaded, open_samples(corpus), layout, [out], workers)
    return out
