"""`aa base-train` of a recipe for `aa swap`: a base and rendered people -> a base for swaps."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from accelerate import PartialState

from animateanywhere.backbones.base import BASES, base_config, find_base, hash_of, write_base_toml
from animateanywhere.commands.base_train import require_same, train_stages, without_places
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.core.run_folder import owned
from animateanywhere.methods.anycharv.settings import Corpus, Recipe, Swap, is_recipe, load_recipe
from animateanywhere.methods.anycharv.stages import Run, train
from animateanywhere.methods.anycharv.swap_base import create_swap_base
from animateanywhere.training.log import Track, check_tracker

__all__ = ["is_recipe", "swap_train"]


def swap_train(
    recipe: str | Path | Recipe = "mini-swap", out: Path | None = None, track: Track | None = None
) -> Path:
    """Train a base for `aa swap` as a recipe says, from the base that it names; run it again to
    resume.

    out: by default runs/bases/<name>. Rendered people, logs and checkpoints are kept in it, as by
    `base_train`. Returns `out`. Raises UsageError if `out` belongs to another recipe, to another
    version of the base, or contains other files; Failure if another process works in it.
    """
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if track is not None:
        check_tracker(track)
    out = out or BASES / settings.name
    # The first process may render for hours while the others wait
    main = PartialState(cpu=best_device() == "cpu", timeout=timedelta(days=2)).is_main_process
    with owned(out, "base-train") if main else nullcontext():
        return _train(settings, out, track)


def _train(settings: Recipe, out: Path, track: Track | None) -> Path:
    """`swap_train` in its folder."""
    decisive = {
        "seed": settings.seed, "swap": asdict(settings.swap), "corpus": asdict(settings.corpus),
        "parts_hash": hash_of(find_base(settings.swap.base)),
    }  # fmt: skip
    usual = {"swap": asdict(Swap()), "corpus": asdict(Corpus())}
    longest = int(base_config(find_base(settings.swap.base))["frames"])
    for stage in settings.stage:
        if stage.frames > longest:
            raise UsageError(
                f"recipe {settings.name}: stage {stage.name}: frames must be at most those of the "
                f"base, {longest}"
            )
    require_same(out / "recipe.json", without_places(decisive), usual)
    with PartialState().main_process_first():
        own = settings.swap.reference == "own"
        create_swap_base(settings.swap.base, own, out, settings.seed)
    run = Run(settings, out, track)
    train_stages(settings.stage, out, settings.seed, lambda *given: train(run, *given))
    if PartialState().is_main_process:
        write_base_toml(out, run.config | {"hash": run.base().hash})
    say(f"base written to {out}")
    return out
