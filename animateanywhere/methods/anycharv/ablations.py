"""The paper's ablations (tables 3 and 4), and of the kinds of pairs, as changes of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from animateanywhere.core.errors import UsageError
from animateanywhere.methods.anycharv.settings import Recipe


@dataclass(frozen=True)
class Ablation:
    """One row of the table, and the change of the recipe that its base is trained by. papers:
    whether the paper has it."""

    title: str
    change: Callable[[Recipe], Recipe]
    papers: bool = True


def ablated(recipe: Recipe, name: str) -> Recipe:
    """A recipe with an ablation of ABLATIONS, named after both. Raises UsageError where it changes
    nothing, or leaves nothing to train."""
    changed = ABLATIONS[name].change(recipe)
    if changed == recipe:
        raise UsageError(f"recipe {recipe.name}: {name} changes nothing in it; leave it out")
    if not any(stage.kind == "compose" for stage in changed.stage):
        raise UsageError(f"recipe {recipe.name}: {name} needs a stage of kind compose")
    return replace(changed, name=f"{recipe.name}-{name}")


def _swap(**values: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, swap=replace(recipe.swap, **values))


def _with_background(recipe: Recipe) -> Recipe:
    return replace(recipe, corpus=replace(recipe.corpus, reference_background=True))


def _not_boosted(recipe: Recipe) -> Recipe:
    stages = tuple(stage for stage in recipe.stage if stage.kind != "boost")
    return replace(recipe, stage=stages)


ABLATIONS = {
    "no_mask_input": Ablation("without the mask as input", _swap(mask_input=False)),
    "reference_background": Ablation("reference with its background", _with_background),
    "no_mask_augmentation": Ablation("without mask augmentation", _swap(augment_masks=False)),
    "no_boost": Ablation("without self-boosting", _not_boosted),
    "masks_box_fine": Ablation(
        "masks: box, then fine", _swap(compose_mask="box", boost_mask="fine")
    ),
    "masks_box_box": Ablation("masks: box, then box", _swap(compose_mask="box", boost_mask="box")),
    "masks_fine_fine": Ablation(
        "masks: fine, then fine", _swap(compose_mask="fine", boost_mask="fine")
    ),
    "masks_fine_box": Ablation(
        "masks: fine, then box", _swap(compose_mask="fine", boost_mask="box")
    ),
    "pairs_generated": Ablation("pairs that stage 1 generates", _swap(pairs="generated"), False),
    "pairs_rendered": Ablation("rendered pairs", _swap(pairs="rendered"), False),
    "pairs_both": Ablation("pairs of both kinds", _swap(pairs="both"), False),
}
