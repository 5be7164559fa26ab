import json
import re
from pathlib import Path

import pytest

from animateanywhere.backbones.base import family_of, load_base
from animateanywhere.core import recipe as recipes
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.paths import recipes_folder
from animateanywhere.core.reporter import Events
from animateanywhere.methods.animate_anywhere.method import build
from animateanywhere.methods.animate_anywhere.settings import (
    NO_EXTRAS,
    RENAMED,
    Extras,
    Recipe,
    Stage,
    from_dict,
    load_recipe,
    scaled,
    to_dict,
)

STAGE = "[[stage]]\nname = 'a'\nkind = 'motion'\nsteps = 1\n"
RECIPES = [
    path
    for path in sorted(recipes_folder().glob("*.toml"))
    if not any(recipes.has_table(path, table) for table in ("swap", "cast"))
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_parses_and_its_patterns_match(
    path: Path, tiny_base: Path, tiny_wan: Path
) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem and (
        recipe.stage or family_of(recipe.model.tables()).pretrained
    )
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
        ("[autoencoder]\nnoise = -0.1", r"noise of \[autoencoder\] must be at least 0"),
        ("[extras]\nbackground_clips = 0", "background_clips must be at least 1"),
        ("[[stage]]\nname = 'a'\nkind = 'image'", "steps is missing"),
        ("[[stage]]\nname = 'a'\nkind = 'picture'\nsteps = 1", "must be one of"),
        ("[[stage]]\nname = 'a'\nkind = 'image'\nsteps = 1\nlora_rank = 4", "lora_rank must be"),
        ("[[stage]]\nname = 'a'\nkind = 'motion'\nsteps = 1\nlora_rank = -1", "lora_rank must be"),
        (STAGE + "prior_batch = -1", "stage a: prior_batch must be at least 0"),
        (STAGE + "dropout = 1.5", "stage a: dropout is a share and must be 0 to 1"),
        (STAGE + "timestep_shift = 0", "stage a: timestep_shift must be above 0"),
        (STAGE + "learning_rate = -1e-3", "stage a: learning_rate must be above 0"),
        (STAGE + "learning_rate = nan", "stage a: learning_rate must be above 0"),
        (STAGE + "clip = 0", "stage a: clip must be above 0"),
        (STAGE + "ema = 1.0", "stage a: ema must be at least 0 and below 1"),
        (STAGE + "warmup = -1", "stage a: warmup must be at least 0"),
        (STAGE + "decay = 2", "stage a: decay is a share and must be 0 to 1"),
        (STAGE.replace("'a'", "'../a'"), "name of a stage is a folder's name"),
        (STAGE.replace("'a'", "''"), "name of a stage is a folder's name"),
        ("[loss]\nalpha = -1", "alpha must be at least 0"),
        ("[loss]\nprior_weight = nan", "prior_weight must be at least 0"),
        ("[extras]\nbackground_weight = 5", "background_weight is a share and must be 0 to 1"),
        ("seed = -1", "seed must be 0 to 4294967295"),
        ("stage = 3", "must be a list"),
        ("loss = 3", "must be a table"),
        ("seed = ", "not a TOML file"),
        ("seed = " + "[" * 3000, "not a TOML file"),
    ],
)
def test_errors_say_what_is_wrong(text: str, says: str, tmp_path: Path) -> None:
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


def read(path: Path, text: str) -> tuple[Recipe, list[str]]:
    """A recipe with this text, and the warnings from reading it."""
    path.write_text(text)
    reporter = Events()
    with reporting_to(reporter):
        recipe = load_recipe(path)
    assert all(event["level"] == "warning" for event in reporter.events)
    return recipe, [event["text"] for event in reporter.events]


def toml(key: str, value: str) -> str:
    """A recipe that gives "table.key" a value."""
    table, key = key.split(".")
    if table == "stage":
        return f"[[stage]]\nname = 'a'\nkind = 'appearance'\nsteps = 1\n{key} = {value}\n"
    return f"[{table}]\n{key} = {value}\n"


