"""The chosen step: known orders of scores, frames that training never sees, stop and resume."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from animateanywhere import puppets
from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.personal_weights import read_metadata
from animateanywhere.commands import personalize as module
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import checkpoint_selection
from animateanywhere.methods.animate_anywhere import personal_stages as stages
from animateanywhere.methods.animate_anywhere.checkpoint_selection import best, enough
from animateanywhere.methods.animate_anywhere.settings import Recipe, load_recipe
from animateanywhere.methods.animate_anywhere.validation import (
    Case,
    Validation,
    held_out,
    learned_part,
    make_validations,
    person_error,
    score,
)

SCENES = ("room", "beach", "forest")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def short(**changes: object) -> Recipe:
    recipe = load_recipe("personalize-tiny")
    return replace(recipe, extras=replace(recipe.extras, placements=1, **changes))


def learn(base: Path, out: Path, recipe: Recipe | None = None) -> Path:
    return personalize(
        EXAMPLES / "reference.mp4",
        "sks",
        PersonalizeOptions(
            class_word="man", base=str(base), out=out, scene="in a room", recipe=recipe or short()
        ),
    )


# --- scores ---------------------------------------------------------------------------------------


def person(seed: int, scene: str) -> puppets.Clip:
    """Another identity and scene for each seed and scene, in the same poses."""
    spec = puppets.sample_spec(7)
    spec = replace(
        spec,
        identity=puppets.sample_spec(seed).identity,
        scene=replace(spec.scene, name=scene, seed=3),
        object=replace(spec.object, name="none"),
        camera=replace(spec.camera, scale=0.74, ground=0.92, x=0.0, pan=0.0),
    )
    return puppets.render(spec, frames=2, size=96, start=0.5)


@pytest.fixture(scope="module")
def clips() -> dict[tuple[int, str], puppets.Clip]:
    return {(who, scene): person(who, scene) for who in (7, 20, 31) for scene in SCENES}


@pytest.fixture(scope="module")
def validation(clips: dict[tuple[int, str], puppets.Clip]) -> Validation:
    """Person 7, filmed in a room; the untouched base draws person 20."""
    cases = []
    for scene in SCENES:
        masks = clips[7, scene].masks / np.float32(255)
        cases.append(Case("", "", scene != "room", torch.zeros(2), clips[7, "room"].frames, masks,
                          np.ones(2, bool)))  # fmt: skip
    room = clips[7, "room"]
    made = tuple(clips[20, scene].frames for scene in SCENES)
    return Validation(tuple(cases), made, room.frames, room.masks / np.float32(255))


def made_of(clips: dict[tuple[int, str], puppets.Clip], who: int) -> list[np.ndarray]:
    return [clips[who, scene].frames for scene in SCENES]


def test_the_base_itself_is_one(
    clips: dict[tuple[int, str], puppets.Clip], validation: Validation
) -> None:
    found = score(validation, made_of(clips, 20))
    assert found["identity"] == pytest.approx(1) and found["scene"] == found["leak"] == 0
    assert found["score"] == pytest.approx(1)


def test_the_true_person_is_better_than_another(
    clips: dict[tuple[int, str], puppets.Clip], validation: Validation
) -> None:
    true, other = score(validation, made_of(clips, 7)), score(validation, made_of(clips, 31))
    assert true["identity"] < 0.5 < other["identity"]
    assert true["score"] < min(other["score"], 1)
    filmed = replace(validation.cases[0], masks=clips[7, "room"].masks)
    assert person_error(filmed, clips[7, "room"].frames) == 0


def test_the_filmed_scene_pasted_behind_is_worse(
    clips: dict[tuple[int, str], puppets.Clip], validation: Validation
) -> None:
    true = score(validation, made_of(clips, 7))
    pasted = score(validation, [clips[7, "room"].frames] * 3)
    assert true["leak"] < 0.1 and pasted["leak"] > 0.9
    assert true["scene"] < 0.3 < pasted["scene"]
    assert pasted["score"] > true["score"] + 1
    gray = [np.where(clips[7, s].masks[..., None] > 127, clips[7, s].frames, 128) for s in SCENES]
    assert score(validation, gray)["scene"] > 2 * true["scene"]


def test_what_fills_the_frame_is_scored_by_the_person_alone(
    clips: dict[tuple[int, str], puppets.Clip], validation: Validation
) -> None:
    near = tuple(replace(case, masks=np.ones_like(case.masks)) for case in validation.cases)
    found = score(replace(validation, cases=near), made_of(clips, 7))
    assert np.isnan(found["leak"]) and found["score"] == found["identity"]
    nobody = tuple(replace(case, masks=0 * case.masks) for case in validation.cases)
    assert np.isnan(score(replace(validation, cases=nobody), made_of(clips, 7))["score"])


def rows(*scores: float | None) -> list[checkpoint_selection.Score]:
    return [{"stage": "a", "step": n, "score": value} for n, value in enumerate(scores)]


def test_best_and_enough() -> None:
    assert best(rows(3.0, 1.0, 2.0))["step"] == 1
    assert best(rows(1.0, None, 1.0))["step"] == 2  # of equals the last
    assert best(rows(1.1, 1.0, 1.04, 1.06))["step"] == 2  # as good, and later
    assert best(rows(None, None))["step"] == 1
    assert [enough(rows(3.0, 1.0, 2.0, 1.5)[:n], 2) for n in (1, 2, 3, 4)] == [False] * 3 + [True]
    assert not enough(rows(1.0, 2.0, 3.0), 0)
    assert not enough(rows(None, None, None), 1)


# --- frames held out ------------------------------------------------------------------------------


def test_both_ends_are_held_out() -> None:
    assert held_out(11) == []
    assert held_out(12) == [0, 11]
    assert held_out(32) == [0, 1, 30, 31]
    assert held_out(500) == [0, 1, 2, 3, 496, 497, 498, 499]
    frames = np.arange(32, dtype=np.uint8)[:, None, None, None]
    subject = Subject(Path(), frames, frames[..., 0], frames, [str(i) for i in range(32)], 8.0,
                      "man", None)  # fmt: skip
    kept = learned_part(subject)
    assert kept.frames.flatten().tolist() == list(range(2, 30))
    assert kept.captions == [str(i) for i in range(2, 30)] and len(kept.masks) == 28


def seen_through(change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another subject for `personalize`, as if it had been prepared so."""
    real = module.prepare
    monkeypatch.setattr(module, "prepare", lambda *a, **k: change(real(*a, **k)))  # type: ignore[operator]


