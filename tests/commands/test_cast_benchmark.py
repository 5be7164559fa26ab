"""The benchmark of `aa cast`: its people and baselines, where they must stand, resuming, and the
paper's ablations trained and compared by one command."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animateanywhere.backbones.base import BUNDLED
from animateanywhere.cli import main
from animateanywhere.commands import cast_baselines, cast_benchmark
from animateanywhere.commands.cast_train import cast_train, recipe_of
from animateanywhere.core.errors import UsageError
from animateanywhere.evaluation import held_out as puppets_held_out
from animateanywhere.evaluation.instruments import Instruments
from animateanywhere.evaluation.perception import load_perception
from animateanywhere.media import video
from animateanywhere.methods.context_anyone import ablations, held_out, pairs, truth
from animateanywhere.methods.context_anyone.cast_base import load_cast_base
from animateanywhere.methods.context_anyone.settings import Corpus, load_recipe
from animateanywhere.preprocessing.ground import on_ground
from animateanywhere.puppets import is_held_out
from tests.methods.context_anyone import recipe as tiny

CONFIG = {"size": 64, "fps": 8.0, "frames": 8}


@pytest.fixture(scope="module")
def one() -> held_out.Person:
    return held_out.person(0, CONFIG, fast=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer known poses and people than in a benchmark."""
    monkeypatch.setattr("animateanywhere.methods.context_anyone.truth.DRAWS", 8)
    monkeypatch.setattr("animateanywhere.methods.context_anyone.truth.STEPS", 20)
    monkeypatch.setattr(puppets_held_out, "FEW", 4)


def test_people_are_those_of_the_other_benchmark_known_from_elsewhere(
    one: held_out.Person,
) -> None:
    whole = held_out.person(0, CONFIG)
    _, cases = puppets_held_out.specs(0, puppets_held_out.Setting())
    assert [case.spec for case in whole.cases] == cases and len(whole.cases) == 3
    assert [case.spec for case in one.cases] == cases[-1:]
    assert is_held_out(one.identity) and len(whole.cases[0].others) == 99
    for case in whole.cases:
        assert case.spec.motion.name != whole.picture.motion.name
        assert case.spec.scene.name != whole.picture.scene.name
    shot, other = one.shot, one.stranger
    assert (shot.masks[0] > 127).mean() > 0.08 and shot.keypoints[0, :, 2].sum() > 12
    assert np.abs(shot.frames.astype(int) - other.frames).max() > 40
    picture = held_out.cut_out(shot)
    seen = (picture < 255).any(-1)  # as large as fits, as at use
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    sides = np.ptp(rows), np.ptp(columns)
    assert max(sides) == pytest.approx(len(picture) / 1.1, abs=2) and seen.mean() > 0.08


def test_the_pasted_picture_stands_still_in_the_place_of_the_truth(one: held_out.Person) -> None:
    case = one.cases[0]
    made = cast_baselines.pasted(None, one, case, Path(), 0).free  # type: ignore[arg-type]
    assert made is not None and made.shape == case.truth.frames.shape
    assert (made == made[:1]).all()
    changed = np.abs(made[0].astype(int) - case.empty).max(-1) > 10
    true = case.truth.masks[0] > 127
    rows, wanted = (np.flatnonzero(mask.any(1)) for mask in (changed, true))
    assert abs(rows[0] - wanted[0]) <= 2 and abs(rows[-1] - wanted[-1]) <= 2


