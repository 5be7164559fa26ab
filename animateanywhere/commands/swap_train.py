"""`aa base-train` of a recipe for `aa swap`: a base and rendered people -> a base for swaps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from animateanywhere.backbones.base import BASES, base_config, find_base, hash_of, write_base_toml
from animateanywhere.commands.base_train import train_stages, training_in
from animateanywhere.commands.run_settings import require_same, without_places
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.methods.anycharv.settings import Corpus, Recipe, Swap, load_recipe
from animateanywhere.methods.anycharv.stages import Run, train
from animateanywhere.methods.anycharv.swap_base import create_swap_base
from animateanywhere.training.log import Track, check_tracker
from animateanywhere.training.processes import fsdp_asked


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
    with training_in(out):
        _train(settings, out, track)
    return out


def _train(settings: Recipe, out: Path, track: Track | None) -> None:
    """`swap_train` in its folder."""
    decisive = {
        "seed": settings.seed, "swap": asdict(settings.swap), "corpus": asdict(settings.corpus),
        "parts_hash": hash_of(find_base(settings.swap.base)),
    }  # fmt: skip
    usual = {"swap": asdict(Swap()), "corpus": asdict(Corpus())}
    require_trainable(settings, PartialState().num_processes)
    with PartialState().main_process_first():
        require_same(out / "recipe.json", without_places(decisive), usual)
        own = settings.swap.reference == "own"
        create_swap_base(settings.swap.base, own, out, settings.seed)
    run = Run(settings, out, track)
    train_stages(settings.stage, out, settings.seed, lambda *given: train(run, *given))
    if PartialState().is_main_process:
        write_base_toml(out, run.config | {"hash": run.base().hash})
    say(f"base written to {out}")


def require_trainable(settings: Recipe, processes: int) -> None:
    """Raise UsageError for stages that could not be trained, after hours of those before them."""
    longest = int(base_config(find_base(settings.swap.base))["frames"])
    for stage in settings.stage:
        where = f"recipe {settings.name}: stage {stage.name}"
        if stage.frames > longest:
            raise UsageError(f"{where}: frames must be at most those of the base, {longest}")
        # What reads the reference shares weights with the network that would be divided
        if stage.frames > 1 and processes > 1 and fsdp_asked():
            raise UsageError(f"{where}: clips cannot be trained by FSDP; use plain DDP")
