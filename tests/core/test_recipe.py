import json
import re
from pathlib import Path

import pytest

from animateanywhere.backbones.base import family_of, load_base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import recipes_folder
from animateanywhere.methods.animate_anywhere.method import build
from animateanywhere.methods.animate_anywhere.settings import (
    Recipe,
    from_dict,
    load_recipe,
    scaled,
    to_dict,
)

RECIPES = sorted(recipes_folder().glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_parses_and_its_patterns_match(
    path: Path, tiny_base: Path, tiny_wan: Path
) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem and (recipe.stage or family_of(recipe.model.tables()).ready)
    assert load_recipe(recipe.personalize).stages("appearance") or recipe.name.startswith("pers")
    base = load_base(tiny_wan if "wan" in recipe.name else tiny_base)
    image, video = (build(base, recipe.loss, video=v) for v in (False, True))
    for stage in recipe.stages("image", "video", "appearance", "motion"):
        unet = video if stage.kind in ("video", "motion") else image
        prefix = "" if stage.kind == "video" else f"{base.family.denoiser}."
        names = [prefix + name for name, _ in unet.named_parameters()]
        names += [f"text_encoder.{name}" for name, _ in base.text_encoder.named_parameters()]
        for pattern in stage.train:
            assert any(re.search(pattern, name) for name in names), (stage.name, pattern)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_the_header_says_how_to_run_it(path: Path) -> None:
    header = path.read_text().split("\n\n")[0]
    assert "#   aa " in header or "#   accelerate launch" in header


def test_cross_attention_patterns_spare_the_motion_modules(tiny_base: Path) -> None:
    recipe = load_recipe("personalize")
    unet = build(load_base(tiny_base), recipe.loss, video=True)
    pattern = recipe.stages("motion")[0].train[0]
    found = [n for n, _ in unet.named_parameters() if re.search(pattern, f"unet.{n}")]
    assert found and not any("motion_modules" in name for name in found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sede = 1", "did you mean seed"),
        ("[loss]\nalhpa = 1", "did you mean alpha"),
        ("seed = 'one'", "must be int"),
        ("[loss]\nweaken = 1", "must be bool"),
        ("[extras]\nbackground_augmentation = 1.5", "background_augmentation is a share"),
        ("[extras]\nbackground_clips = 0", "background_clips must be at least 1"),
        ("[[stage]]\nname = 'a'\nkind = 'image'", "steps is missing"),
        ("[[stage]]\nname = 'a'\nkind = 'picture'\nsteps = 1", "must be one of"),
        ("[[stage]]\nname = 'a'\nkind = 'image'\nsteps = 1\nlora_rank = 4", "lora_rank is 0"),
        ("[[stage]]\nname = 'a'\nkind = 'motion'\nsteps = 1\nlora_rank = -1", "lora_rank is 0"),
        ("stage = 3", "must be a list"),
        ("loss = 3", "must be a table"),
        ("seed = ", "not a TOML file"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        load_recipe(path)


def test_a_missing_recipe_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="mini"):
        load_recipe("maxi")


def test_integers_serve_as_floats(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[loss]\nalpha = 1")
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe) and recipe.loss.alpha == 1.0


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_survives_json(path: Path) -> None:
    recipe = load_recipe(path)
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_scaled_steps_are_whole_and_at_least_two() -> None:
    recipe = load_recipe("personalize-tiny")
    assert [row.steps for row in scaled(recipe, 2.6).stage] == [10, 10]
    assert [row.steps for row in scaled(recipe, 0.1).stage] == [2, 2]
    assert scaled(recipe, 1) == recipe