def test_a_fast_benchmark_on_a_tiny_base_and_again(
    tiny_cast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base = shutil.copytree(tiny_cast, tmp_path / "base")
    about = base / "base.toml"
    about.write_text(about.read_text().replace(" = false", " = true"))  # motions, and a collage
    options = {"subjects": 1, "fast": True, "base": str(base)}
    out = cast_benchmark.cast_benchmark(tmp_path / "a b", **options)
    assert "left out by --fast: personalized" in capsys.readouterr().err
    report = json.loads((out / "metrics-cast-fast.json").read_text())
    means = {
        name: {metric: found["mean"] for metric, found in row.items()}
        for name, row in report["methods"].items()
    }
    assert set(means) == {"ours", "drawn", "words", "pasted", "stranger", "vae", "truth"}
    true, pasted, ours, drawn = (means[name] for name in ("truth", "pasted", "ours", "drawn"))
    assert true["person_psnr"] is None  # infinite, which JSON cannot say
    assert true["person_ssim"] == pytest.approx(1) and true["attributes"] == 1
    assert true["retrieval_4"] == 1 and true["pose_leak@free"] == pytest.approx(0, abs=1e-6)
    assert true["dynamic_degree@free"] == pytest.approx(1)
    assert pasted["dynamic_degree@free"] < 0.02
    assert pasted["pose_leak@free"] > 0.6
    assert true["person_delta_e"] < pasted["person_delta_e"] < drawn["person_delta_e"]
    assert ours["person_delta_e"] < 0.7 * drawn["person_delta_e"]
    assert pasted["pck"] < true["pck"]
    assert {"pck", "person_delta_e@free", "one_person@free", "whole@free"} <= set(pasted)
    assert report["ratios"]["words"]["person_delta_e"]["of"] == 1
    assert (out / "contact_sheet-cast-fast.png").is_file()
    page = (out / "report-cast-fast.html").read_text()
    assert "data:image/jpeg" in page and "Without a pose" in page
    table = (out / "table-cast-fast.md").read_text()
    assert "| ours over |" in table and "Without a pose" in table and "pose leak" in table
    assert video.read(out / "cast-fast/ours/00/case0-free.mp4").frames.shape == (4, 64, 64, 3)

    def never(*given: object) -> None:
        raise AssertionError("what is there was made again")

    monkeypatch.setattr(cast_benchmark, "_measured", never)
    cast_benchmark.cast_benchmark(out, **options)
    again = json.loads((out / "metrics-cast-fast.json").read_text())
    assert again["methods"] == report["methods"]


def test_noise_is_recognized_as_nobody(one: held_out.Person) -> None:
    noise = np.random.default_rng(0).integers(0, 256, one.cases[0].truth.frames.shape)
    tools = Instruments(load_perception(BUNDLED / "perception"), None)
    found = truth.measure_free(tools, noise.astype(np.uint8), one, one.cases[0])
    assert found["whole@free"] == 0 and found["attributes@free"] == 0
    assert [found[name] for name in found if name.startswith("retrieval")] == [0]
    assert "pose_leak@free" not in found and "person_delta_e@free" not in found


def test_aims_that_a_video_of_nothing_passes_need_a_person_in_it() -> None:
    def reached(whole: float | None) -> set[str]:
        values = {"pose_leak": -0.6, "flash": 0.0, "scene_accuracy": 1.0, "one_person": 1.0}
        values |= {"retrieval_100": 0.9} | ({} if whole is None else {"whole": whole})
        row = {f"{name}@free": {"mean": value, "low": value, "high": value, "of": 12.0}
               for name, value in values.items()}  # fmt: skip
        same = {"mean": 1.0, "low": 1.0, "high": 1.0, "of": 12.0}
        aims = truth.check_aims({"ours": row, "vae": row}, {"words": {"dynamic_degree@free": same}})
        assert all(aim["reached"] for aim in aims if aim["surely"])
        return {aim["aim"] for aim in aims if aim["reached"]}

    assert len(reached(1.0)) == 7
    assert reached(0.9) == reached(None) == set()


def test_each_ablation_changes_what_it_names(tmp_path: Path) -> None:
    recipe = load_recipe("mini-cast")
    found = {name: ablations.ablated(recipe, name) for name in ablations.ABLATIONS}
    assert [stage.steps for stage in found["third"].stage] == [83, 133, 1600, 50]
    assert found["third"].transformer == recipe.transformer
    assert found["no_emphasis"].transformer["emphasis"] is False
    assert found["gap_0"].transformer["gap"] == 0
    assert found["two_way"].transformer["one_way"] is False
    assert found["no_reconstruction"].cast.reconstruction == 0
    assert [stage.kind for stage in found["no_image_tokens"].stage] == ["cast"] * 3
    assert found["same_clip"].corpus == replace(recipe.corpus, same_clip=True)
    bare = found["concat"]
    assert not bare.cast.image_tokens and bare.cast.reconstruction == 0
    changed = {key: value for key, value in bare.transformer.items()
               if value != recipe.transformer[key]}  # fmt: skip
    assert changed == {"emphasis": False, "gap": 0, "one_way": False}
    titles = [method.title for method in cast_baselines.KNOWN.values()]
    assert len(set(titles)) == len(titles)


def test_references_of_the_same_clip_are_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncropped(picture: np.ndarray, mask: np.ndarray, *_: Any) -> np.ndarray:
        return on_ground(picture, mask)

    monkeypatch.setattr(pairs, "reference_picture", uncropped)
    (same,), (other,) = (
        list(pairs.people(Corpus(pictures=2, same_clip=mine), range(1), 4, 64, 8.0, 0))
        for mine in (True, False)
    )
    assert np.array_equal(same.frames, other.frames)

    def nearest(one: pairs.Person) -> float:
        """Mean difference of the best frame, where the picture is not white."""
        shown = (one.pictures[0] < 250).any(-1)
        apart = np.abs(one.frames.astype(int) - one.pictures[0]).mean(-1)[:, shown]
        return float(apart.mean(1).min())

    assert nearest(same) < 12 < nearest(other)


def test_ablations_are_trained_and_compared_by_one_command(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    text = tiny.RECIPE.replace("images = 6", "images = 4").replace("clips = 3", "clips = 2")
    monkeypatch.setattr(tiny, "RECIPE", text.replace("sample_every = 3", "sample_every = 0"))
    base = cast_train(tiny.recipe_of(tmp_path, tiny_base), tmp_path / "cast")
    assert recipe_of(base) == load_recipe(tmp_path / "tiny-cast.toml")
    names, out = ["ours", "third", "concat", "same_clip"], tmp_path / "bench"
    command = ["evaluate", "--bench", "cast", "--base", str(base), "--out", str(out), "--fast",
               "--subjects", "1", "--methods", ",".join(names)]  # fmt: skip
    capsys.readouterr()
    assert main.main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["methods"]) == names
    assert all(row["person_delta_e"]["of"] == 1 for row in report["methods"].values())
    against = report["ratios_of_third"]
    assert set(against) == {"ours", "concat", "same_clip"} and "person_delta_e" in against["concat"]
    title = ablations.ABLATIONS["third"].title
    assert f"| {title} over |" in (out / "table-cast-fast.md").read_text()
    bare, third = (load_cast_base(out / "bases" / name) for name in ("concat", "third"))
    assert "image_encoder" in third.parts and "image_encoder" not in bare.parts
    assert bare.denoiser.config.gap == 0 and third.denoiser.config.gap == 4
    for name in ("third", "concat"):  # the people of the base, rendered once
        assert not (out / "bases" / name / "corpus").exists()
    assert (out / "bases/same_clip/corpus/clips").is_dir()
    trained = (out / "bases/third/training/stills/log.jsonl").read_text().splitlines()
    assert len(trained) == 1  # a third of four steps
    monkeypatch.setattr(cast_benchmark, "_measured", None)
    assert main.main(command) == 0  # all is there


def test_a_person_who_is_learned_from_a_clip_is_measured_with_the_pose(
    tiny_cast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animateanywhere.methods.context_anyone.held_out.FRAMES", 8)
    options = {"subjects": 1, "fast": True, "base": str(tiny_cast), "methods": ["personalized"]}
    out = cast_benchmark.cast_benchmark(tmp_path / "out", **options)
    report = json.loads((out / "metrics-cast-fast.json").read_text())
    row = report["methods"]["personalized"]
    assert 0 < row["person_delta_e"]["mean"] < 100 and "person_delta_e@free" not in row
    assert "person learned from a clip, with its limbs" in (out / "table-cast-fast.md").read_text()
    (weights,) = out.glob("cast-fast/personalized/*/run/personal.safetensors")
    assert video.read(weights.parents[1] / "case0-posed.mp4").frames.shape == (4, 64, 64, 3)
    assert not (weights.parent / "training").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--methods", "ours,oars"], "no method oars: give one of ours,"),
        (["--methods", "gap_0"], "by what recipe it was trained is not known"),
        (["--subjects", "101"], "has 100 people"),
        (["--hard"], "belong to --bench puppets"),
        (["--ablations", "mini-cast"], "--bench cast takes them by --methods"),
        (["--base", "mini"], "cannot make a video of the person"),
    ],
)
def test_wrong_use_is_one_line(
    flags: list[str], words: str, tiny_cast: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main.main(["evaluate", "--bench", "cast", "--base", str(tiny_cast), *flags]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said


def test_a_damaged_recipe_is_told(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training/recipe.json").write_text("{")
    with pytest.raises(UsageError, match="by what recipe it was trained is not known"):
        recipe_of(tmp_path)
