"""`aa cast` from end to end, on a tiny base: what a picture shows is said, the same seed gives the
same bytes, and bad input ends in a line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.cli.main import main
from animateanywhere.commands import cast as command
from animateanywhere.media import video
from animateanywhere.preprocessing import character as character_of
from tests.commands.test_swap import write_character, write_pose
from tests.preprocessing.crowd import SIZE, Crowd, crowd, walker
from tests.preprocessing.test_character import LEGS

CUT_SHORT = b"\x89PNG\r\n\x1a\n" + bytes(40)
WALK = "the person walks on a beach"


@pytest.fixture(name="small", autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(character_of, "SIDE", 96)


@pytest.fixture(name="run")
def cast_run(place: Path, tiny_cast: Path) -> Callable[..., int]:
    """`aa cast a.png PROMPT` with more arguments."""

    def cast(*more: object, picture: str = "a.png", prompt: str = WALK) -> int:
        return main(["cast", picture, prompt, "--base", str(tiny_cast), *map(str, more)])

    write_character(place / "a.png")
    return cast


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, in one line."""
    return " ".join(capsys.readouterr().err.split())


def motion(place: Path, seed: int = 2, frames: int = 3) -> Path:
    """A driving motion."""
    path, keypoints = place / "walk.json", walker(seed, frames).keypoints
    table = {"format": "openpose18", "width": SIZE, "height": SIZE, "fps": 8.0}
    path.write_text(json.dumps(table | {"keypoints": keypoints.round(2).tolist()}))
    return path


