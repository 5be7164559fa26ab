"""Checkpoint selection: the checkpoint of a stage with the best validation score (see `validation`)
is kept. Ours; the paper takes the last step."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.markup import escape
from torch import Tensor, nn

from animateanywhere.backbones.base import Base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import picture, say, warn
from animateanywhere.core.tensor_file import checked, read_tensors, write_tensors
from animateanywhere.methods.animate_anywhere.scores import FILE as FILE
from animateanywhere.methods.animate_anywhere.scores import NEAR as NEAR
from animateanywhere.methods.animate_anywhere.scores import PARTS, Score
from animateanywhere.methods.animate_anywhere.scores import best as best
from animateanywhere.methods.animate_anywhere.scores import read as read
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.validation import Validation, generate, score
from animateanywhere.training.stage import Stage

PICTURE, BEST = "scores.png", "best.safetensors"


def should_stop(scores: Sequence[Score], patience: int) -> bool:
    """Early stopping: whether the last `patience` scores of a stage are all worse than an earlier
    one by more than their noise. Never with patience 0."""
    return bool(patience) and len(scores) - 1 - scores.index(best(scores)) >= patience


def scorer(
    model: Base, parts: nn.ModuleDict, stage: Stage, validation: Validation, recipe: Recipe,
    out: Path,
) -> Callable[[int, Mapping[str, Tensor]], bool]:  # fmt: skip
    """A callback for `training.loop.fit` after each save. It scores the checkpoint, keeps the best
    weights and returns whether to stop. Steps that were scored before a resume are not repeated.

    parts: the networks in training, the denoiser among them. The motion stage is also scored before
    its first step, since it may not improve on the stage before. out: folder of the run.
    """
    prompts = [case.prompt for case in validation.cases]
    network = parts[model.family.denoiser]

    def on_save(step: int, parameters: Mapping[str, Tensor]) -> bool:
        if step == 0 and stage.kind != "motion":
            return False
        record = read(out)
        own = [row for row in record if row["stage"] == stage.name]
        if step not in [row["step"] for row in own]:
            with _evaluation_mode(model, parts):
                frames = generate(
                    model, network, validation.cases, prompts, recipe.extras.selection_steps
                )
            values = score(validation, frames)
            finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
            own.append({"stage": stage.name, "step": step, **finite})
            if best(own) is own[-1]:  # written before the record, which implies that they exist
                write_tensors(out / "training" / stage.name / BEST, parameters)
            _write(out, [*record, own[-1]])
        return should_stop(own, recipe.extras.patience)

    return on_save


def restore(parameters: Mapping[str, Tensor], stage: Stage, out: Path) -> int:
    """Load the best weights of a stage into `parameters`, in place; return and print their step."""
    own = [row for row in read(out) if row["stage"] == stage.name]
    selected, last = best(own), own[-1]
    kept, _ = read_tensors(out / "training" / stage.name / BEST)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(kept[name])
    if last["step"] < stage.steps:
        say(
            f"stage {stage.name}: stopped at step {last['step']} of {stage.steps}, since the score "
            "no longer improved"
        )
    if selected["step"]:
        say(
            f"stage {stage.name}: selected step {selected['step']}, the best of {len(own)} scored "
            f"({in_words(selected)})"
        )
    else:
        say(
            f"stage {stage.name}: discarded, since it made the score worse "
            f"(before {in_words(selected)}; after {in_words(last)})"
        )
    return int(selected["step"])


def check_kept(stage: Stage, out: Path) -> None:
    """Check the best weights of a stage that is resumed; the stage starts from the beginning, with
    a warning, if they are missing or damaged. Raises UsageError as `read` does."""
    record, folder = read(out), out / "training" / stage.name
    if all(row["stage"] != stage.name for row in record):
        return
    try:
        with checked(folder / BEST):
            return
    except UsageError as error:
        warn(escape(f"{error}; stage {stage.name} starts from the beginning"))
    shutil.rmtree(folder)
    _write(out, [row for row in record if row["stage"] != stage.name])


def in_words(score: Score) -> str:
    """A score as text: "identity 0.52, scene 0.40, leak 0.03"."""
    return ", ".join(f"{name} {score[name]:.2f}" for name in PARTS if score[name] is not None)


def _write(out: Path, record: Sequence[Score]) -> None:
    with write_aside(out / FILE) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def plot(out: Path) -> None:
    """Plot the scores of a run as scores.png: a panel for each stage, with its selected step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    record = read(out)
    stages = list(dict.fromkeys(row["stage"] for row in record))
    figure = Figure(figsize=(5 * len(stages), 3.6), layout="constrained")
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        own = [row for row in record if row["stage"] == stage]
        steps, selected = [row["step"] for row in own], best(own)
        for name in ("score", *PARTS):
            values = [math.nan if row[name] is None else row[name] for row in own]
            panel.plot(steps, values, "o-", label=name, linewidth=2.5 if name == "score" else 1)
        panel.axvline(selected["step"], color="gray", linestyle=":")
        panel.xaxis.get_major_locator().set_params(integer=True)
        title = f"{stage}: selected step {selected['step']}"
        panel.set(title=title, xlabel="step", ylim=(0, None))
    panels[0].set_ylabel("lower is better")
    panels[0].legend()
    with write_aside(out / PICTURE) as aside:
        FigureCanvasAgg(figure).print_png(str(aside))
    picture(out / PICTURE)


@contextmanager
def _evaluation_mode(model: Base, parts: nn.ModuleDict) -> Iterator[None]:
    """Move VAE and text encoder to the denoiser's device and set eval mode; undo both on exit."""
    device = next(parts[model.family.denoiser].parameters()).device
    others = (model.vae, model.text_encoder) if model.family.learns_tokens else (model.vae,)
    places = [next(other.parameters()).device for other in others]
    training = [part for part in parts.values() if part.training]
    try:
        for part in (*others, *training):
            part.eval()
        for other in others:
            other.to(device)
        yield
    finally:
        for other, place in zip(others, places, strict=True):
            other.to(place)
        for part in training:
            part.train()
