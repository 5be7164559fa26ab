"""`aa evaluate --bench swap --ablations RECIPE`: trains a recipe and the paper's ablations of it,
and compares the bases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from animateanywhere.commands.swap_baselines import METHODS
from animateanywhere.commands.swap_benchmark import require_people, swap_benchmark
from animateanywhere.commands.swap_train import swap_train
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.messages import say
from animateanywhere.core.run_folder import owned
from animateanywhere.evaluation.records import is_benchmark
from animateanywhere.methods.anycharv.ablations import ABLATIONS, ablated
from animateanywhere.methods.anycharv.settings import Recipe, load_recipe

ALWAYS = ("ours", "scene", "vae", "truth")


def swap_ablations(
    recipe: str | Path | Recipe,
    out: Path,
    *,
    subjects: int | None = None,
    methods: Sequence[str] = (),
    fast: bool = False,
) -> Path:
    """Train a recipe and its ablations in `out`/bases/NAME, and compare them by `swap_benchmark`;
    run it again to resume. Returns `out`.

    methods: names of ABLATIONS, and of METHODS for further rows; by default the paper's ablations
    that change the recipe. Raises UsageError for unknown ones, and for a recipe that cannot be
    ablated, before anything is trained.
    """
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    # Of the networks: limbs over their results would hide what they learned
    settings = replace(settings, swap=replace(settings.swap, collage=False))
    require_people(subjects)
    if settings.full_size:
        raise UsageError(
            f"recipe {settings.name}: the benchmark compares bases with the one that they were "
            "trained from, and this one comes from none; give one such as mini-swap"
        )
    for name in methods:
        if name not in METHODS and name not in ABLATIONS:
            known = ", ".join([*ABLATIONS, *METHODS])
            raise UsageError(f"no method or ablation {name}: give some of {known}")
    names = [name for name in methods if name in ABLATIONS] or _papers(settings)
    recipes = {"ours": settings} | {name: ablated(settings, name) for name in names}
    require_writable(out)
    folders = {name: out / "bases" / name for name in recipes}
    with owned(out, "benchmark", is_benchmark):
        for number, (name, one) in enumerate(recipes.items(), start=1):
            title = ABLATIONS[name].title if name in ABLATIONS else "the recipe as it is"
            say(f"base {number} of {len(recipes)}, {name}: {title}")
            swap_train(one, folders[name])
    ours = folders.pop("ours")
    more = [name for name in methods if name in METHODS and name not in ALWAYS]
    return swap_benchmark(
        out, subjects=subjects, methods=[*ALWAYS, *more], fast=fast, base=str(ours),
        ablations=folders,
    )  # fmt: skip


def _papers(settings: Recipe) -> list[str]:
    """The paper's ablations that change something in a recipe."""
    return [
        name for name, one in ABLATIONS.items() if one.papers and one.change(settings) != settings
    ]
