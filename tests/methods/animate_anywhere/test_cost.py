"""Time and memory estimated: the sum is right, and the memory is what a run then takes."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from animateanywhere.backbones.base import load_base
from animateanywhere.core.device import free_memory, memory_now
from animateanywhere.core.errors import Failure
from animateanywhere.core.estimate import Estimate, clock, fits, in_words
from animateanywhere.core.frame_size import square
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.methods.animate_anywhere import appearance_search
from animateanywhere.methods.animate_anywhere.cost import cache, history, measure, memory, predict
from animateanywhere.methods.animate_anywhere.cost.clock import busy, scheduled
from animateanywhere.methods.animate_anywhere.cost.measure import STEPS, shortened
from animateanywhere.methods.animate_anywhere.cost.predict import (
    Prepared,
    estimate,
    estimate_generation,
)
from animateanywhere.methods.animate_anywhere.cost.probe import learn
from animateanywhere.methods.animate_anywhere.cost.seconds import generating, learning
from animateanywhere.methods.animate_anywhere.settings import load_recipe

MEASURED = {
    "start": 5.0, "end": 0.5, "busy": 0.0,
    "generate": {"fixed": 0.3, "step": 0.4, "encode": 0.02, "decode": 0.01},
    "learn": {
        "frame": 0.02, "image_step": 0.03, "image": 0.05, "clip_step": 0.25, "clip": 0.3,
        "background_step": 0.02, "vae_step": 0.2, "appearance_step": 0.4, "appearance_save": 0.7,
        "motion_step": 1.2, "motion_save": 0.1, "appearance_score": 1.6, "motion_score": 2.2,
        "phrase": 0.05, "fixed": 0.8,
    },
}  # fmt: skip


def test_learning_is_the_sum_of_its_parts() -> None:
    recipe = load_recipe("personalize")
    parts = learning(MEASURED, recipe, frames=32, length=16, poor=True)
    assert parts == pytest.approx({
        "beginning and end": 0.8,
        "clip": 4 * 28 * 0.02,  # four are held out
        "regularization images": 40 * (0.05 + 10 * 0.03 + 0.01),
        "regularization clips": 3 * (0.3 + 10 * 0.25 + 16 * 0.01),
        "vae": 28 * 0.03 + 80 * 0.2 + 68 * 0.01,
        "synthetic backgrounds": 96 * (8 * 0.02 + 2 * 0.02 + 0.01)
        + 4 * (8 * 0.25 + 16 * (2 * 0.02 + 0.01)),
        "appearance search": appearance_search.TRIES * 0.05,
        "appearance": 240 * 0.4 + 3 * 0.7,
        "motion": 25 * 1.2 + 0.1,
        "scoring": (1 + 3) * 1.6 + (1 + 2) * 2.2,
    })  # fmt: skip
    easy = learning(MEASURED, recipe, frames=32, length=16, made=(True, True))
    off = replace(recipe, extras=replace(recipe.extras, checkpoint_selection=False))
    assert learning(MEASURED, off, 32, 16)["clip"] == pytest.approx(4 * 32 * 0.02)
    assert easy["regularization images"] == easy["regularization clips"] == 0
    assert easy["vae"] == pytest.approx(28 * 0.03)


def test_learning_is_linear_in_steps() -> None:
    recipe = load_recipe("personalize-tiny")
    seconds = []
    for steps in (100, 200, 300):
        stages = tuple(replace(stage, steps=steps, save_every=steps) for stage in recipe.stage)
        seconds.append(sum(learning(MEASURED, replace(recipe, stage=stages), 32, 16).values()))
    assert seconds[1] - seconds[0] == pytest.approx(100 * (0.4 + 1.2))
    assert seconds[2] - seconds[1] == pytest.approx(100 * (0.4 + 1.2))


def test_generation_goes_with_steps_and_windows() -> None:
    one = generating(MEASURED, frames=16, steps=25, length=16)
    assert one["steps"] == pytest.approx(25 * 0.4)
    assert generating(MEASURED, 16, 50, 16)["steps"] == pytest.approx(2 * one["steps"])
    assert generating(MEASURED, 8, 25, 16)["steps"] == pytest.approx(one["steps"] / 2)
    assert generating(MEASURED, 28, 25, 16)["steps"] == pytest.approx(2 * one["steps"])
    assert generating(MEASURED, 32, 25, 16)["pictures"] == pytest.approx(0.32)


def test_recipes_of_other_lengths_are_measured_once() -> None:
    recipe = load_recipe("personalize")
    longer = replace(recipe, stage=tuple(replace(stage, steps=900) for stage in recipe.stage))
    assert shortened(recipe) == shortened(longer)
    assert {stage.steps for stage in shortened(recipe).stage} == {STEPS}
    larger = replace(recipe, stage=tuple(replace(stage, batch=9) for stage in recipe.stage))
    assert shortened(recipe) != shortened(larger)


def test_another_process_loads_and_prepares_first() -> None:
    prepared = Prepared(seconds=6.0, held=0.75, peak=1.1)
    whole = estimate(MEASURED, (1.5, 1.7), {"appearance": 100.0}, prepared, [1.0])
    assert whole.seconds == pytest.approx(111.5)
    assert whole.least == pytest.approx((111.5, 1.5))
    assert whole.memory == 1.7


def test_time_measured_beside_other_programs_is_a_range() -> None:
    measured = {**MEASURED, "busy": 0.5}
    begun = time.monotonic() - 10
    found = estimate(measured, (1.4, 1.4), {"appearance": 100.0}, begun, [1.0])
    assert found.least is not None
    assert found.seconds == pytest.approx(110, abs=1)
    assert found.least[0] == pytest.approx(60, abs=1)  # what is so far stays
    assert in_words(found) == "1 min 0 s to 1 min 50 s and 1.4 GB"


def test_finished_runs_correct_the_next_estimate(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    base, begun, parts = load_base(tiny_base), time.monotonic() - 10, {"appearance": 100.0}

    def spoken() -> str:
        found = estimate(MEASURED, (1.4, 1.4), parts, begun, history.ratios(base, None))
        return in_words(found).partition(" and ")[0]

    assert spoken() == "1 min 0 s to 1 min 50 s"  # nothing ran yet
    told = estimate(MEASURED, (1.4, 1.4), parts, begun, history.FIRST)
    history.add(base, None, told, took=60)
    assert spoken() == "46 s to 1 min 20 s"
    history.add(base, None, told, took=85)
    assert spoken() == "1 min 0 s to 1 min 25 s"
    for _ in range(history.KEPT):
        history.add(base, None, told, took=110)
    assert spoken() == "1 min 50 s"
    history.add(base, None, None, took=1)
    assert spoken() == "1 min 50 s"


def test_what_a_process_needs(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    peaks = {"a": memory.Peak(1.0, 0.5), "b": memory.Peak(0.2, 0.3, saving=0.6)}
    least, most = memory.needed(base, peaks, 0.7)
    assert least == pytest.approx(0.7 + memory.LIBRARIES + 0.6)
    assert most == pytest.approx(0.7 + memory.LIBRARIES + memory.ALLOCATOR * 0.6)


def test_memory_that_does_not_fit_is_unusable() -> None:
    assert fits(1.4, room=8.0) == []
    assert [finding.level for finding in fits(7.5, room=8.0)] == ["warning"]
    (finding,) = fits(30.0, room=8.0)
    assert finding.level == "unusable"
    assert "30.0 GB are needed, 8.0 GB are free; take a smaller batch" in finding.text
    assert memory_now() < free_memory()
    assert fits(1e4)[0].level == "unusable"
    (finding,) = fits(9.0, room=8.0, least=7.0)  # it may fit
    assert finding.level == "warning"
    assert finding.text.startswith("7.0 to 9.0 GB are needed")


def test_words() -> None:
    assert [clock(seconds) for seconds in (8.4, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 5 min"]
    assert in_words(Estimate(200, 1.44, {})) == "3 min 20 s and 1.4 GB"
    assert in_words(Estimate(200, 23.7, {})) == "3 min 20 s and 24 GB"
    assert in_words(Estimate(1.4, 1.44, {}, (0.6, 1.44))) == "1 s and 1.4 GB"


def test_waiting_for_a_processor_is_noticed() -> None:
    assert busy((0, 0), (9, 1)) == pytest.approx(0.1)
    assert busy((5, 5), (9, 9)) == pytest.approx(0.5)
    assert busy((0, 0), (0, 0)) == 0  # a system that does not say
    before = scheduled()
    sum(range(10**6))
    if Path("/proc/self/schedstat").is_file():
        assert scheduled()[0] > before[0]


def test_the_profiling_run_learns_adapters_where_the_recipe_does(
    tiny_base: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("personalize-tiny")
    stages = tuple(replace(stage, lora_rank=2) for stage in recipe.stage)
    with chdir(tmp_path):
        measured = learn(load_base(tiny_base), shortened(replace(recipe, stage=stages)))
        kept = load_file(tmp_path / "personal.safetensors")
    assert any(name.endswith(".lora_A.weight") for name in kept)
    assert {"unet.conv_in.weight"}.isdisjoint(kept)
    for stage in recipe.stage:
        assert measured[f"{stage.name}_step"] > 0 and measured[f"{stage.name}_save"] > 0
    assert measured["background_step"] > 0


def test_the_memory_of_a_run_is_estimated_within_15_percent(
    tiny_base: Path, tmp_path: Path
) -> None:
    """In processes of their own, as the peak is that of a process."""
    clip, base = str(EXAMPLES / "reference.mp4"), ["--base", str(tiny_base)]

    def aa(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "animateanywhere", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    pose = str(EXAMPLES / "driving.mp4")
    said = json.loads(aa("check", clip, "--pose", pose, *base, "--json"))["prediction"]
    aa("personalize", clip, "--token", "sks", *base)
    aa("generate", "sks person", "--pose", pose, "--out", "runs/a.mp4")
    for command, record in (
        ("personalize", "runs/sks/estimate.json"), ("generate", "runs/a.estimate.json"),
    ):  # fmt: skip
        kept = json.loads((tmp_path / record).read_text())
        took = kept["took"]["memory"]
        assert said[command]["memory_gb"] == pytest.approx(took, rel=0.15)
        assert kept["memory"] == pytest.approx(took, rel=0.15)  # at the head of the command


def test_nothing_is_measured_where_a_second_base_does_not_fit(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    base = load_base(tiny_base)
    assert measure.room_for_another(base)
    size = sum(p.nbytes for n in ("unet", "vae") for p in base.parts[n].parameters())
    little = SimpleNamespace(available=size)
    monkeypatch.setattr(measure.psutil, "virtual_memory", lambda: little)
    assert not measure.room_for_another(base)
    monkeypatch.undo()
    monkeypatch.setattr(predict, "room_for_another", lambda base: False)
    monkeypatch.setattr(
        "animateanywhere.methods.animate_anywhere.cost.cache.CACHE", tiny_base / "none"
    )
    monkeypatch.setattr(sys, "executable", shutil.which("false"))  # would fail, were it run
    assert estimate_generation(base, 16, 25, Prepared(0, memory_now(), 0)) == (None, [])
    assert "not estimated" in capsys.readouterr().err


def test_a_failed_measurement_stops_a_check_and_not_the_work(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    base = load_base(tiny_base)
    monkeypatch.setattr(
        "animateanywhere.methods.animate_anywhere.cost.cache.CACHE", tiny_base / "none"
    )
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(predict, "WORTH", 0.0)
    monkeypatch.setattr(predict, "BRIEF", 0.0)
    assert estimate_generation(base, 16, 25, time.monotonic()) == (None, [])
    assert "not estimated" in capsys.readouterr().err
    with pytest.raises(Failure, match="profiling run failed"):
        estimate_generation(base, 16, 25, Prepared(0, memory_now(), 0))


def test_what_does_not_fit_is_found_without_a_profiling_run(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(tiny_base)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))  # would fail, were it run
    start = time.monotonic()
    monkeypatch.setattr(predict, "BRIEF", 1e9)  # over before it is known
    assert estimate_generation(base, 16, 25, start) == (None, [])
    assert not (place / "runs").exists()
    monkeypatch.setattr(predict, "BRIEF", 0.0)
    monkeypatch.setattr(predict, "WORTH", 1e9)
    monkeypatch.setattr("animateanywhere.core.estimate.free_memory", lambda: 0.1)
    nothing, (finding,) = estimate_generation(base, 16, 25, start)
    assert nothing is None
    assert finding.level == "unusable" and "0.1 GB are free" in finding.text
    # Found once
    monkeypatch.setattr(memory, "generating_peaks", None)
    assert estimate_generation(base, 16, 25, start) == (None, [finding])


def test_frames_too_large_for_the_memory_are_refused_before_any_is_made(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("animateanywhere.core.estimate.free_memory", lambda: 1.0)
    base = load_base(tiny_base).at(square(2048))
    tried = []
    seen = base.denoiser.conv_in.register_forward_pre_hook(
        lambda _, given: tried.append(tuple(given[0].shape[-2:]))
    )
    before = memory_now()
    nothing, (finding,) = estimate_generation(base, 16, 25, time.monotonic())
    seen.remove()
    assert nothing is None and finding.level == "unusable"
    assert set(tried) == {(8, 8)} and memory_now() - before < 1
