"""What the method is compared with: other ways to learn a person, and ours with a part taken out.

Each is the recipe with something changed, so all of them go through the same `aa personalize`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from animateanywhere.core.errors import UsageError
from animateanywhere.methods.animate_anywhere.settings import (
    NO_EXTRAS,
    Recipe,
    Stage,
    by_lora,
    each_stage,
    load_recipe,
)

SPATIAL = r"^unet\.(?!.*motion_modules)"
TOKEN = "token_embedding"


@dataclass(frozen=True)
class Method:
    """One row of the benchmark's table.

    change: what becomes of the recipe; None learns nothing. described: the appearance is given in
    the words that the base alone gets, not searched for.
    """

    title: str
    change: Callable[[Recipe], Recipe] | None = None
    described: bool = False


def _loss(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, loss=replace(recipe.loss, **changes))


def _personal(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, personal=replace(recipe.personal, **changes))


def _extras(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, extras=replace(recipe.extras, **changes))


_unscored = _extras(checkpoint_selection=False)


def _train(*patterns: str) -> Callable[[Recipe], Recipe]:
    """Of the appearance stage."""

    def change(stage: Stage) -> Stage:
        return replace(stage, train=patterns) if stage.kind == "appearance" else stage

    return lambda recipe: each_stage(recipe, change)


def dreambooth(recipe: Recipe) -> Recipe:
    """DreamBooth (Ruiz et al. 2023) on the frames, then on clips: the plain loss on whole frames as
    they were filmed, as "a sks man" without words for the appearance, with prior preservation
    of weight 1 by as many pictures of the class."""
    loss = replace(recipe.loss, weaken=False, guide=False, prior_weight=1.0)
    recipe = each_stage(recipe, lambda stage: replace(stage, prior_batch=stage.batch))
    extras = replace(recipe.extras, placements=1, appearance="", background_augmentation=0.0)
    return replace(recipe, loss=loss, extras=extras)


def paper(recipe: Recipe) -> Recipe:
    """The paper's one-shot method and nothing else, as `recipes/personalize-paper.toml` has it, by
    the base's own stages."""
    own = load_recipe("personalize-paper")
    return replace(recipe, loss=own.loss, personal=own.personal, extras=own.extras)


def textual_inversion(recipe: Recipe) -> Recipe:
    """Textual inversion (Gal et al. 2023): the token's row alone learns, by the plain loss."""
    recipe = no_regularization(dreambooth(recipe))
    rows = tuple(
        replace(stage, train=(TOKEN,), rates={TOKEN: 20.0}) for stage in recipe.stages("appearance")
    )
    return replace(recipe, stage=rows)


def one_step(recipe: Recipe) -> Recipe:
    """One stage on clips that has the temporal layers in from the start and sees as many frames as
    our two; trained is what ours trains in its first."""
    (first,), (last,) = recipe.stages("appearance"), recipe.stages("motion")
    seen = first.steps * first.batch * first.frames + last.steps * last.batch * last.frames
    steps = max(round(seen / (last.batch * last.frames)), 1)
    stage = replace(
        last, steps=steps, train=(SPATIAL, TOKEN), rates=first.rates, decay=first.decay,
        learning_rate=first.learning_rate, warmup=first.warmup, save_every=first.save_every,
    )  # fmt: skip
    return replace(recipe, stage=(stage,))


def no_regularization(recipe: Recipe) -> Recipe:
    """Without the other people of the class."""
    return each_stage(recipe, lambda stage: replace(stage, prior_batch=0))


def no_motion(recipe: Recipe) -> Recipe:
    """Without the second stage."""
    return replace(recipe, stage=recipe.stages("appearance"))


def alone(recipe: Recipe) -> Recipe:
    """The paper's two parts, weakening and guidance, and nothing else that might hold a scene: no
    regularization data and none of the extras."""
    extras = replace(NO_EXTRAS, fit_vae_steps=recipe.extras.fit_vae_steps)
    return no_regularization(replace(recipe, extras=extras))


METHODS: dict[str, Method] = {
    "ours": Method("ours", lambda recipe: recipe),
    "paper": Method("the paper's method alone", paper),
    "words_only": Method("the base, the person in words"),
    "dreambooth": Method("DreamBooth", dreambooth),
    "one_step": Method("one step on video", one_step),
    "lora": Method("ours by LoRA", by_lora),
    "textual_inversion": Method("textual inversion", textual_inversion),
    "no_regularization": Method("without regularization", no_regularization),
    "vae": Method("the truth through the VAE"),
    "truth": Method("the truth itself"),
}

ABLATIONS: dict[str, Method] = {
    "alone": Method("weakening and guidance, nothing else", alone),
    "no_weakening": Method("without background weakening", _loss(weaken=False)),
    "no_guidance": Method("without mask-guided attention", _loss(guide=False)),
    "no_background_weight": Method(
        "synthetic backgrounds weakened too", _extras(background_weight=0.0)
    ),
    "background_weight_0.1": Method(
        "synthetic backgrounds count a tenth", _extras(background_weight=0.1)
    ),
    "no_checkpoint_selection": Method("last step, not the best", _unscored),
    "no_motion": Method("without the motion stage", no_motion),
    "no_placements": Method("as filmed only", _extras(placements=1)),
    "no_background_augmentation": Method(
        "before the filmed scene only", _extras(background_augmentation=0.0)
    ),
    **{f"alpha_{a}": Method(f"α = {a}", _loss(alpha=a)) for a in (0.03, 0.1, 0.3, 1.0)},
    **{f"gamma_{g}": Method(f"γ = {g}", _loss(gamma=g)) for g in (0.5, 0.01, 0.001)},
    **{
        f"regularization_{w}": Method(f"regularization weight {w}", _loss(prior_weight=w))
        for w in (0.1, 1.0, 3.0)
    },
    "plain_captions": Method("captions name no scene", _personal(captions="plain")),
    "no_appearance": Method("no words for the appearance", _extras(appearance="")),
    "appearance_described": Method(
        "appearance described manually", lambda recipe: recipe, described=True
    ),
    "cross_attention": Method(
        "cross-attention alone trains", _train(r"^unet\..*attentions\..*attn2\.", TOKEN)
    ),
    "attention": Method("attention alone trains", _train(r"^unet\..*attentions\.", TOKEN)),
    "text_encoder": Method("the text encoder trains too", _personal(train_text_encoder=True)),
}


def named(name: str) -> Method:
    """The method of a name, or of several joined by "+": one change of the recipe after the other.

    Raises UsageError where there is no such method, or one that learns nothing is joined to others.
    """
    known = METHODS | ABLATIONS
    parts = [known[part] for part in name.split("+") if part in known]
    changes = [part.change for part in parts if part.change]
    if len(parts) <= name.count("+") or (len(parts) > 1 and len(changes) < len(parts)):
        raise UsageError(f"no method {name}: give some of {', '.join(known)}")
    if len(parts) == 1:
        return parts[0]
    return Method(
        ", ".join(part.title for part in parts),
        lambda recipe: reduce(lambda done, change: change(done), changes, recipe),
        described=any(part.described for part in parts),
    )