def test_training_never_sees_the_frames_held_out(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(subject: Subject) -> Subject:
        frames = subject.frames.copy()
        frames[held_out(len(frames))] = 0
        return replace(subject, frames=frames)

    only = replace(short(), stage=short().stages("appearance"))
    learn(tiny_base, place / "a", only)
    seen_through(spoiled, monkeypatch)
    learn(tiny_base, place / "b", only)
    assert _checkpoint(place / "a") == _checkpoint(place / "b")
    scores = [json.loads((place / n / "scores.json").read_text()) for n in ("a", "b")]
    assert scores[0] != scores[1]


def test_scoring_changes_no_step_of_training(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(subject: Subject) -> Subject:  # none of which are held out
        return replace(
            subject, frames=subject.frames[:8], masks=subject.masks[:8],
            keypoints=subject.keypoints[:8], captions=subject.captions[:8],
        )  # fmt: skip

    seen_through(few, monkeypatch)
    on = learn(tiny_base, place / "on")
    off = learn(tiny_base, place / "off", short(checkpoint_selection=False))
    assert _checkpoint(place / "on") == _checkpoint(place / "off")
    assert not (place / "off" / "scores.json").exists() and "chosen" not in read_metadata(off)
    last = load_file(place / "off" / "training" / "motion" / "checkpoint.safetensors")
    name = next(n for n in last if n.startswith("model.unet") and "attn2" in n)
    saved = load_file(off)[name.removeprefix("model.")]
    assert torch.equal(saved, last[name].half())
    assert json.loads(read_metadata(on)["chosen"]).keys() == {"appearance", "motion"}


def _checkpoint(out: Path, stage: str = "appearance") -> bytes:
    return (out / "training" / stage / "checkpoint.safetensors").read_bytes()


# --- choosing -------------------------------------------------------------------------------------


def test_the_best_step_is_what_is_kept(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture
) -> None:
    path = learn(tiny_base, place / "run")
    record = json.loads((place / "run" / "scores.json").read_text())
    assert [(row["stage"], row["step"]) for row in record] == [
        ("appearance", 2), ("appearance", 4), ("motion", 0), ("motion", 2), ("motion", 4),
    ]  # fmt: skip
    assert all(row["score"] > 0 for row in record)
    chosen = json.loads(read_metadata(path)["chosen"])
    for stage, name in (("appearance", "conv_in.weight"), ("motion", None)):
        own = [row for row in record if row["stage"] == stage]
        assert chosen[stage] == best(own)["step"]
        kept = load_file(place / "run" / "training" / stage / checkpoint_selection.BEST)
        name = name or next(n for n in kept if "attn2" in n).removeprefix("unet.")
        assert torch.equal(load_file(path)[f"unet.{name}"], kept[f"unet.{name}"].half())
    with Image.open(place / "run" / "scores.png") as picture:
        assert picture.width > 2 * picture.height > 400
    assert "best of 2 scored: appearance step" in " ".join(capsys.readouterr().err.split())


def test_a_stage_ends_when_it_gets_no_better(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = short(patience=1)
    stage = replace(recipe.stages("appearance")[0], steps=30, save_every=1)
    recipe = replace(recipe, stage=(stage,))
    path = learn(tiny_base, place / "run", recipe)
    record = json.loads((place / "run" / "scores.json").read_text())
    assert len(record) < 30
    said = " ".join(capsys.readouterr().err.split())
    assert f"appearance: stopped at step {len(record)} of 30" in said
    assert json.loads(read_metadata(path)["chosen"]) == {"appearance": len(record) - 1}
    before = path.read_bytes()
    path.unlink()  # run again, a stopped stage does not go on
    assert learn(tiny_base, place / "run", recipe).read_bytes() == before
    assert json.loads((place / "run" / "scores.json").read_text()) == record


def test_a_run_stopped_anywhere_ends_the_same(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = replace(short(), stage=short().stages("appearance"))
    whole = learn(tiny_base, place / "whole", only)
    record = (place / "whole" / "scores.json").read_bytes()
    for owner, name, last in ((stages.method, "loss", 4), (checkpoint_selection, "score", 2)):
        # after step 3, which is not saved by itself; while step 4 is scored
        real, calls = getattr(owner, name), itertools.count(1)

        def stops(*given: object, real=real, calls=calls, last=last) -> object:  # type: ignore[no-untyped-def]
            if next(calls) == last:
                raise KeyboardInterrupt
            return real(*given)

        monkeypatch.setattr(owner, name, stops)
        with pytest.raises(KeyboardInterrupt):
            learn(tiny_base, place / name, only)
        assert len(json.loads((place / name / "scores.json").read_text())) == 1
        monkeypatch.setattr(owner, name, real)
        assert learn(tiny_base, place / name, only).read_bytes() == whole.read_bytes()
        assert (place / name / "scores.json").read_bytes() == record


def test_a_motion_stage_that_makes_it_worse_is_dropped(
    place: Path, capsys: pytest.CaptureFixture
) -> None:
    net = nn.Linear(2, 2)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    stage = load_recipe("personalize-tiny").stages("motion")[0]
    folder = place / "training" / "motion"
    folder.mkdir(parents=True)
    save_file(before, folder / checkpoint_selection.BEST)
    parts = {"identity": 0.5, "scene": 0.4, "leak": None}
    record = [{"stage": "motion", "step": 0, **parts, "score": 0.9},
              {"stage": "motion", "step": 4, **parts, "score": 1.2}]  # fmt: skip
    (place / checkpoint_selection.FILE).write_text(json.dumps(record))
    nn.init.ones_(net.weight)
    assert checkpoint_selection.restore(dict(net.named_parameters()), stage, place) == 0
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert "motion made it worse" in capsys.readouterr().err
    checkpoint_selection.plot(place)
    assert (place / checkpoint_selection.PICTURE).stat().st_size > 1000


def test_the_validation_names_other_scenes_and_the_base_draws_no_token(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    clip = puppets.render(puppets.sample_spec(3), frames=16, size=64)
    captions = ["a <token> man on a beach"] * 16
    subject = Subject(Path(), clip.frames, clip.masks / np.float32(255), clip.keypoints, captions,
                      8.0, "man", "on a beach")  # fmt: skip
    before = torch.random.get_rng_state()
    validations = make_validations(base, short(), subject, "sks")
    assert torch.equal(torch.random.get_rng_state(), before)
    validation = validations["appearance"]
    assert [case.prompt for case in validation.cases] == [
        "a sks man on a beach", "a sks man in a forest", "a sks man in the snow",
        "a sks man in a room", "a sks man on a street",
    ]  # fmt: skip
    assert all(case.plain == case.prompt.replace("sks ", "") for case in validation.cases)
    assert [len(made) for made in validation.base] == [2, 1, 1, 1, 1]
    assert [made.shape for made in validations["motion"].base] == [(4, 64, 64, 3)] * 3
    assert np.array_equal(validation.cases[0].frames, clip.frames[[0, -1]])
    assert not np.array_equal(validation.cases[1].frames, clip.frames[:1])  # moved
    assert all(case.held.any() for one in validations.values() for case in one.cases)
