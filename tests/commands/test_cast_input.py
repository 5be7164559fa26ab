"""Clips as pictures for `aa cast`, motions of several persons, bad outlines, and words found in the
picture."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.datasets.subject import Subject, write_subject
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere import appearance_search
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.best_frame import best_frame, read_clip
from animateanywhere.preprocessing.captions.appearance import (
    items,
    named,
    parse_appearance,
    without_named,
)
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.portrait import PERSON, read_pictures
from animateanywhere.preprocessing.who import Who
from tests.commands.test_cast import cast_run, said, small_pictures  # noqa: F401
from tests.commands.test_swap import write_character, write_pose
from tests.preprocessing.crowd import SIZE, crowd, walker

FEET = (10, 13)


def poses_beside(clip: Path, keypoints: np.ndarray, width: int = SIZE) -> None:
    """Keypoints (F, 18, 3), or (F, P, 18, 3) of P persons, beside a clip."""
    table = {"format": "openpose18", "width": width, "height": SIZE, "fps": 8.0}
    text = json.dumps(table | {"keypoints": keypoints.round(2).tolist()})
    clip.with_suffix(".poses.json").write_text(text)


def blurred(frames: np.ndarray, *sharp: int) -> np.ndarray:
    """Frames of which only some are sharp."""
    out = frames.copy()
    for index in set(range(len(frames))) - set(sharp):
        soft = Image.fromarray(frames[index]).filter(ImageFilter.GaussianBlur(1.5))
        out[index] = np.asarray(soft)
    return out


def test_the_sharpest_frame_of_a_clip_with_the_whole_person_is_taken(
    run: Callable[..., int],
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = walker(4, 8)
    points = clip.keypoints.copy()
    points[5, FEET, 2] = 0  # as sharp as frame 3, without its feet
    video.write(place / "clip.mp4", blurred(clip.frames, 3, 5), 8.0)
    poses_beside(place / "clip.mp4", points)
    np.savez(place / "clip.masks.npz", masks=clip.masks)
    assert run("--out", "x.mp4", "--frames", 1, picture="clip.mp4") == 0
    text = said(capsys)
    assert "clip.mp4: taken at 0.4 s: the sharpest of 7 frames that show the person whole" in text
    assert "aa personalize clip.mp4" in text
    kept = np.asarray(Image.open(place / "x.reference.png"))
    assert (kept[0, 0] == 255).all() and 0.02 < (kept < 200).any(-1).mean() < 0.6
    about = json.loads((place / "x.json").read_text())
    assert "taken at 0.4 s" in about["pictures"][0]["findings"][0]
    assert run("--whole", "--out", "x.mp4", "--frames", 1, picture="clip.mp4") == 0
    assert "the first frame of a clip is used" in said(capsys)


def test_a_clip_seen_from_behind_is_taken_from_the_front() -> None:
    clip = walker(4, 6)
    points = clip.keypoints.copy()
    points[:5, [2, 3, 4, 8, 9, 10]], points[:5, [5, 6, 7, 11, 12, 13]] = (
        clip.keypoints[:5, [5, 6, 7, 11, 12, 13]], clip.keypoints[:5, [2, 3, 4, 8, 9, 10]],
    )  # fmt: skip
    frames = blurred(clip.frames, 0, 1, 2)
    index, text = best_frame(frames, points, np.arange(6) / 8)
    assert index == 5 and "the only frame that shows the person whole, from the front" in text


def test_a_person_of_several_in_a_clip_is_chosen_and_the_others_are_numbered(
    place: Path,
) -> None:
    shown = crowd({1: np.linspace(10, 30, 6), 2: np.linspace(110, 90, 6)}, width=200)
    video.write(place / "two.mp4", shown.frames, 8.0)
    poses_beside(place / "two.mp4", shown.keypoints.swapaxes(0, 1), 200)
    path = place / "two.mp4"

    def read(number: int | None) -> Character:
        who = Who([path], number, place / "people.png", PERSON)
        return read_clip(path, who, Backends(), 64)

    with pytest.raises(UsageError, match="2 persons: choose one by --person N, numbered in"):
        read(None)
    assert (place / "people.png").is_file()
    sides = set()
    for number in (1, 2):
        np.savez(place / "two.masks.npz", masks=255 * shown.masks.any(0).astype(np.uint8))
        sides.add(round(float(read(number).keypoints[1, 0])))
    assert len(sides) == 2


@pytest.mark.parametrize("name", ["anim.gif", "anim.webp", "frames"])
def test_animations_and_folders_are_clips(place: Path, name: str) -> None:
    clip = walker(4, 5)
    frames = [Image.fromarray(frame) for frame in blurred(clip.frames, 2)]
    path = place / name
    if path.suffix:
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=125, lossless=True)
    else:
        path.mkdir()
        for index, frame in enumerate(frames):
            frame.save(path / f"{index}.png")
    poses_beside(path, clip.keypoints)
    np.savez(path.with_suffix(".masks.npz"), masks=clip.masks)
    (one,) = read_pictures([path], Who([path], None, place / "people.png"), Backends(), 64)
    assert "taken at 0.2 s" in one.findings[0].text


def test_a_prepared_folder_gives_its_best_frame_with_its_mask(place: Path) -> None:
    clip = walker(4, 5)
    masks = clip.masks.astype(np.float32) / 255
    subject = Subject(
        Path(), blurred(clip.frames, 4), masks, clip.keypoints, ["a"] * 5, 8.0, "man", None
    )
    (place / "prepared").mkdir()
    write_subject(subject, place / "prepared", {"token": "sks"})
    given = [place / "prepared", place / "prepared"]
    who = Who(given, None, place / "people.png")
    (one,) = read_pictures(given, who, Backends(), 64)  # counts once
    assert "taken at 0.5 s" in one.findings[0].text
    area, whole = (one.mask > 0.5).sum(), masks[4].sum()
    assert area * (one.side / len(one.mask)) ** 2 == pytest.approx(whole, rel=0.05)


def test_an_outline_that_misses_the_person_is_refused(
    run: Callable[..., int],
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_character(place / "a.png", ground=90)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:30, :30] = 255
    Image.fromarray(mask).save(place / "a.mask.png")
    assert run() == 2
    assert "a.png: the outline misses the person: " in said(capsys)
    specks = np.zeros((SIZE, SIZE), np.uint8)
    specks[3:6, 3:6] = specks[90:93, 90:93] = 255
    Image.fromarray(specks).save(place / "a.mask.png")
    write_pose(place / "a.png", np.zeros((1, 18, 3)))
    assert run("--out", "x.mp4", "--frames", 1) == 2
    text = said(capsys)
    assert "a.png: the outline covers 0.2% of the square around the person; give a cut-out" in text
    assert run("--whole", "--out", "x.mp4", "--frames", 1) == 0


def test_a_picture_that_is_nearly_opaque_is_no_cut_out(
    run: Callable[..., int],
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rounded corners are not the outline of a person, whose own is looked for, and not found."""
    alpha = np.full((SIZE, SIZE), 255, np.uint8)
    alpha[:2, :9] = 0
    gray = np.full((SIZE, SIZE, 3), 128, np.uint8)
    Image.fromarray(np.dstack([gray, alpha])).save(place / "wall.png")
    write_pose(place / "wall.png", np.zeros((1, 18, 3)))
    assert run(picture="wall.png") == 2
    text = said(capsys)
    assert "no person found; give a picture of one person, or a cut-out PNG, or --whole" in text


