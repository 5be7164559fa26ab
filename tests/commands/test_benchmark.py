"""The benchmark: held-out people, methods as changed recipes, resuming, intervals and aims."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.cli import main
from animateanywhere.commands import benchmark
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import finite
from animateanywhere.evaluation import held_out, report_page
from animateanywhere.evaluation import report as bench_report
from animateanywhere.evaluation.embed import videomae_embedder
from animateanywhere.evaluation.instruments import instruments
from animateanywhere.evaluation.perception import perception_of
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.baselines import ABLATIONS, METHODS, named
from animateanywhere.methods.animate_anywhere.settings import NO_EXTRAS, load_recipe
from animateanywhere.preprocessing.weights import WeightsLocation
from animateanywhere.puppets import SCENES, is_held_out
from tests.evaluation.test_embed import write_models

RECIPE = load_recipe("personalize")


@pytest.mark.parametrize(("hard", "detailed"), [(False, False), (True, False), (False, True)])
def test_people_are_held_out_and_augment_backgrounds(hard: bool, detailed: bool) -> None:
    setting = held_out.Setting(hard=hard, detailed=detailed)
    people, scenes, things = set(), set(), set()
    for number in range(held_out.SUBJECTS):
        reference, cases = held_out.specs(number, setting)
        assert (reference, cases) == held_out.specs(number, setting)
        assert is_held_out(reference.identity)
        assert len(cases) == held_out.CASES
        assert {case.identity for case in cases} == {reference.identity}
        places = [reference.scene.name, *(case.scene.name for case in cases)]
        motions = [reference.motion.name, *(case.motion.name for case in cases)]
        assert len(set(places)) == len(set(motions)) == held_out.CASES + 1
        assert sum(case.object.name != "none" for case in cases) == 2
        assert (reference.camera.pan > 0) == hard
        assert (reference.identity.detail is not None) == detailed
        assert not any(case.occluder for case in (reference, *cases))
        people.add(reference.identity)
        scenes |= set(places)
        things |= {case.object.name for case in cases}
    assert len(people) == held_out.SUBJECTS
    assert len(scenes) == len(SCENES)
    assert len(things) > 6


def test_plain_people_are_those_of_earlier_versions() -> None:
    """So that their figures stay comparable: digests of the specs as they were before there were
    detailed people; and these differ in nothing else."""
    setting = held_out.Setting()
    told = repr([held_out.specs(number, setting) for number in range(held_out.SUBJECTS)])
    told = told.replace(", detail=None", "").replace(", occluder=None", "")
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "43b12f37a141fea9"
    for number in range(held_out.SUBJECTS):
        reference, cases = held_out.specs(number, held_out.Setting(detailed=True))
        bare = [
            replace(one, identity=replace(one.identity, detail=None)) for one in (reference, *cases)
        ]
        plain, plain_cases = held_out.specs(number, setting)
        assert bare == [plain, *plain_cases]


def test_names_of_settings_and_the_people_of_a_base(tiny_base: Path, tmp_path: Path) -> None:
    assert held_out.Setting(fast=True).name == "easy-fast"
    assert held_out.Setting(True, True, True).name == "hard-detailed-fast"
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    with (base / "base.toml").open("a") as file:
        file.write("detailed = true\n")
    assert benchmark.setting_of(base, None, False, False).detailed
    assert not benchmark.setting_of(base, "plain", False, False).detailed
    assert not benchmark.setting_of(tiny_base, None, False, False).detailed
    assert benchmark.setting_of(tiny_base, "detailed", False, False).detailed


def test_methods_change_what_they_say() -> None:
    change = {name: m.change(RECIPE) for name, m in (METHODS | ABLATIONS).items() if m.change}
    assert change["ours"] == RECIPE
    same = ("ours", "drawn", "appearance_described")
    others = [recipe for name, recipe in change.items() if name not in same]
    assert all(recipe != RECIPE for recipe in others)
    assert len({repr(recipe) for recipe in others}) == len(others)
    dreambooth = change["dreambooth"]
    assert not dreambooth.loss.weaken
    assert not dreambooth.loss.guide
    assert dreambooth.extras.background_augmentation == 0
    paper = change["paper"]
    assert paper.extras == NO_EXTRAS and paper.loss.alpha == 0.001 and paper.stage == RECIPE.stage
    assert all(s.prior_batch == s.batch for s in dreambooth.stage)
    assert all(s.lora_rank for s in change["lora"].stage)
    assert [s.steps for s in dreambooth.stage] == [s.steps for s in RECIPE.stage]
    assert {s.prior_batch for s in change["no_regularization"].stage} == {0}
    assert {s.train for s in change["textual_inversion"].stage} == {("token_embedding",)}

    def seen(recipe) -> int:  # type: ignore[no-untyped-def]
        return sum(s.steps * s.batch * s.frames for s in recipe.stage)

    assert len(change["one_step"].stage) == 1
    assert seen(change["one_step"]) == pytest.approx(seen(RECIPE), rel=0.02)


def test_methods_are_joined_by_plus() -> None:
    assert named("ours") is METHODS["ours"]
    bare = named("alone+no_weakening+no_guidance").change(RECIPE)
    assert not bare.loss.weaken
    assert not bare.loss.guide
    dreambooth = named("alone+dreambooth+no_regularization").change(RECIPE)
    weight = {"prior_weight": RECIPE.loss.prior_weight}  # of rows there are none
    assert bare == replace(dreambooth, loss=replace(dreambooth.loss, **weight))
    for wrong in ("mine", "ours+mine", "ours+truth", "+", "ours+", ""):
        with pytest.raises(UsageError, match="no method"):
            named(wrong)


def test_a_fast_benchmark_on_a_tiny_base_and_again(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    names = ["ours", "drawn", "words_only", "dreambooth", "vae", "truth"]
    options = {"subjects": 1, "methods": names, "fast": True, "base": str(tiny_base)}
    out = benchmark.benchmark(tmp_path / "a b", **options)
    report = json.loads((out / "metrics-easy-fast.json").read_text())
    assert set(report["methods"]) == set(names)
    truth = report["methods"]["truth"]
    assert truth["dynamic_degree"]["mean"] == pytest.approx(1)
    assert truth["retrieval_12"]["mean"] == truth["retrieval_rank_12"]["mean"] == 1
    assert 1 <= report["methods"]["words_only"]["retrieval_rank_12"]["mean"] <= 12
    assert "faces_visible" not in truth  # heads are too small here
    assert "visible faces are not measured" not in capsys.readouterr().err
    for name in ("ours", "drawn", "words_only", "dreambooth"):  # of an untrained base
        row = report["methods"][name]
        assert row["person_delta_e"]["mean"] > truth["person_delta_e"]["mean"]
        assert row["person_psnr"]["mean"] < 20
    assert truth["person_psnr"]["mean"] is None  # infinite, which JSON cannot say
    assert report["ratios"]["dreambooth"]["person_delta_e"]["of"] == 1
    assert (out / "contact_sheet-easy-fast.png").is_file()
    page = (out / "report-easy-fast.html").read_text(encoding="utf-8")
    assert '<th scope="row">DreamBooth</th>' in page and "ours over" in page
    assert "ours, the network alone over" in page
    learned = [path.parts[-4] for path in out.rglob("personal.safetensors")]
    assert sorted(learned) == ["dreambooth", "ours"]  # that alone uses the weights of ours
    table = (out / "table-easy-fast.md").read_text()
    assert "| DreamBooth |" in table and "| ours over |" in table and "| aim |" in table
    assert len(list(out.glob("*/*/*/scores.json"))) == len(names)

    def never(*given: object) -> None:
        raise AssertionError("what is there was made again")

    monkeypatch.setattr(benchmark, "generate_cases", never)
    benchmark.benchmark(out, **options)
    again = json.loads((out / "metrics-easy-fast.json").read_text())
    assert again["methods"] == report["methods"]


def test_a_base_without_a_detector_of_faces_is_said(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    shutil.copytree(perception_of(tiny_base), base / "perception")
    assert instruments(base).face_detector is not None
    (base / "perception" / "faces.safetensors").unlink()
    assert instruments(base).face_detector is None
    assert "visible faces are not measured" in capsys.readouterr().err


def test_fvd_knows_copies_from_others(tmp_path: Path) -> None:
    config, setting = {"size": 64, "fps": 8, "frames": 4}, held_out.Setting()
    look = videomae_embedder(WeightsLocation(write_models(tmp_path / "models"), offline=True))
    for number in range(2):
        for case, truth in enumerate(held_out.subject(number, config, setting).truths):
            noise = np.random.default_rng(case).integers(0, 255, truth.frames.shape, np.uint8)
            for name, frames in (("copies", truth.frames), ("noise", noise)):
                folder = tmp_path / name / f"{number:02}"
                folder.mkdir(parents=True, exist_ok=True)
                video.write(folder / f"case{case}.mp4", frames, 8)
                video.write(folder / "reference.mp4", frames, 8)
    names = ["copies", "noise", "absent"]
    found = benchmark.fvd(look, names, range(2), config, setting, tmp_path)
    assert set(found) == {"copies", "noise"}
    assert 0 <= found["copies"] < 0.2 * found["noise"]
    assert benchmark.fvd(None, names, range(2), config, setting, tmp_path) == {}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--bench", "puppets", "--methods", "ours, oars"], "no method oars: give one of ours,"),
        (["--bench", "puppets", "video.mp4"], "does not exist"),
        (
            ["--subjects", "2"],
            "give a video, the folder of a run, or --bench puppets, swap or cast",
        ),
        (["--bench", "puppets", "--subjects", "0"], "--subjects"),
        (["."], "no video"),
        ([".", "--hard"], "belong to --bench"),
        ([".", "--people", "plain"], "belong to --bench"),
    ],
)
def test_wrong_use_is_one_line(
    flags: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main.main(["evaluate", *flags]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said


def test_intervals_hold_the_mean_and_narrow_with_more_people() -> None:
    rng = np.random.default_rng(0)
    few, many = (bench_report.interval(rng.normal(5, 1, n).tolist()) for n in (6, 60))
    for found in (few, many):
        assert found["low"] < found["mean"] < found["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert bench_report.interval([3.0])["low"] == bench_report.interval([3.0])["high"] == 3
    assert np.isnan(bench_report.interval([float("nan")])["mean"])
    assert bench_report.interval([0.0, 0.0, 0.0]) == {"mean": 0, "low": 0, "high": 0, "of": 3}
    copies = bench_report.interval([float("inf")] * 3)
    assert bench_report.format_cell(copies) == "∞"
    assert finite({"a": [copies["mean"], 1.0]}) == {"a": [None, 1.0]}


def test_there_is_no_share_of_nothing() -> None:
    ours = {str(n): {"leak": 0.1} for n in range(3)}
    none = {n: {"leak": 0.0} for n in ours}
    assert bench_report.score_ratios({"ours": ours, "dreambooth": none})["dreambooth"] == {}


def test_a_ratio_pairs_the_people() -> None:
    """Ours is always half of theirs: however unlike the people are, that is certain."""
    ours = {str(n): {"leak": 0.1 * (n + 1)} for n in range(8)}
    theirs = {n: {"leak": 2 * row["leak"]} for n, row in ours.items()}
    found = bench_report.score_ratios({"ours": ours, "dreambooth": theirs})["dreambooth"]["leak"]
    assert found["mean"] == found["low"] == found["high"] == pytest.approx(0.5)
    methods = {"ours": {"pck": {"mean": 0.96, "low": 0.94, "high": 0.97, "of": 8}}}
    rows = {
        row["aim"]: row for row in bench_report.check_aims(methods, {"dreambooth": {"leak": found}})
    }
    assert rows["PCK at least 0.95"]["reached"]
    assert not rows["PCK at least 0.95"]["surely"]
    assert rows["leak at most half of DreamBooth's"]["reached"]
    assert not rows["scene accuracy at least 0.98"]["reached"]


def test_tables_of_ratios_and_aims_have_intervals() -> None:
    rng = np.random.default_rng(0)
    colors = [[6 + rng.normal(), 9 + rng.normal()] for _ in range(6)]
    scores = {
        name: {str(n): {"person_delta_e": row[i]} for n, row in enumerate(colors)}
        for i, name in enumerate(("ours", "words_only"))
    }
    ratios = bench_report.score_ratios(scores)
    (table,) = bench_report.ratio_tables(ratios, {"words_only": "words"})
    found = ratios["words_only"]["person_delta_e"]
    assert found["low"] < found["mean"] < found["high"]
    assert report_page.markdown(table).splitlines() == [
        "| ours over | person ΔE | people |", "|---|---|---|",
        f"| words | {bench_report.format_cell(found)} | 6 |",
    ]  # fmt: skip
    aims = bench_report.check_aims({}, ratios)
    assert [aim["aim"] for aim in aims if not np.isnan(aim["value"])] == [
        "person ΔE at most 0.7 of words alone"
    ]
    (table,) = bench_report.aim_tables(aims)
    text = report_page.markdown(table)
    assert text.count("\n") == 3 and f"| {bench_report.format_cell(found)} | reached" in text
    assert bench_report.ratio_tables({}, {}) == bench_report.aim_tables([]) == []


def test_a_page_has_all_tables_with_bars_and_escapes_names(tmp_path: Path) -> None:
    def cell(low: float, high: float) -> report_page.Cell:
        return report_page.Cell(f"{low}–{high}", low, high)

    rows = [[report_page.Cell("<b>us</b>"), cell(1, 2)], [report_page.Cell("they"), cell(2, 5)],
            [report_page.Cell("truth"), cell(float("inf"), float("inf"))]]  # fmt: skip
    table = report_page.Table("A title", ["", "ΔE ↓"], rows)
    Image.fromarray(np.full((40, 90, 3), 200, np.uint8)).save(tmp_path / "sheet.png")
    section = report_page.Section("As found", "why", [table])
    report_page.write_page(tmp_path / "a.html", "A & B", [section], tmp_path / "sheet.png")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;us" in text and "<b>us" not in text and "<title>A &amp; B</title>" in text
    assert "<h2>As found</h2>" in text and "<h3>A title</h3>" in text and "ΔE ↓</th>" in text
    bars = re.findall(r'<rect x="([\d.]+)" width="([\d.]+)"', text)
    assert bars == [("0.00", "25.00"), ("25.00", "75.00")]  # of 1 to 5; none where infinite
    assert "data:image/jpeg;base64," in text and "http" not in text
