"""`aa base-train`: text, pictures and poses -> a base model (section 2.1 of the paper)."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import PartialState

from animateanywhere.backbones.base import BASES, TRAINED, family_of, hash_of, write_base_toml
from animateanywhere.backbones.create import create_base, of_checkpoint
from animateanywhere.backbones.sources import tell_fetched
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import say
from animateanywhere.methods.animate_anywhere.base_data import corpora
from animateanywhere.methods.animate_anywhere.base_stages import STAGES, Run
from animateanywhere.methods.animate_anywhere.model_card import write_base_card
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe, to_dict


def base_train(
    recipe: str | Path | Recipe = "mini", out: Path | None = None, checkpoint: Path | None = None
) -> Path:
    """Train a base by a recipe into `out` (default runs/base of mini, runs/bases/<name> of others);
    rerun to go on where it stopped. A recipe without stages gathers parts that are trained already.
    checkpoint: one file with UNet, text encoder and VAE in place of the recipe's, whose name the
    base takes (`create.of_checkpoint`).

    Each stage leaves its part of the base in `out`, its log and checkpoint in
    `out/training/<stage>`. Returns `out`, a base in diffusers layout.
    """
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    family = family_of(settings.model.tables())
    ready = family.ready and not settings.stage
    if family.ready and settings.stage:
        raise UsageError(f"recipe {settings.name}: a base of {family.name} is taken as it is")
    if settings.personal_stages or not (settings.stage or ready):
        raise UsageError(f"recipe {settings.name} makes no base: it is for `aa personalize`")
    if checkpoint is not None:
        model = of_checkpoint(settings.model, checkpoint)
        settings = replace(settings, name=checkpoint.stem, model=model)
    out = out or (TRAINED if settings.name == "mini" else BASES / settings.name)
    # The first process may encode for hours while the others wait.
    PartialState(cpu=best_device() == "cpu", timeout=timedelta(days=2))
    parts = {key: to_dict(settings)[key] for key in ("seed", "model", "corpus", "loss")}
    _keep(out / "recipe.json", parts)
    tell_fetched(settings.model, out)
    with PartialState().main_process_first():
        found = () if ready else corpora(settings, out / "corpus")
        words = [text for corpus in found for row in corpus.captions for text in row]
        create_base(settings.model, out, words, settings.seed)
    for number, stage in enumerate(settings.stage):
        run = Run(settings, out, *found)
        folder = out / "training" / stage.name
        done = folder / "done.json"
        _keep(folder / "stage.json", asdict(stage))
        if done.is_file():
            say(f"{stage.name}: done before")
            continue
        say(f"stage {stage.name}: {stage.steps} steps")
        metrics = STAGES[stage.kind](run, stage, settings.seed + number)
        if PartialState().is_main_process:
            with write_aside(done) as aside:
                aside.write_text(json.dumps(metrics, indent=1) + "\n")
        PartialState().wait_for_everyone()
    if PartialState().is_main_process:
        config = {"name": settings.name, **settings.model.base_toml(),
                  "personalize": settings.personalize, "hash": hash_of(out)}  # fmt: skip
        write_base_card(out, config, hash_of(out))
        write_base_toml(out, config)
    say(f"the base is in {out}")
    return out


def _keep(path: Path, settings: dict[str, Any]) -> None:
    """Remember what a folder is made with; refuse to go on in it with something else."""
    text = json.dumps(settings, indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{path.parent} was made with another recipe: remove it, or give another --out"
        )
    if PartialState().is_main_process:
        with write_aside(path) as aside:
            aside.write_text(text, encoding="utf-8")
