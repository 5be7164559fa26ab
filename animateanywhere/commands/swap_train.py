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
from animateanywhere.commands.base_train import train_stages, training_in
from animateanywhere.commands.run_settings import require_same, without_places
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.methods.anycharv.full_size import create_parts
from animateanywhere.methods.anycharv.settings import Corpus, Recipe, Swap, load_recipe
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


def _require_trained(settings: Recipe, out: Path, own_reference: bool) -> None:
    """Raise UsageError if a part that finished stages trained is gone: a new one in its place would
    be untrained, and pass for the result of these stages."""
    done = [one for one in settings.stage if (out / "training" / one.name / "done.json").is_file()]
    parts = ["unet", "image_encoder"] + ["reference_unet"] * own_reference if done else []
    parts += ["pose_guider"] if done and settings.full_size else []
    parts += ["motion_adapter"] * any(stage.frames > 1 for stage in done)
    for number, stage in enumerate(settings.stage):
        later = [one for one in settings.stage[number:] if one in done]
        if later and stage not in done:  # it would be trained on what came after it
            raise UsageError(
                f"{out}: training/{stage.name} is missing or unfinished, though stage "
                f"{later[0].name}, which follows it, is finished: put it back, or remove the "
                "folder and train anew"
            )
    if gone := [name for name in parts if not (out / name).is_dir()]:
        raise UsageError(
            f"{out}: {' and '.join(gone)} is missing, though stage {done[-1].name} is finished: "
            "put it back, or remove the folder and train anew"
        )


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
        _require_trained(settings, out, own)
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