def other_value(key: str) -> str:
    """A value of "table.key" that is not its default, as TOML."""
    table, key = key.split(".")
    owner = Stage("a", "appearance", 1) if table == "stage" else getattr(Recipe("a"), table)
    default = getattr(owner, key)
    return {str: "'puppets'", int: "7", float: "0.5", bool: "false"}[type(default)]


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_deprecated_key_works_and_warns_once(old: str, new: str, tmp_path: Path) -> None:
    path, value = tmp_path / "[mine].toml", other_value(new)
    recipe, (warning,) = read(path, toml(old, value))
    wanted, none = read(path, toml(new, value))
    assert recipe == wanted != read(path, "")[0] and none == []
    places = [f"[{name.replace('.', '] ')}".replace("[stage]", "[[stage]]") for name in (old, new)]
    assert warning == (
        f"{path}: {places[0]} is deprecated and will be removed in the next release; "
        f"use {places[1]}"
    )


def test_deprecated_keys_move_together(tmp_path: Path) -> None:
    """Several in one table, in several stages, beside keys that are not renamed."""
    stage = "[[stage]]\nname = '{0}'\nkind = 'appearance'\nsteps = 1\nregular_batch = {0}\n"
    text = (
        "[loss]\nalpha = 0.5\nkeep = 0.25\nheat = 2\n[personal]\nlooks = 'bald'\nviews = 2\n"
        "[choose]\npatience = 5\nscore = false\n" + stage.format(1) + stage.format(2)
    )
    recipe, warnings = read(tmp_path / "mine.toml", text)
    assert (recipe.loss.alpha, recipe.loss.pose_weight) == (0.5, 2.0)
    assert recipe.extras == Extras(
        appearance="bald", background_weight=0.25, placements=2, patience=5,
        checkpoint_selection=False,
    )  # fmt: skip
    assert [row.prior_batch for row in recipe.stage] == [1, 2]
    assert len(warnings) == 7  # one for both stages


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_and_new_name_together_are_an_error(old: str, new: str, tmp_path: Path) -> None:
    path, value = tmp_path / "mine.toml", other_value(new)
    text = toml(old, value)
    if old.split(".")[0] == new.split(".")[0]:
        text += f"{new.split('.')[1]} = {value}\n"
    else:
        text += toml(new, value)
    path.write_text(text)
    with pytest.raises(UsageError, match=f"both are given: remove {old.split('.')[1]}$"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[choose]\npatience = 5\npatienc = 1\n",
         r"unknown key patienc: did you mean \[extras\] patience\?"),
        ("[choose]\nsede = 1\n", r"unknown key sede: did you mean \[extras\] checkpoint_sel"),
        ("choose = 3\n", "choose must be a table, not 3"),
        ("[[choose]]\nscore = true\n", "choose must be a table"),
    ],
)  # fmt: skip
def test_a_table_that_was_renamed_has_no_other_keys(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        load_recipe(path)


def test_an_empty_table_that_was_renamed_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path / "mine.toml", "[choose]\n") == read(tmp_path / "mine.toml", "")


@pytest.mark.parametrize(
    "extras", ["extras = 3\n[loss]\n{}", "[loss]\n{}[[extras]]\npatience = 1\n"]
)
def test_a_deprecated_key_beside_what_is_no_table(extras: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(extras.format("keep = 0.5\n"))
    with pytest.raises(UsageError, match="extras must be a table, not "):
        load_recipe(path)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    assert read(tmp_path / "mine.toml", "\ufeffseed = 3\n")[0].seed == 3


def test_a_schema_without_renamed_keys_knows_no_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[loss]\nkeep = 1.0\n")
    with pytest.raises(UsageError, match="unknown key keep"):
        recipes.load_recipe(path, Recipe)


def test_extras_are_switched_off_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = "[extras]\nenabled = false\nappearance = 'auto'\nfit_vae_steps = 80\n"
    off, warnings = read(path, text)
    assert warnings == [f"{path}: [extras] enabled = false: its other keys have no effect"]
    assert read(path, "[extras]\nenabled = false\n")[1] == []
    assert off.extras == NO_EXTRAS == load_recipe("personalize-paper").extras
    assert not NO_EXTRAS.enabled and NO_EXTRAS.appearance == "" and NO_EXTRAS.fit_vae_steps == 0
    assert NO_EXTRAS.placements == 1 and NO_EXTRAS.background_augmentation == 0
    assert not NO_EXTRAS.checkpoint_selection
    assert read(path, "[extras]\nenabled = true\n")[0].extras == Extras()
