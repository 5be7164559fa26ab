"""The paper's ablations: the method without one of its parts, or without all of them. Each is a
change of the recipe, and is trained like the base, but shorter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from animateanywhere.methods.context_anyone.settings import Recipe

ENCODER = ("image_encoder", "to_tokens")  # by which patterns name the picture encoder
SHARE = 1 / 3  # of the steps of the recipe that an ablation is trained for


@dataclass(frozen=True)
class Ablation:
    """One row of the table. own_people: whether the rendered people are others than the base's."""

    title: str
    change: Callable[[Recipe], Recipe]
    own_people: bool = False


def _cast(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, cast=replace(recipe.cast, **changes))


def _network(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, transformer=recipe.transformer | changes)


def no_image_tokens(recipe: Recipe) -> Recipe:
    """Without the second encoder of the reference, the stage that trains it, and the patterns of
    others that name it."""
    stages = tuple(
        replace(
            stage, train=tuple(one for one in stage.train if not any(p in one for p in ENCODER))
        )
        for stage in recipe.stage
        if stage.kind != "tower"
    )
    return replace(_cast(image_tokens=False)(recipe), stage=stages)


def concat(recipe: Recipe) -> Recipe:
    """Nothing but the reference's tokens beside those of the video, as in Phantom (arXiv
    2502.11079) and Concat-ID (arXiv 2503.14151); positions, as in the latter, before the video."""
    bare = _network(emphasis=False, gap=0, one_way=False)(no_image_tokens(recipe))
    return _cast(reconstruction=0.0)(bare)


def same_clip(recipe: Recipe) -> Recipe:
    """References from the video itself, which can be learned by copying: what the paper edits its
    data for."""
    return replace(recipe, corpus=replace(recipe.corpus, same_clip=True))


ABLATIONS: dict[str, Ablation] = {
    "third": Ablation("all of it, a third of the steps", lambda recipe: recipe),
    "no_emphasis": Ablation("without Emphasize-Attention", _network(emphasis=False)),
    "gap_0": Ablation("without a gap, β = 0", _network(gap=0)),
    "no_reconstruction": Ablation("without reconstruction, λ = 0", _cast(reconstruction=0.0)),
    "two_way": Ablation("the reference sees the video", _network(one_way=False)),
    "no_image_tokens": Ablation("without image tokens", no_image_tokens),
    "concat": Ablation("without all five: concatenation", concat),
    "same_clip": Ablation("references from the same clip", same_clip, own_people=True),
}


def ablated(recipe: Recipe, name: str) -> Recipe:
    """The recipe of an ablation, with a `SHARE` of the steps."""
    changed = ABLATIONS[name].change(recipe)
    stages = tuple(
        replace(
            stage, steps=max(round(stage.steps * SHARE), 1), warmup=round(stage.warmup * SHARE),
            sample_every=0,
        )
        for stage in changed.stage
    )  # fmt: skip
    return replace(changed, name=f"{recipe.name}-{name}", stage=stages)
