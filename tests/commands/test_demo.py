"""The demo's cases, its examples, its resuming and its measures; `aa demo --fast` itself is run by
`.ci/run`, since it needs the bundled base."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.backbones.base import BUNDLED
from animateanywhere.commands import demo, demo_cast, demo_parts, demo_swap
from animateanywhere.evaluation.perception import load_perception
from animateanywhere.evaluation.truth import compare, mean, measure
from animateanywhere.media import video
from animateanywhere.pose import skeleton, skeleton_video
from animateanywhere.puppets import is_held_out, render, sample_spec

DETECTOR = BUNDLED / "perception"


def test_every_case_shows_the_same_unseen_person() -> None:
    specs = [demo.stage_spec(motion, scene, thing) for _, motion, scene, thing in demo.CASES]
    assert all(is_held_out(spec.identity) for spec in specs)
    assert len({spec.identity for spec in specs}) == 1
    reference = demo.reference_spec()
    new_scene, new_motion, both = specs
    assert new_scene.scene.name != reference.scene.name
    assert new_scene.motion == reference.motion
    assert new_motion.motion != reference.motion
    assert both.object.name != "none"
    assert both.scene.name != reference.scene.name


def test_the_examples_are_what_the_puppets_draw() -> None:
    """After a change of the puppets: make them anew with `demo.make_examples()`."""
    truth = render(demo.reference_spec(), frames=32, size=demo.SIZE, fps=demo.FPS)
    poses = skeleton.read_poses(demo.EXAMPLES / "reference.poses.json")
    clip = video.read(demo.EXAMPLES / "reference.mp4")
    assert np.allclose(poses.keypoints, truth.keypoints, atol=0.01)
    assert clip.fps == poses.fps == demo.FPS
    assert np.abs(clip.frames.astype(float) - truth.frames).mean() < 5  # H.264
    kind = skeleton_video.recognize(video.read(demo.EXAMPLES / "driving.mp4").frames)
    assert kind == "openpose18"


def test_a_stage_is_done_once_and_again_for_another_base(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> Path:
        made.append("x")
        path = tmp_path / "a" / "video.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_text("video")
        return path

    first, second = {"base": "1", "fast": True}, {"base": "2", "fast": True}
    for _ in range(2):
        assert demo._stage(tmp_path, first, "one", make).read_text() == "video"
    assert len(made) == 1
    (tmp_path / "a" / "video.mp4").unlink()
    demo._stage(tmp_path, first, "one", make)
    demo._stage(tmp_path, second, "one", make)
    assert len(made) == 3
    assert list(demo._record(tmp_path, second)["stages"]) == ["one"]


def test_mean_takes_the_cases_that_have_a_number() -> None:
    cases = [{"leak": 0.5, "pck": 1.0, "prompt": "a man"}, {"pck": 0.5, "delta_e_parts": {}}]
    assert mean(cases) == {"leak": 0.5, "pck": 0.75}


def test_measures_tell_the_truth_from_a_copy_of_the_reference_and_from_another_person() -> None:
    net = load_perception(DETECTOR)
    spec = demo.stage_spec("raise", "mountains", "none", layout=11)
    reference = render(demo.reference_spec(), frames=4, size=demo.SIZE)
    truth = render(spec, frames=4, size=demo.SIZE, start=1.0)
    stranger = replace(spec, identity=sample_spec(3, "train").identity)
    scores = {
        "truth": measure(net, truth.frames, truth, reference),
        "stranger": measure(
            net, render(stranger, 4, demo.SIZE, start=1.0).frames, truth, reference
        ),
        "reference": measure(net, reference.frames, truth, reference),
    }
    assert scores["truth"]["person_delta_e"] < 1
    assert scores["truth"]["leak"] < 0.15
    assert scores["truth"]["pck"] > 0.9
    assert scores["truth"]["scene_accuracy"] == 1
    assert scores["stranger"]["person_delta_e"] > 5
    assert scores["stranger"]["pck"] > 0.8
    assert scores["reference"]["leak"] > 0.9
    assert scores["reference"]["scene_accuracy"] == 0
    assert scores["reference"]["pck"] < scores["truth"]["pck"]
    assert compare(net, truth.frames, truth)["silhouette_iou"] > 0.85


def test_the_whole_demo_on_a_tiny_base_and_again(
    tiny_base: Path, tiny_swap: Path, tiny_cast: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tiny = {"base": str(tiny_base), "swap_base": str(tiny_swap), "cast_base": str(tiny_cast)}
    out = demo.demo(tmp_path / "demo", fast=True, **tiny)
    report = json.loads((out / "report.json").read_text())
    assert set(report["results"]) == {"personalized", "words_only"}
    wanted = {
        *(
            "pck",
            "pck_either_side",
            "silhouette_iou",
            "person_psnr",
            "person_ssim",
            "person_delta_e",
        ),
        *("scene_accuracy", "scene_delta_e", "leak", "dynamic_degree", "flicker", "object_present"),
    }
    assert all(set(result) == wanted for result in report["results"].values())
    name = demo.CASES[-1][0]
    stages = {"personalize", f"{name}, personalized", f"{name}, words_only"}
    assert set(report["seconds"]) == stages | {"swap", "cast", "total"}
    truth = report["cases"][0]["true_render"]
    assert truth["pck"] >= max(result["pck"] for result in report["results"].values())
    assert Image.open(out / "contact_sheet.png").height > 5 * 160
    assert len(list(out.glob("*/*ized.mp4"))) == 1
    swapped, before = report["swap"]["swap"], report["swap"]["scene"]
    assert before["nearer_to_old"] == 1
    assert swapped["person_delta_e"] != before["person_delta_e"]
    made, scene = (video.read(out / "swap" / name).frames for name in ("swap.mp4", "scene.mp4"))
    assert made.shape == scene.shape
    assert Image.open(out / "swap" / "contact_sheet.png").height > 3 * 100
    assert report["cast"]["person_delta_e"] > 0
    assert video.read(out / "cast" / "cast.mp4").frames.shape[0] == 4
    assert Image.open(out / "cast" / "picture.png").width == demo_parts.PICTURE

    def never(*given: object) -> None:
        raise AssertionError("what is there was made again")

    monkeypatch.setattr(demo, "personalize", never)
    monkeypatch.setattr(demo, "generate", never)
    monkeypatch.setattr(demo_swap, "swap", never)
    monkeypatch.setattr(demo_cast, "cast", never)
    demo.demo(out, fast=True, **tiny)
    assert json.loads((out / "report.json").read_text()) == report
