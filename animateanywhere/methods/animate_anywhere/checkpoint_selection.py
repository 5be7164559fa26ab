"""Which checkpoint of learning a person scores best (see `validation`): selected, and plotted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from animateanywhere.backbones.base import Base
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import picture, say
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.validation import PARTS, Validation, generate, score
from animateanywhere.training.stage import Stage

NEAR = 1.05  # scores this near, as a ratio, are equal
FILE, PICTURE, BEST = "scores.json", "scores.png", "best.safetensors"

Score = dict[str, Any]  # stage and step, the parts, "score": their weighted sum; lower is better


def best(scores: Sequence[Score]) -> Score:
    """The last of those as good as the lowest, give or take `NEAR`, which is the scores' own noise:
    towards its end a stage learns more slowly, and its weights are cleaner. Where none is known,
    the last."""
    known = [row["score"] for row in scores if row["score"] is not None]
    good = [row for row in scores if row["score"] is not None and row["score"] <= NEAR * min(known)]
    return (good or scores)[-1]


def enough(scores: Sequence[Score], patience: int) -> bool:
    """Whether the last `patience` scores of a stage, if that is not 0, are all worse than one by
    more than their noise."""
    return bool(patience) and len(scores) - 1 - scores.index(best(scores)) >= patience


def scorer(
    model: Base, parts: nn.ModuleDict, stage: Stage, validation: Validation, recipe: Recipe,
    out: Path,
) -> Callable[[int, Mapping[str, Tensor]], bool]:  # fmt: skip
    """What `training.loop.fit` calls after each save: scores the step, keeps the best weights,
    and says whether to stop. A step on record is not scored again.

    parts: the networks that train, what denoises among them. The motion stage is scored before its
    first step too: it may make things worse. out: the run's folder.
    """
    prompts = [case.prompt for case in validation.cases]
    network = parts[model.family.denoiser]

    def on_save(step: int, parameters: Mapping[str, Tensor]) -> bool:
        if step == 0 and stage.kind != "motion":
            return False
        record = read(out)
        own = [row for row in record if row["stage"] == stage.name]
        if step not in [row["step"] for row in own]:
            with _at_hand(model, parts):
                made = generate(
                    model, network, validation.cases, prompts, recipe.extras.selection_steps
                )
            found = {k: v if math.isfinite(v) else None for k, v in score(validation, made).items()}
            own.append({"stage": stage.name, "step": step, **found})
            if best(own) is own[-1]:  # before the record, which says that they are there
                kept = {name: p.detach().cpu().contiguous() for name, p in parameters.items()}
                with write_aside(out / "training" / stage.name / BEST) as aside:
                    save_file(kept, aside)
            with write_aside(out / FILE) as aside:
                aside.write_text(json.dumps([*record, own[-1]], indent=1) + "\n", encoding="utf-8")
        return enough(own, recipe.extras.patience)

    return on_save


def restore(parameters: Mapping[str, Tensor], stage: Stage, out: Path) -> int:
    """Put the best weights of a stage that was scored in place; return their step. Says so."""
    own = [row for row in read(out) if row["stage"] == stage.name]
    chosen = best(own)
    kept = load_file(out / "training" / stage.name / BEST)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(kept[name])
    if own[-1]["step"] < stage.steps:
        say(f"{stage.name}: stopped at step {own[-1]['step']} of {stage.steps}, it got no better")
    if chosen["step"]:
        say(f"best of {len(own)} scored: {stage.name} step {chosen['step']} ({in_words(chosen)})")
    else:
        last = own[-1]
        say(f"{stage.name} made it worse ({in_words(last)}; before {in_words(chosen)}): dropped")
    return int(chosen["step"])


def in_words(score: Score) -> str:
    """Such as "identity 0.52, scene 0.40, leak 0.03"."""
    return ", ".join(f"{name} {score[name]:.2f}" for name in PARTS if score[name] is not None)


def read(out: Path) -> list[Score]:
    """What a run has scored so far, in order."""
    path = out / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def plot(out: Path) -> None:
    """Draw what a run has scored as scores.png: a panel a stage, its best step marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    record = read(out)
    stages = list(dict.fromkeys(row["stage"] for row in record))
    figure = Figure(figsize=(5 * len(stages), 3.6), layout="constrained")
    panels = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        own = [row for row in record if row["stage"] == stage]
        steps, chosen = [row["step"] for row in own], best(own)
        for name in ("score", *PARTS):
            values = [math.nan if row[name] is None else row[name] for row in own]
            panel.plot(steps, values, "o-", label=name, linewidth=2.5 if name == "score" else 1)
        panel.axvline(chosen["step"], color="gray", linestyle=":")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(title=f"{stage}: best is step {chosen['step']}", xlabel="step", ylim=(0, None))
    panels[0].set_ylabel("lower is better")
    panels[0].legend()
    with write_aside(out / PICTURE) as aside:
        FigureCanvasAgg(figure).print_png(str(aside))
    picture(out / PICTURE)


@contextmanager
def _at_hand(model: Base, parts: nn.ModuleDict) -> Iterator[None]:
    """VAE and text encoder beside the UNet, and nothing in training mode; then as before."""
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
