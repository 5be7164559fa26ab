"""`aa base-train`: text, pictures and poses -> a base model (section 2.1 of the paper)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from rich.markup import escape

from animateanywhere.backbones.base import BASES, TRAINED, family_of, hash_of, write_base_toml
from animateanywhere.backbones.create import create_base, with_checkpoint
from animateanywhere.commands.run_settings import read_settings, require_same, without_places
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import say, warn
from animateanywhere.core.run_folder import owned
from animateanywhere.methods.animate_anywhere.base_stages import STAGES, Run, open_data
from animateanywhere.methods.animate_anywhere.corpus_data import CorpusData
from animateanywhere.methods.animate_anywhere.model_card import write_base_card
from animateanywhere.methods.animate_anywhere.settings import (
    Recipe,
    load_recipe,
    to_dict,
)
from animateanywhere.training.log import Track, check_tracker
from animateanywhere.training.processes import others_named, warn_of_single
from animateanywhere.training.stage import Stage

S = TypeVar("S", bound=Stage)


def base_train(
    recipe: str | Path | Recipe = "mini", out: Path | None = None, checkpoint: Path | None = None,
    track: Track | None = None,
) -> Path:  # fmt: skip
    """Train a base as a recipe says; run it again to resume. A recipe without stages only collects
    published parts.

    out: by default runs/base for mini, and runs/bases/<name> for others. checkpoint: a single file
    whose weights replace the recipe's, and whose name the base gets (`create.with_checkpoint`).
    track: a tracker of accelerate that gets the log as well.

    Several processes that `accelerate launch` starts train one base. Each stage writes its part of
    the base to `out`, and its log and checkpoint to `out/training/<stage>`. Returns `out`, a base
    in diffusers layout. Raises UsageError for a recipe that makes no base, and if `out` belongs to
    another recipe or contains other files; Failure if another process works in it.
    """
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    family = family_of(settings.model.tables())
    ready = family.pretrained and not settings.stage
    if family.pretrained and settings.stage:
        raise UsageError(
            f"recipe {settings.name}: a base of {family.name} needs no training: remove its stages"
        )
    if settings.personal_stages or not (settings.stage or ready):
        raise UsageError(f"recipe {settings.name} makes no base: use it with `aa personalize`")
    if checkpoint is not None:
        model = with_checkpoint(settings.model, checkpoint)
        settings = replace(settings, name=checkpoint.stem, model=model)
    if track is not None:
        check_tracker(track)
    out = out or (TRAINED if settings.name == "mini" else BASES / settings.name)
    with training_in(out, _is_run):
        _train(settings, out, track)
    return out


@contextmanager
def training_in(out: Path, is_run: Callable[[Path], bool] = lambda folder: False) -> Iterator[None]:
    """Train in a folder, with all processes that `accelerate launch` started. is_run: `known` of
    `owned`."""
    # The first process may encode for hours while the others wait
    state = PartialState(cpu=best_device() == "cpu", timeout=timedelta(days=2))
    warn_of_single()
    owner = owned(out, "base-train", is_run) if state.is_main_process else nullcontext()
    with owner, others_named(state.num_processes):
        yield
    if state.num_processes > 1:
        state.destroy_process_group()  # or NCCL warns


def _train(settings: Recipe, out: Path, track: Track | None) -> None:
    """`base_train` in its folder."""
    ready = not settings.stage
    parts, usual = (_decisive(some) for some in (settings, Recipe("")))
    usual["autoencoder"] = parts["autoencoder"]  # not recorded by earlier versions
    with PartialState().main_process_first():
        if PartialState().is_main_process and not _is_begun(out):
            (out / "recipe.json").unlink(missing_ok=True)  # of a download that failed
        require_same(out / "recipe.json", parts, usual)
        data = None if ready else open_data(settings, out)
        # Only a new tokenizer is trained on the captions; reading them all may take minutes
        new = not ((out / "tokenizer").is_dir() or "from" in settings.model.text_encoder)
        create_base(settings.model, out, data.captions if data and new else [], settings.seed)
    if isinstance(data, CorpusData) and PartialState().is_main_process:
        _tell_other_content(data, out / "training" / "corpus.json")
    if data is not None:
        run = Run(settings, out, data, track)
        train_stages(
            settings.stage, out, settings.seed,
            lambda stage, seed: STAGES[stage.kind](run, stage, seed),
        )  # fmt: skip
    if PartialState().is_main_process:
        config = {"name": settings.name, **settings.model.base_toml(),
                  "personalize": settings.personalize, "hash": hash_of(out)}  # fmt: skip
        if settings.aspects:
            config["aspects"] = list(settings.aspects)
        if settings.corpus.detailed:
            config["detailed"] = True  # its benchmark shows such people too
        write_base_card(out, config, hash_of(out))
        write_base_toml(out, config)
    say(f"base written to {out}")


def train_stages(
    stages: Sequence[S], out: Path, seed: int, train: Callable[[S, int], dict[str, float]]
) -> None:
    """Train the stages of a recipe that are not finished, each in its folder of `out`.

    train: trains a stage with a seed of its own, and returns what to keep of it. Raises UsageError
    if one was begun with other settings.
    """
    for number, stage in enumerate(stages):
        folder = out / "training" / stage.name
        done = folder / "done.json"
        usual = type(stage)("", stage.kind, 0)
        require_same(folder / "stage.json", asdict(stage), asdict(usual))
        if done.is_file():
            say(f"stage {stage.name}: already finished")
            continue
        say(f"stage {stage.name}: {stage.steps} steps")
        # New layers are drawn from the global generator: the same ones, whichever stage is resumed
        torch.manual_seed(seed + number)
        metrics = train(stage, seed + number)
        if PartialState().is_main_process:
            with write_aside(done) as aside:
                aside.write_text(json.dumps(metrics, indent=1) + "\n")
        PartialState().wait_for_everyone()


def require_trained(stages: Sequence[S], out: Path, parts: Callable[[S], list[str]]) -> None:
    """Raise UsageError if a part that finished stages trained is gone: a new one in its place would
    be untrained, and pass for the result of these stages. parts: those that a stage writes."""
    done = [one for one in stages if (out / "training" / one.name / "done.json").is_file()]
    for number, stage in enumerate(stages):
        later = [one for one in stages[number:] if one in done]
        if later and stage not in done:  # it would be trained on what came after it
            raise UsageError(
                f"{out}: training/{stage.name} is missing or unfinished, though stage "
                f"{later[0].name}, which follows it, is finished: put it back, or remove the "
                "folder and train anew"
            )
    trained = dict.fromkeys(name for stage in done for name in parts(stage))
    if gone := [name for name in trained if not (out / name).is_dir()]:
        raise UsageError(
            f"{out}: {' and '.join(gone)} is missing, though stage {done[-1].name} is finished: "
            "put it back, or remove the folder and train anew"
        )


def _decisive(settings: Recipe) -> dict[str, Any]:
    """The settings that a run cannot be resumed without."""
    keys = ("seed", "model", "corpus", "autoencoder", "loss")
    parts = {key: to_dict(settings)[key] for key in keys}
    del parts["corpus"]["workers"]  # changes nothing but the time
    # Puppets were trained in one aspect ratio before there were more
    if len(settings.aspects) > 1 or settings.corpus.source != "puppets":
        parts["aspects"] = settings.aspects
    decisive: dict[str, Any] = without_places(parts)
    return decisive


def _tell_other_content(data: CorpusData, record: Path) -> None:
    """Warn if a corpus is not as it was when the run began, of which a record is written."""
    now, before = {"fingerprint": data.fingerprint}, None
    if record.is_file():
        before = read_settings(record)
    if before is None:
        record.parent.mkdir(exist_ok=True)
        with write_aside(record) as aside:
            aside.write_text(json.dumps(now) + "\n")
    elif before != now:
        warn(
            escape(
                f"{data.settings.corpus.source} is not as it was when this run began: stages that "
                "are not finished go on with what it contains now; to train on that alone, give "
                "another --out"
            )
        )


def _is_begun(out: Path) -> bool:
    return out.is_dir() and any(path.is_dir() for path in out.iterdir())


def _is_run(folder: Path) -> bool:
    """Whether a folder without a mark is of a training of version 0.1, which wrote none."""
    found = read_settings(folder / "recipe.json") if (folder / "recipe.json").is_file() else None
    return isinstance(found, dict) and {"seed", "model", "corpus"} <= found.keys()
