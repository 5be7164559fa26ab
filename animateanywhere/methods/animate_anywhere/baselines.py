"""Baselines and ablations: other ways to learn a person, and our method without one of its parts.

Each is a change of the recipe, so all of them run through the same `aa personalize`.
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

    change: maps the recipe to the method's recipe; None for methods that learn nothing. described:
    the appearance is described by the renderer's words, not searched. collage: whether the person's
    own limbs are laid over what the network draws, where that is the base's default. weights_of:
    the method whose weights it uses.
    """

    title: str
    change: Callable[[Recipe], Recipe] | None = None
    described: bool = False
    collage: bool = False
    weights_of: str = ""


def _loss(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, loss=replace(recipe.loss, **changes))


def _personal(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, personal=replace(recipe.personal, **changes))


def _extras(**changes: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, extras=replace(recipe.extras, **changes))


_unscored = _extras(checkpoint_selection=False)


def _train(*patterns: str) -> Callable[[Recipe], Recipe]:
    """Train only parameters that match the patterns in the appearance stage."""

    def change(stage: Stage) -> Stage:
        return replace(stage, train=patterns) if stage.kind == "appearance" else stage

    return lambda recipe: each_stage(recipe, change)


def dreambooth(recipe: Recipe) -> Recipe:
    """DreamBooth (Ruiz et al. 2023, arXiv 2208.12242) on frames, then on clips: the plain loss on
    full frames as filmed, no words for the appearance in captions, and prior preservation with
    weight 1 and equal numbers of subject and regularization rows."""
    loss = replace(recipe.loss, weaken=False, guide=False, prior_weight=1.0)
    recipe = each_stage(recipe, lambda stage: replace(stage, prior_batch=stage.batch))
    extras = replace(recipe.extras, placements=1, appearance="", background_augmentation=0.0)
    return replace(recipe, loss=loss, extras=extras)


def paper(recipe: Recipe) -> Recipe:
    """The paper's one-shot method without extras: the settings of `recipes/personalize-paper.toml`
    with the stages of the base's own recipe."""
    own = load_recipe("personalize-paper")
    return replace(recipe, loss=own.loss, personal=own.personal, extras=own.extras)


def textual_inversion(recipe: Recipe) -> Recipe:
    """Textual inversion (Gal et al. 2023, arXiv 2208.01618): only the token's embedding is trained,
    by the plain loss."""
    recipe = no_regularization(dreambooth(recipe))
    rows = tuple(
        replace(stage, train=(TOKEN,), rates={TOKEN: 20.0}) for stage in recipe.stages("appearance")
    )
    return replace(recipe, stage=rows)


def one_step(recipe: Recipe) -> Recipe:
    """A single stage on clips, with temporal layers from the start and as many frames as our two
    stages see; it trains what our first stage trains."""
    (first,), (last,) = recipe.stages("appearance"), recipe.stages("motion")
    total = first.steps * first.batch * first.frames + last.steps * last.batch * last.frames
    steps = max(round(total / (last.batch * last.frames)), 1)
    stage = replace(
        last, steps=steps, train=(SPATIAL, TOKEN), rates=first.rates, decay=first.decay,
        learning_rate=first.learning_rate, warmup=first.warmup, save_every=first.save_every,
    )  # fmt: skip
    return replace(recipe, stage=(stage,))


def no_regularization(recipe: Recipe) -> Recipe:
    """No regularization data."""
    return each_stage(recipe, lambda stage: replace(stage, prior_batch=0))


def no_motion(recipe: Recipe) -> Recipe:
    """No motion stage."""
    return replace(recipe, stage=recipe.stages("appearance"))


def alone(recipe: Recipe) -> Recipe:
    """Only background weakening and mask-guided attention, and nothing else that might preserve
    scenes: no regularization data and no extras."""
    extras = replace(NO_EXTRAS, fit_vae_steps=recipe.extras.fit_vae_steps)
    return no_regularization(replace(recipe, extras=extras))


METHODS: dict[str, Method] = {
    "ours": Method("ours", lambda recipe: recipe, collage=True),
    "drawn": Method("ours, the network alone", lambda recipe: recipe, weights_of="ours"),
    "paper": Method("the paper's method, no extras", paper),
    "words_only": Method("base alone, person described in words"),
    "dreambooth": Method("DreamBooth", dreambooth),
    "one_step": Method("one stage on video", one_step),
    "lora": Method("ours with LoRA", by_lora),
    "textual_inversion": Method("textual inversion", textual_inversion),
    "no_regularization": Method("without regularization", no_regularization),
    "vae": Method("ground truth through the VAE"),
    "truth": Method("ground truth"),
}

ABLATIONS: dict[str, Method] = {
    "alone": Method("only weakening and guidance", alone),
    "no_weakening": Method("without background weakening", _loss(weaken=False)),
    "no_guidance": Method("without mask-guided attention", _loss(guide=False)),
    "no_background_weight": Method(
        "synthetic backgrounds weakened as well", _extras(background_weight=0.0)
    ),
    "background_weight_0.1": Method(
        "synthetic backgrounds with weight 0.1", _extras(background_weight=0.1)
    ),
    "no_checkpoint_selection": Method("without checkpoint selection", _unscored),
    "no_motion": Method("without the motion stage", no_motion),
    "no_placements": Method("without placement augmentation", _extras(placements=1)),
    "no_background_augmentation": Method(
        "without background augmentation", _extras(background_augmentation=0.0)
    ),
    **{f"alpha_{a}": Method(f"α = {a}", _loss(alpha=a)) for a in (0.03, 0.1, 0.3, 1.0)},
    **{f"gamma_{g}": Method(f"γ = {g}", _loss(gamma=g)) for g in (0.5, 0.01, 0.001)},
    **{
        f"regularization_{w}": Method(f"regularization weight {w}", _loss(prior_weight=w))
        for w in (0.1, 1.0, 3.0)
    },
    "plain_captions": Method("captions without scene and action", _personal(captions="plain")),
    "no_appearance": Method("without words for the appearance", _extras(appearance="")),
    "appearance_described": Method(
        "appearance described manually", lambda recipe: recipe, described=True
    ),
    "cross_attention": Method(
        "training cross-attention only", _train(r"^unet\..*attentions\..*attn2\.", TOKEN)
    ),
    "attention": Method("training attention only", _train(r"^unet\..*attentions\.", TOKEN)),
    "text_encoder": Method("training the text encoder as well", _personal(train_text_encoder=True)),
}


def named(name: str) -> Method:
    """The method of a name, or of several names joined by "+", which change the recipe in turn.

    Raises UsageError for an unknown name, and for a method that learns nothing joined to others.
    """
    known = METHODS | ABLATIONS
    parts = [known[part] for part in name.split("+") if part in known]
    changes = [part.change for part in parts if part.change]
    if len(parts) <= name.count("+") or (len(parts) > 1 and len(changes) < len(parts)):
        raise UsageError(
            f"no method {name}: give one of {', '.join(known)}, or several joined by +"
        )
    if len(parts) == 1:
        return parts[0]
    return Method(
        ", ".join(part.title for part in parts),
        lambda recipe: reduce(lambda done, change: change(done), changes, recipe),
        described=any(part.described for part in parts),
    )
