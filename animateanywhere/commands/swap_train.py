"""`aa base-train` of a recipe for `aa swap`: a base and rendered people -> a base for swaps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState

from animateanywhere.backbones.base import (
    BASES,
    base_config,
    find_base,
    hash_of,
    load_base,
    write_base_toml,
)
from animateanywhere.commands.base_train import require_trained, train_stages, training_in
from animateanywhere.commands.run_settings import require_same, without_places
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.methods.anycharv.full_size import create_parts
from animateanywhere.methods.anycharv.settings import Corpus, Recipe, Stage, Swap, load_recipe
from animateanywhere.methods.anycharv.stages import Run, train
from animateanywhere.methods.anycharv.swap_base import MOST, create_swap_base
from animateanywhere.training.log import Track, check_tracker
from animateanywhere.training.processes import fsdp_asked


def swap_train(
    recipe: str | Path | Recipe = "mini-swap", out: Path | None = None, track: Track | None = None
) -> Path:
    """Train a base for `aa swap` as a recipe says, from the base that it names; run it again to
    resume. A recipe without stages only gathers published parts.

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


def _check_sides(swap: Swap) -> None:
    """Raise UsageError for a size of reference pictures that the base cannot read."""
    parts = load_base(swap.base, "meta")
    stride = parts.family.stride(parts)
    for key in ("reference_width", "reference_height"):
        side = getattr(swap, key)
        if side % stride or side > MOST:
            raise UsageError(
                f"{key} must be a multiple of {stride} with base {swap.base}, up to {MOST}, and is "
                f"{side}"
            )


def _parts(settings: Recipe, stage: Stage) -> list[str]:
    """The parts that a stage needs and writes."""
    own = ["reference_unet"] * (settings.swap.reference == "own")
    own += ["pose_guider"] * settings.full_size
    return ["unet", "image_encoder", *own, *["motion_adapter"] * (stage.frames > 1)]


def _train(settings: Recipe, out: Path, track: Track | None) -> None:
    """`swap_train` in its folder."""
    decisive = {
        "seed": settings.seed, "swap": asdict(settings.swap), "corpus": asdict(settings.corpus),
    }  # fmt: skip
    if settings.full_size:
        decisive["model"] = asdict(settings.model)
    else:
        decisive["parts_hash"] = hash_of(find_base(settings.swap.base))
        _check_sides(settings.swap)
    usual = {"swap": asdict(Swap()), "corpus": asdict(Corpus())}
    require_trainable(settings, PartialState().num_processes)
    with PartialState().main_process_first():
        require_same(out / "recipe.json", without_places(decisive), usual)
        own = settings.swap.reference == "own"
        require_trained(settings.stage, out, lambda stage: _parts(settings, stage))
        if settings.full_size:
            create_parts(settings.model, out, settings.seed)
        else:
            create_swap_base(settings.swap.base, own, out, settings.seed)
    run = Run(settings, out, track)
    train_stages(settings.stage, out, settings.seed, lambda *given: train(run, *given))
    if PartialState().is_main_process:
        write_base_toml(out, run.config | {"hash": run.base().hash})
    say(f"base written to {out}")


def _config_of(base: str) -> dict[str, Any]:
    return base_config(find_base(base))


def require_trainable(settings: Recipe, processes: int) -> None:
    """Raise UsageError for stages that could not be trained, after hours of those before them."""
    parts = settings.model.base_toml() if settings.full_size else _config_of(settings.swap.base)
    longest = int(parts["frames"])
    for stage in settings.stage:
        where = f"recipe {settings.name}: stage {stage.name}"
        if stage.frames > longest:
            raise UsageError(f"{where}: frames must be at most those of the base, {longest}")
        # What reads the reference shares weights with the network that would be divided
        if stage.frames > 1 and processes > 1 and fsdp_asked():
            raise UsageError(f"{where}: clips cannot be trained by FSDP; use plain DDP")
