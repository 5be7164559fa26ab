"""`--vram`: the form of a recipe that fits a card of so many gigabytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import progress, say
from animateanywhere.methods.animate_anywhere.cost import memory
from animateanywhere.methods.animate_anywhere.settings import Recipe, Stage, by_lora, each_stage

BESIDE = 0.7  # GB that driver and allocator take beside what is estimated
GIB = 2**30 / 1e9  # cards are sold by these


def _eight_bits(recipe: Recipe) -> Recipe:
    return each_stage(recipe, lambda stage: replace(stage, optimizer="adamw8bit"))


def _adapters(recipe: Recipe) -> Recipe:
    def in_half(stage: Stage) -> Stage:
        return replace(stage, precision="bf16") if stage.precision in ("no", "auto") else stage

    return by_lora(each_stage(recipe, in_half))


def _row_by_row(recipe: Recipe) -> Recipe:
    def change(stage: Stage) -> Stage:
        return replace(stage, row_by_row=stage.kind == "motion")  # pictures are small

    return each_stage(_adapters(recipe), change)


def _short_clips(recipe: Recipe) -> Recipe:
    return each_stage(_row_by_row(recipe), lambda s: replace(s, frames=-(-s.frames // 2)))


# From the most faithful to the smallest
FORMS: dict[str, Callable[[Recipe], Recipe]] = {
    "the recipe as it is": lambda recipe: recipe,
    "whole weights, optimizer of 8 bits": _eight_bits,
    "LoRA of rank 16, the base in half precision": _adapters,
    "LoRA of rank 16, the base in half precision, row by row": _row_by_row,
    "LoRA of rank 16, row by row, clips half as long": _short_clips,
}


def fitted(folder: Path, config: dict[str, Any], recipe: Recipe, vram: float) -> Recipe:
    """The first form of a recipe that fits into so many GiB, with the base in `folder`; says which.

    Raises UsageError where none does.
    """
    found: dict[str, float] = {}
    eight_bits = find_spec("bitsandbytes") is not None
    with progress(f"what fits {vram:g} GB", total=len(FORMS)) as bar:
        for name, form in FORMS.items():
            bar.advance(1)
            if form is _eight_bits and not eight_bits:
                continue
            changed = form(recipe)
            peaks = memory.learning(folder, config, changed).values()
            found[name] = max(peak.weights + peak.work for peak in peaks) + BESIDE
            if found[name] <= vram * GIB:
                break
        else:
            least = min(found.values())
            raise UsageError(
                f"learning takes {least:.1f} GB at least, {vram:g} are there: take a smaller base"
            )
    say(f"for {vram:g} GB: {name}; {found[name]:.1f} GB estimated")
    if name != next(iter(FORMS)) and not eight_bits:
        say("an optimizer of 8 bits takes less: pip install 'animateanywhere\\[vram]'")
    return changed