def test_a_picture_and_a_sentence_become_a_video(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--seed", 7, "--contact-sheet", "sheet.png", "--appearance", "in red") == 0
    out = place / "runs/cast/the-person-walks-on-a-beach-7.mp4"
    text = said(capsys)
    assert 'prompt: "the person in red walks on a beach"' in text
    assert "base tiny-cast learned from rendered people alone" in text
    assert "generation takes about" in text and "estimated" in text
    assert f"wrote {out.name}" in text.replace("runs/cast/", "")
    assert video.read(out).frames.shape == (4, 64, 64, 3)  # as many as the base learned
    kept = np.asarray(Image.open(out.with_suffix(".reference.png")))
    assert kept.shape == (64, 64, 3) and (kept[0, 0] == 255).all()  # cut out, on white
    assert 0.02 < (kept < 200).any(-1).mean() < 0.6
    assert Image.open("sheet.png").width > 200
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["command"] == "cast" and about["prompt"] == WALK and about["frames"] == 4
    assert about["likeness"] == 2.5 and about["steps"] == 2 and about["motion"] is None
    assert about["appearance"] == "in red"
    assert about["pictures"][0]["file"] == "a.png"
    estimate = json.loads(out.with_suffix(".estimate.json").read_text())
    assert estimate
    before = {path.name: path.read_bytes() for path in out.parent.glob("*.mp4")}
    assert run("--seed", 7, "--appearance", "in red") == 0  # the same name, and the same bytes
    assert {path.name: path.read_bytes() for path in out.parent.glob("*.mp4")} == before
    assert run("--seed", 7, "--likeness", 1) == 0
    assert (out.parent / "the-person-walks-on-a-beach-7-2.mp4").is_file()


def test_pictures_are_checked_before(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_character(place / "a.png", hidden=LEGS)
    Image.new("RGB", (96, 96), (90, 120, 90)).save(place / "nobody.png")
    assert main(["check", "a.png", "--cast", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "usable with warnings"
    assert any("shows no legs" in row["text"] for row in report["findings"])
    kept = np.asarray(Image.open(report["files"]["cut-out"]))
    assert kept.shape == (96, 96, 3) and (kept[0, 0] == 255).all() and (kept < 200).any()
    assert main(["check", "a.png", "--cast", "--also", "nobody.png", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["findings"]
    assert [row["level"] for row in rows if row["file"] == "nobody.png"] == ["unusable"]
    assert main(["check", "a.png", "--cast", "--pose", "a.png"]) == 2
    assert main(["check", "a.png", "--also", "nobody.png"]) == 2
    capsys.readouterr()
    assert main(["check", "a.png", "--cast", "--start", "1"]) == 2
    assert "--start: not with --cast" in capsys.readouterr().err


def test_another_picture_prompt_or_seed_is_another_video(
    run: Callable[..., int], place: Path
) -> None:
    write_character(place / "b.png", seed=9)
    out = place / "out.mp4"
    made = []
    for given in (
        {}, {"picture": "b.png"}, {"prompt": "the person waves in a forest"}, {"seed": 1}
    ):  # fmt: skip
        more = ["--seed", given.pop("seed")] if "seed" in given else []
        assert run("--out", out, "--frames", 2, *more, **given) == 0
        made.append(video.read(out).frames.copy())
    for other in made[1:]:
        assert np.abs(other.astype(int) - made[0]).max() > 3


def test_a_motion_is_followed_with_the_pictures_proportions_and_its_length(
    run: Callable[..., int], place: Path
) -> None:
    pose = motion(place)
    assert run("--pose", pose, "--out", "a.mp4", "--contact-sheet", "sheet.png") == 0
    assert video.read(place / "a.mp4").frames.shape[0] == 3  # though a patch has two frames
    about = json.loads((place / "a.json").read_text())
    assert about["motion"]["file"] == "walk.json" and about["motion"]["kind"] == "poses.json"
    digest = about["motion"]["sha256"]
    other = walker(9, 1)  # another body, in the same motion
    wide = other.keypoints[0].copy()
    wide[[2, 3, 4], 0] -= 20
    wide[[5, 6, 7], 0] += 20
    write_pose(place / "a.png", wide[None])
    assert run("--pose", pose, "--out", "b.mp4", "--frames", 2) == 0
    about = json.loads((place / "b.json").read_text())
    assert about["frames"] == 2 and about["motion"]["sha256"] != digest


def test_long_videos_are_made_in_windows(run: Callable[..., int], place: Path) -> None:
    assert run("--frames", 9, "--out", "long.mp4") == 0
    assert video.read(place / "long.mp4").frames.shape[0] == 9


def test_several_pictures_of_one_person_are_seen_and_another_is_told(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_character(place / "b.png", seed=11)
    assert run("--also", "b.png", "--also", "a.png", "--out", "x.mp4", "--frames", 2) == 0
    text = said(capsys)
    assert "b.png: other colors than in a.png (CIEDE2000 " in text
    kept = np.asarray(Image.open(place / "x.reference.png"))
    assert kept.shape == (64, 2 * 64, 3)  # the second is the first again, and counts once
    assert run(*["--also", "b.png"] * 4) == 2
    assert "--also: at most 3 further pictures" in said(capsys)


def test_what_a_picture_does_not_show_is_said(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pose = walker(4, 1).keypoints
    write_pose(place / "a.png", pose, hidden=LEGS)
    assert run("--out", "x.mp4", "--frames", 2) == 0
    assert "a.png: shows no legs: they are made up" in said(capsys)
    behind = pose.copy()
    behind[:, [2, 3, 4, 8, 9, 10]], behind[:, [5, 6, 7, 11, 12, 13]] = (
        pose[:, [5, 6, 7, 11, 12, 13]], pose[:, [2, 3, 4, 8, 9, 10]],
    )  # fmt: skip
    write_pose(place / "a.png", behind)
    assert run("--out", "x.mp4", "--frames", 2) == 0
    assert "seen from behind: the face is made up" in said(capsys)


def test_a_picture_is_taken_whole_without_looking_for_anybody(
    run: Callable[..., int], place: Path
) -> None:
    ramp = np.tile(np.linspace(0, 255, 80, dtype=np.uint8)[None, :, None], (40, 1, 3))
    Image.fromarray(ramp).save(place / "wall.png")
    assert run("--whole", "--out", "x.mp4", "--frames", 2, picture="wall.png") == 0
    kept = np.asarray(Image.open(place / "x.reference.png"))
    assert (kept[:10] == 255).all() and (kept[-10:] == 255).all()  # not square: on white
    assert kept[32, 2].max() < 30 and kept[32, -3].min() > 225


@pytest.mark.parametrize("kind", ["CMYK", "L", "P", "I;16", "LA"])
def test_pictures_of_every_kind_are_read(run: Callable[..., int], place: Path, kind: str) -> None:
    """With the mask and pose of the person beside them."""
    clip = walker(4, 1)
    name = "k.tif" if kind == "CMYK" else "k.png"
    picture = Image.fromarray(clip.frames[0])
    if kind == "I;16":
        gray = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        picture = Image.fromarray(gray)
    else:
        picture = picture.convert(kind)
    picture.save(place / name)
    Image.fromarray(clip.masks[0]).save(place / "k.mask.png")
    write_pose(place / name, clip.keypoints[:1])
    assert run("--out", "x.mp4", "--frames", 1, picture=name) == 0
    kept = np.asarray(Image.open(place / "x.reference.png"))
    assert (kept[0, 0] == 255).all() and 0.02 < (kept < 200).any(-1).mean() < 0.6


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt has no words"),
        (" , ", "the prompt has no words"),
        ("((...:1.2)) -_-", "the prompt has no words"),
        ("sks man on a beach", '"sks" stands for a learned person'),
        ("a qzx woman dances", '"qzx" stands for a learned person'),
    ],
)
def test_prompts_that_cannot_be_meant_are_refused(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str], prompt: str,
    message: str,
) -> None:  # fmt: skip
    assert run(prompt=prompt) == 2
    assert message in said(capsys) and not (place / "runs").exists()


@pytest.mark.parametrize(
    ("prompt", "full", "message"),
    [
        ("a beach", "a person, a beach", 'prompt: "a person, a beach"'),
        ("two women dance", "two women dance", 'the prompt says "two", and the picture is of one'),
        ("She waves " + "and waves " * 60, None, "the prompt is too long, and ignored from here"),
        ("he waves", "he waves", ""),
    ],
)
def test_what_a_prompt_says_beside_the_picture_is_told(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str], prompt: str,
    full: str | None, message: str,
) -> None:  # fmt: skip
    assert run("--out", "x.mp4", "--frames", 1, prompt=prompt) == 0
    assert message in said(capsys)
    about = json.loads((place / "x.json").read_text())
    assert about["prompt"] == prompt and about["full_prompt"] == (full or prompt.strip())


def write_two(path: Path) -> Crowd:
    """A picture of two persons with their poses beside it."""
    shown = crowd({1: np.full(1, 20.0), 2: np.full(1, 100.0)}, width=160)
    Image.fromarray(shown.frames[0]).save(path)
    points = shown.keypoints[:, 0]
    table = {"format": "openpose18", "width": 160, "height": SIZE, "fps": 8.0}
    text = json.dumps(table | {"keypoints": [points.round(2).tolist()]})
    path.with_suffix(".poses.json").write_text(text)
    return shown


def test_a_number_is_of_one_picture_and_another_one_of_several_persons_is_refused(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("two.png", "more.png"):
        write_two(place / name)
    given = ["check", "a.png", "--cast", "--json", "--also", "two.png"]
    assert main(given) == 1
    report = json.loads(capsys.readouterr().out)
    (text,) = (one["text"] for one in report["findings"] if one["level"] == "unusable")
    assert re.search(r"2 persons: choose one by --person N, numbered in .*/people-2\.png", text)
    assert Path(report["files"]["persons of picture 2"]).is_file()
    assert main([*given, "--person", "2"]) == 0  # who is alone in a.png is meant there
    capsys.readouterr()
    assert main([*given, "--also", "more.png", "--person", "2"]) == 1
    report = json.loads(capsys.readouterr().out)
    (one,) = (one for one in report["findings"] if one["level"] == "unusable")
    assert one["file"] == "more.png" and "two.png shows several as well: --person" in one["text"]
    assert "persons of picture 3" not in report["files"]
    more = ["--also", "two.png", "--also", "more.png", "--person", "2"]
    assert run(*more, "--out", "x.mp4", "--frames", 1) == 2
    assert "more.png: 2 persons, and two.png shows several as well" in said(capsys)
    write_character(place / "b.png")
    assert run("--also", "b.png", "--person", "2", "--out", "x.mp4", "--frames", 1) == 2
    assert "--person 2: none of the pictures shows several persons" in said(capsys)


def test_several_persons_are_numbered_and_one_is_taken(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = write_two(place / "two.png")
    points = shown.keypoints[:, 0]
    assert run(picture="two.png") == 2
    text = said(capsys)
    assert "2 persons: choose one by --person N" in text
    assert (place / "runs/cast/people.png").is_file()
    assert run("--person", 3, picture="two.png") == 2
    assert "--person 3: 2 persons are seen in two.png" in said(capsys)
    kept = []
    tall = np.ptp(points[..., 1], axis=1)
    for number, place_of in enumerate(np.argsort(-tall), start=1):  # by prominence
        Image.fromarray(255 * shown.masks[place_of, 0].astype(np.uint8)).save("two.mask.png")
        assert run("--person", number, "--out", "x.mp4", "--frames", 1, picture="two.png") == 0
        kept.append(np.asarray(Image.open(place / "x.reference.png")).astype(int))
    assert np.abs(kept[0] - kept[1]).mean() > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a.png"], "a.png"),
        (["--out", "a.txt"], "a.txt"),
        (["--out", "there.mp4"], "there.mp4 exists and was not written by this command"),
        (["--pose", "empty.mp4"], "the file is empty"),
        (["--out", "a.png/x.mp4"], "is not a folder"),
        (["--appearance", "in red", "--caption", "vlm"], "leave out one of both"),
        (["--contact-sheet", "a.png"], "a.png"),
        (["--out", "b.mp4", "--contact-sheet", "b.reference.png"], "as the network sees them"),
        (["--sampler", "lcm"], "lcm"),
        (["--base", "mini"], "cannot make a video of the person of a picture"),
        (["--base", "nowhere"], "no base nowhere"),
    ],
)
def test_wrong_use_is_refused_before_any_work(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str,
) -> None:  # fmt: skip
    (place / "there.mp4").write_bytes(b"somebody's")
    (place / "empty.mp4").touch()
    monkeypatch.setattr(command, "read_pictures", None)
    before = (place / "a.png").read_bytes()
    assert run(*arguments) == 2
    assert message in said(capsys)
    assert (place / "a.png").read_bytes() == before


def test_an_input_with_the_name_of_the_numbered_picture_is_kept(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_character(place / "people.png")
    before = (place / "people.png").read_bytes()
    assert run("--out", "x.mp4", picture="people.png") == 2
    assert "people.png would overwrite the input people.png" in said(capsys)
    assert main(["check", "people.png", "--cast", "--out", "."]) == 2
    assert "would overwrite the input" in said(capsys)
    write_character(place / "people-2.png")
    assert run("--also", "people-2.png", "--out", "x.mp4") == 2
    assert "would overwrite the input people-2.png" in said(capsys)
    assert (place / "people.png").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.png", b"", "the file is empty"),
        ("text.jpg", b"not a picture at all, but some text\n" * 9, "text.jpg"),
        ("phone.heic", b"\0\0\0\x18ftypheic" + bytes(64), "save it as JPEG or PNG"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing; save it"),
        ("xml.svg", b"<?xml version='1.0'?>\n<svg width='9'/>", "an SVG drawing; save it"),
        ("camera.dng", b"II*\0" + bytes(99), "a RAW photograph; save it as JPEG or PNG"),
        ("camera.cr3", b"\0\0\0\x18ftypcrx " + bytes(99), "a RAW photograph; save it"),
        ("page.pdf", b"%PDF-1.7\n" + bytes(99), "a PDF document; save it as JPEG or PNG"),
        ("cut.png", CUT_SHORT, "cannot be read as a picture"),
    ],
)
def test_files_that_are_no_pictures_end_in_a_line(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str], name: str,
    data: bytes, message: str,
) -> None:  # fmt: skip
    (place / name).write_bytes(data)
    assert run(picture=name) == 2
    text = said(capsys)
    assert message in text and "Traceback" not in text


def test_nobody_and_persons_of_a_few_pixels_are_refused(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(place / "a.png")
    assert run() == 2
    assert "a.png" in said(capsys)
    speck = np.zeros((64, 64, 4), np.uint8)
    speck[30:44, 30:36] = 255
    Image.fromarray(speck).save(place / "a.png")
    write_pose(place / "a.png", np.zeros((1, 18, 3)))
    assert run() == 2
    assert "too few to be seen" in said(capsys)


def test_the_bundled_base_is_the_default_with_a_motion_and_limbs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_character(place / "a.png")
    assert main(["cast", "a.png", WALK, "--frames", "2", "--steps", "1", "--out", "a.mp4"]) == 0
    text = said(capsys)
    assert "motion: the person walks" in text and "the picture's own limbs are laid" in text
    about = json.loads((place / "a.json").read_text())
    assert about["base"]["name"] == "mini-cast" and about["collage"] is True
    assert video.read(place / "a.mp4").frames.shape == (2, 128, 128, 3)


def test_wan_vace_makes_a_video_of_a_picture_by_the_same_command(
    place: Path, tiny_wan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_character(place / "a.png")
    run = ["cast", "a.png", WALK, "--base", str(tiny_wan), "--frames", "5", "--out", "x.mp4"]
    assert main([*run, "--pose", str(motion(place, frames=5))]) == 0
    assert video.read(place / "x.mp4").frames.shape == (5, 64, 64, 3)
    about = json.loads((place / "x.json").read_text())
    assert about["base"]["name"] == "wan" and about["likeness"] == 1.0
    assert "rendered people alone" not in said(capsys)
    assert main([*run, "--likeness", "2"]) == 2
    assert "--likeness: Wan 2.1 VACE has no guidance on the picture" in said(capsys)
