"""`aa check` as a user runs it, on the test base."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.cli import main
from animateanywhere.commands.check import check
from animateanywhere.commands.check_report import FOLDER, Report, show, to_json
from animateanywhere.core.device import peak_memory
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate
from animateanywhere.core.findings import Finding, read_findings, refuse, verdict, write_findings
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.media import video, xmp
from animateanywhere.media.provenance import GENERATED
from animateanywhere.media.source import Part
from animateanywhere.pose import skeleton
from tests.pose.test_skeleton import pose as standing
from tests.preprocessing.test_detectors import failing

CLIP, POSE = EXAMPLES / "reference.mp4", EXAMPLES / "driving.mp4"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A folder in which `aa check` ran once, so that the machine is measured."""
    place, before = tmp_path_factory.mktemp("measured"), Path.cwd()
    (place / "runs").mkdir()
    os.chdir(place)
    try:
        assert main.main(["check", str(CLIP), "--base", str(tiny_base)]) == 0
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def place(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(measured / "runs" / "predictions", tmp_path / "runs" / "predictions")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def beside(clip: Path, change: Callable[[np.ndarray], None] | None = None) -> Path:
    """The reference with its exact poses and masks, copied; `change` of the keypoints."""
    for kind in (".mp4", ".masks.mp4", ".poses.json"):
        shutil.copy(CLIP.with_suffix(kind), clip.with_suffix(kind))
    if change is not None:
        poses = skeleton.read_poses(clip.with_suffix(".poses.json"))
        change(poses.keypoints)
        skeleton.write_poses(clip.with_suffix(".poses.json"), poses)
    return clip


def test_json_is_all_that_comes_on_stdout(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", str(CLIP), "--pose", str(POSE), "--base", str(tiny_base), "--json"]
    assert main.main(arguments) == 0
    out = capsys.readouterr().out
    report = json.loads(out)
    assert out.count("\n") == 1
    assert report["verdict"] == "ready"
    assert {row["level"] for row in report["findings"]} == {"note"}
    assert {row["file"] for row in report["findings"]} <= {"reference.mp4", "driving.mp4"}
    for command in ("personalize", "generate"):
        said = report["prediction"][command]
        # The estimate is never less than what the process of the tests took before
        assert 0.2 < said["memory_gb_at_least"] <= said["memory_gb"] < max(5, peak_memory() + 2)
        assert said["seconds"] == pytest.approx(sum(said["parts"].values()), abs=0.2)
        assert said["seconds_at_least"] <= said["seconds"]
    subject = FOLDER / "reference" / "subject"
    assert (subject / "contact.png").is_file()
    assert len(read_findings(subject)) >= 1


def test_what_it_says_to_people(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", str(CLIP), "--pose", str(POSE), "--base", str(tiny_base)]
    assert main.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "ready"
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "note views front" in text
    assert "aa personalize: about" in text
    assert "aa generate: about" in text


def test_a_clip_that_cannot_be_used(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video.write(place / "short.mp4", video.read(CLIP).frames[:5], 8)
    assert main.main(["check", "short.mp4", "--base", str(tiny_base), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "unusable"
    assert report["prediction"] == {}
    (row,) = report["findings"]
    assert (row["file"], row["level"], row["what"]) == ("short.mp4", "unusable", "file")
    assert row["text"].startswith("too short: 5 different frames")
    assert main.main(["check", "short.mp4", "--base", str(tiny_base)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "unusable"


def test_the_persons_to_choose_from_are_shown(tiny_base: Path, place: Path) -> None:
    clip, out = failing("two_dancers.mp4"), place / "subject"
    report = check(clip, base=str(tiny_base), out=out, part=Part(0, 8))
    assert "choose one with --person N" in report.findings[clip.name][0].text
    shown = report.files["persons of the clip"]
    assert video.read(shown).frames.shape[0] == 1
    report = check(beside(place / "a.mp4"), base=str(tiny_base), out=out, part=Part(0, 8))
    assert "persons of the clip" not in report.files and not shown.exists()


def test_a_motion_that_cannot_be_used(tiny_base: Path, place: Path) -> None:
    keypoints = np.zeros((8, 18, 3), np.float32)
    skeleton.write_poses(place / "nobody.json", skeleton.Poses(keypoints, 64, 64, 8.0))
    report = check(CLIP, place / "nobody.json", base=str(tiny_base))
    assert report.verdict == "unusable"
    assert report.findings["nobody.json"][0].text.startswith("no keypoint in it")
    assert "personalize" in report.estimates  # the clip is as good as before


def test_a_motion_that_is_cut_at_the_hips(tiny_base: Path, place: Path) -> None:
    keypoints = standing(8)
    keypoints[:, [9, 10, 12, 13], 2] = 0
    skeleton.write_poses(place / "bust.json", skeleton.Poses(keypoints, 64, 64, 8.0))
    report = check(CLIP, place / "bust.json", base=str(tiny_base))
    texts = [finding.text for finding in report.findings["bust.json"]]
    assert any("the motion shows nobody below the hips" in text for text in texts)


def test_a_motion_with_unseen_legs(tiny_base: Path, place: Path) -> None:
    def sits(keypoints: np.ndarray) -> None:
        keypoints[:, [9, 10, 12, 13], 2] = 0

    report = check(beside(place / "upper.mp4", sits), POSE, base=str(tiny_base))
    assert report.verdict == "usable with warnings"
    assert [f.what for f in report.findings["upper.mp4"] if f.level == "warning"] == ["parts"]
    warnings = [f for f in report.findings["driving.mp4"] if f.level == "warning"]
    assert [finding.what for finding in warnings] == ["unseen parts"]
    assert "legs and feet" in warnings[0].text


def test_wrong_use_is_no_verdict(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["check", str(CLIP), "--base", "nowhere"]) == 2
    assert "no base nowhere" in capsys.readouterr().err
    command = ["check", str(CLIP), "--base", str(tiny_base), "--pose-backend", "guess"]
    assert main.main(command) == 2
    assert "choose one of auto, exact" in capsys.readouterr().err


def test_personalize_stops_at_the_unusable(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = beside(place / "film.mp4")
    frames = video.read(clip).frames
    for start in (8, 20):  # another shot, twice
        frames[start : start + 6] = 255 - frames[start : start + 6]
    video.write(clip, frames, 8)
    assert main.main(["personalize", str(clip), "--token", "sks", "--base", str(tiny_base)]) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("aa: film.mp4: unusable: cut at 1.0 s")
    assert err.count("cut at") == 1
    assert not Path("runs/sks/training").exists()


def test_personalize_says_before_and_after(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_feet(keypoints: np.ndarray) -> None:
        keypoints[:, [10, 13], 2] = 0

    beside(place / "a.mp4", no_feet)
    command = ["personalize", "a.mp4", "--token", "sks", "--base", str(tiny_base)]
    assert main.main([*command, "--class-word", "man"]) == 0
    err = capsys.readouterr().err
    assert err.count("the person's feet not visible") == 1
    assert err.index("learning takes about") < err.index("; estimated ")
    record = json.loads(Path("runs/sks/estimate.json").read_text())
    assert record["took"]["seconds"] > 0
    assert {"appearance", "motion"} <= record["parts"].keys()


def test_generate_says_before_and_after(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keypoints = standing(8)
    keypoints[..., 0] += 8 * np.arange(8)[:, None]
    skeleton.write_poses(place / "goes.json", skeleton.Poses(keypoints, 128, 128, 8.0))
    command = ["generate", "a man", "--pose", "goes.json", "--base", str(tiny_base)]
    assert main.main([*command, "--steps", "2", "--out", "a.mp4"]) == 0
    err = capsys.readouterr().err
    assert err.count("goes.json: the motion leaves by the right edge in frames") == 1
    assert err.index("generation takes about") < err.index("; estimated ")
    assert json.loads(Path("a.estimate.json").read_text())["took"]["memory"] > 0


def test_a_skeleton_in_foreign_colors(tiny_base: Path, place: Path) -> None:
    bars = np.zeros((4, 128, 128, 3), np.uint8)
    bars[:, 20:100, 40:44], bars[:, 20:100, 80:84] = (255, 153, 51), (0, 255, 0)
    video.write(place / "foreign.mp4", bars, 8)
    report = check(CLIP, place / "foreign.mp4", base=str(tiny_base))
    assert report.findings["foreign.mp4"][0].text.startswith("a skeleton in colors other than")
    assert report.verdict == "usable with warnings"


def test_findings_are_kept_and_judged(tmp_path: Path) -> None:
    note, warning = Finding("note", "a", "b"), Finding("warning", "é", 'say "c"')
    worst = Finding("unusable", "d", "no")
    for some, word in (
        ([], "ready"), ([note], "ready"), ([note, warning], "usable with warnings"),
        ([warning, worst], "unusable"),
    ):  # fmt: skip
        assert verdict(some) == word
        write_findings(tmp_path, some)
        assert read_findings(tmp_path) == some
    refuse("clip", [note, warning])
    with pytest.raises(UsageError, match="clip: unusable: no"):
        refuse("clip", [warning, worst])
    assert read_findings(tmp_path / "nothing") == []


def test_brackets_in_names_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("warning", "cut", "[bold]cut")
    estimates = {"personalize": Estimate(200.0, 1.44, {"appearance": 130.2, "motion": 0.1})}
    report = Report("usable with warnings", {"[red].mp4": [finding], "b.mp4": []}, estimates)
    show(report)
    out = capsys.readouterr().out
    assert "[red].mp4" in out
    assert "[bold]cut" in out
    assert "about 3 min 20 s and 1.4 GB on this machine (appearance 130 s)" in " ".join(out.split())
    assert json.loads(to_json(report))["prediction"]["personalize"]["memory_gb"] == 1.44


def test_a_clip_that_says_it_was_generated_gets_a_note(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = beside(place / "made.mp4")
    xmp.add(clip, GENERATED.packet)
    assert main.main(["check", str(clip), "--base", str(tiny_base), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    (note,) = [one for one in found if one["what"] == "provenance"]
    assert note["level"] == "note" and note["file"] == "made.mp4"
    assert "generated by AnimateAnywhere" in note["text"]
