"""`aa base-train` of a recipe for `aa cast`: a base and rendered people, or a published network and
footage -> a base for `aa cast`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from animateanywhere.backbones.base import (
    BASES,
    base_config,
    find_base,
    hash_of,
    write_base_toml,
)
from animateanywhere.commands.base_train import require_trained, train_stages, training_in
from animateanywhere.commands.run_settings import require_same, without_places
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_json
from animateanywhere.core.messages import say
from animateanywhere.core.schema import build
from animateanywhere.methods.context_anyone import phantom
from animateanywhere.methods.context_anyone.cast_base import create_cast_base
from animateanywhere.methods.context_anyone.full_size import create_parts
from animateanywhere.methods.context_anyone.settings import (
    Cast,
    Corpus,
    Recipe,
    Stage,
    load_recipe,
)
from animateanywhere.methods.context_anyone.stages import Run, train
from animateanywhere.training.log import Track, check_tracker

RECIPE = "training/recipe.json"  # as it was read, beside what the stages write


def cast_train(
    recipe: str | Path | Recipe = "mini-cast", out: Path | None = None,
    track: Track | None = None, corpus: Path | None = None,
) -> Path:  # fmt: skip
    """Train a base for `aa cast` as a recipe says, with parts of the base or of the published
    networks that it names; run it again to resume.

    out: by default runs/bases/<name>. The recipe, rendered people, logs and checkpoints are kept in
    it, as by `base_train`. corpus: another folder for the rendered people, which several trainings
    can share. Returns `out`. Raises UsageError if `out` belongs to another recipe, to another
    version of the base, or contains other files; Failure if another process works in it.
    """
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if track is not None:
        check_tracker(track)
    out = out or BASES / settings.name
    with training_in(out):
        _train(settings, out, track, corpus)
    return out


def recipe_of(base: Path) -> Recipe:
    """The recipe that a base was trained by. Raises UsageError if its folder does not say."""
    path = base / RECIPE
    try:
        return build(Recipe, read_json(path), str(path))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{base}: by what recipe it was trained is not known ({first_line(error)}); `aa "
            "base-train` writes that into its folder"
        ) from None


def _train(settings: Recipe, out: Path, track: Track | None, corpus: Path | None) -> None:
    """`cast_train` in its folder."""
    decisive = {
        "seed": settings.seed, "cast": _learned(settings.cast), "corpus": asdict(settings.corpus),
        "transformer": settings.transformer,
    }  # fmt: skip
    if settings.full_size:
        _require_frames(settings, settings.model.frames)
        decisive["model"] = asdict(settings.model)
    else:
        lender = find_base(settings.cast.base)
        _require_frames(settings, int(base_config(lender)["frames"]))
        decisive["parts_hash"] = hash_of(lender)
    usual = {"cast": _learned(Cast()), "corpus": asdict(Corpus())}
    with PartialState().main_process_first():
        require_same(out / "recipe.json", without_places(decisive), usual)
        require_trained(settings.stage, out, lambda stage: _parts(settings, stage))
        if settings.published:
            phantom.create_parts(settings, out)
        else:
            (create_parts if settings.full_size else create_cast_base)(settings, out)
    if settings.stage and PartialState().is_main_process:
        (out / RECIPE).parent.mkdir(exist_ok=True)
        with write_aside(out / RECIPE) as aside:
            aside.write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
    run = Run(settings, out, track, corpus)
    train_stages(settings.stage, out, settings.seed, lambda *given: train(run, *given))
    if PartialState().is_main_process:
        write_base_toml(out, run.config | {"hash": run.base().hash})
    say(f"base written to {out}")


def _learned(cast: Cast) -> dict[str, object]:
    """The settings of a table [cast] that weights depend on: not the defaults of `aa cast`."""
    use = ("likeness", "guidance_scale", "steps", "flow_shift", "negative", "prompt_motion",
           "collage")  # fmt: skip
    return {key: value for key, value in asdict(cast).items() if key not in use}


def _parts(settings: Recipe, stage: Stage) -> list[str]:
    """The parts that a stage writes."""
    encoder = ["image_encoder"] * (settings.cast.image_tokens and not settings.full_size)
    return encoder if stage.kind == "tower" else ["transformer", *encoder]


def _require_frames(settings: Recipe, longest: int) -> None:
    """Raise UsageError for a stage that is longer than the clips, after hours of those before."""
    for stage in settings.stage:
        if stage.kind == "cast" and stage.frames > longest:
            raise UsageError(
                f"recipe {settings.name}: stage {stage.name}: frames must be at most those of the "
                f"base, {longest}"
            )