def test_a_person_of_the_motion_is_chosen_by_number(
    run: Callable[..., int],
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = crowd({1: np.full(3, 10.0), 2: np.linspace(80, 100, 3)}, width=200)
    pose = place / "two.json"
    poses_beside(place / "two", shown.keypoints.swapaxes(0, 1), 200)
    (place / "two.poses.json").rename(pose)
    digests = []
    for more in ((), ("--pose-person", 1), ("--pose-person", 2)):
        assert run("--pose", pose, "--out", "x.mp4", "--frames", 1, *more) == 0
        about = json.loads((place / "x.json").read_text())["motion"]
        digests.append(about["sha256"])
        text = said(capsys)
        if more:
            assert about["person"] == more[1] and f"person {more[1]} of 2 is followed" in text
        else:
            assert "of 2 persons, person 1, the most prominent, is followed; --pose-person" in text
    assert digests[0] == digests[1] != digests[2]
    assert run("--pose", pose, "--pose-person", 3) == 2
    assert "--pose-person 3: 2 persons are seen in" in said(capsys)
    nobody = place / "nobody.json"
    poses_beside(place / "nobody", np.zeros((3, 18, 3)))
    (place / "nobody.poses.json").rename(nobody)
    assert run("--pose", nobody) == 2
    assert "no keypoint in it has a confidence" in said(capsys)


def test_words_are_found_in_the_picture_and_do_not_contradict_the_prompt(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By the bundled base, among a few words, to be fast."""
    monkeypatch.setattr(appearance_search, "COLORS", ("red", "green", "white"))
    monkeypatch.setattr(appearance_search, "HAIR_COLORS", ("brown",))
    monkeypatch.setattr(appearance_search, "TOPS", ("a {} shirt",))
    monkeypatch.setattr(appearance_search, "BOTTOMS", ("{} trousers",))
    monkeypatch.setattr(appearance_search, "CONFIRMED_ALL", 0.0)
    clip = walker(9, 1)
    dressed = clip.frames[0].copy()
    dressed[clip.masks[0] > 127] = (200, 20, 20)  # all in red
    Image.fromarray(np.dstack([dressed, clip.masks[0]])).save(place / "a.png")
    write_pose(place / "a.png", clip.keypoints[:1])
    order = ("--appearance", "auto", "--out", "x.mp4", "--frames", 1, "--steps", 1)
    assert run(*order) == 0
    said_in = json.loads((place / "x.json").read_text())["full_prompt"]
    assert said_in.startswith("the person ") and "red" in said_in and "walks on a beach" in said_in
    capsys.readouterr()
    prompt = "the person in a green shirt and trousers walks"
    assert run(*order, prompt=prompt) == 0
    assert "left out, since the prompt says it itself" in said(capsys)
    full = json.loads((place / "x.json").read_text())["full_prompt"]
    assert "red shirt" not in full and "red trousers" not in full


def test_a_model_that_is_to_find_words_must_be_there(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--caption", "vlm", "--offline") == 2
    assert "downloads are off" in said(capsys) and not (place / "runs").exists()


def test_dark_people_and_those_who_are_cut_off_are_said_and_white_is_put_there(
    run: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = walker(4, 1)
    mask, points = clip.masks[0], clip.keypoints[:1].copy()
    left = int(np.flatnonzero((mask > 127).any(0)).mean())
    dark = (clip.frames[0] // 6)[:, left:]
    Image.fromarray(dark).save(place / "a.png")
    Image.fromarray(mask[:, left:]).save(place / "a.mask.png")
    points[..., 0] -= left
    points[points[..., 0] < 0, 2] = 0
    table = {"format": "openpose18", "width": SIZE - left, "height": SIZE, "fps": 8.0}
    text = json.dumps(table | {"keypoints": [points.round(3).tolist()]})
    (place / "a.poses.json").write_text(text)
    assert run("--out", "x.mp4", "--frames", 1, "--steps", 1) == 0
    text = said(capsys)
    assert "warning: a.png: the person is dark" in text
    assert "a.png: the person is cut by the left edge of the picture: made up there" in text
    kept = np.asarray(Image.open(place / "x.reference.png")).astype(int)
    assert (kept[:, :4] > 250).all()  # white, and not the edge again


@pytest.mark.parametrize(
    ("prompt", "slots"),
    [
        ("the person in a red coat walks", {"top"}), ("a woman in a dress", {"top", "bottom"}),
        ("a man in black dances", {"top", "bottom"}), ("a man in red light", set()),
        ("a bald man with sunglasses", {"hair", "glasses"}), ("she is barefoot", {"shoes"}),
        ("the person walks on a beach", set()), ("without a hat", {"hat"}),
    ],
)  # fmt: skip
def test_what_a_prompt_says_of_clothes_is_known(prompt: str, slots: set[str]) -> None:
    assert named(prompt) == slots
    found = {"top": "a blue shirt", "bottom": "jeans", "hair": "long hair", "shoes": "boots"}
    assert without_named(found, prompt) == {k: v for k, v in found.items() if k not in slots}


@pytest.mark.parametrize(
    "text, found",
    [
        ("black hair, a hat", ["black hair", "hat"]), ("no hat", []),
        ("a man without a red hat or glasses in a blue coat", ["blue coat"]),
        ("with no hat and red shoes", ["red shoes"]), ("no one around, in a hat", ["hat"]),
    ],
)  # fmt: skip
def test_what_somebody_does_not_wear_is_no_item(text: str, found: list[str]) -> None:
    assert items(text) == found


def test_a_found_dress_is_left_out_where_the_prompt_names_trousers() -> None:
    assert without_named({"top": "a red dress", "hat": "a cap"}, "in jeans") == {"hat": "a cap"}


def test_a_models_answer_becomes_words_with_nouns_and_articles() -> None:
    answer = {
        "hair": "Short, brown", "beard": "none", "glasses": "", "top": "red jacket.",
        "bottom": "blue", "shoes": "white sneakers", "hat": "not visible", "bag": 3,
    }  # fmt: skip
    words = parse_appearance(f"Sure! {json.dumps(answer)}", "vlm")
    assert words == {"hair": "short brown hair", "top": "a red jacket", "shoes": "white sneakers"}
    with pytest.raises(Failure, match="names no hair and no clothes"):
        parse_appearance("I cannot say.", "vlm")
