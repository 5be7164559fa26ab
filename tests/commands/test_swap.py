"""`aa swap` from end to end, on a tiny base: every byte that must stay stays, and bad input ends in
a line."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from animateanywhere.cli.main import main
from animateanywhere.commands import swap_chunks, swap_output
from animateanywhere.core.findings import Finding
from animateanywhere.media import content_credentials, output, provenance, video
from animateanywhere.media.provenance import CAST
from animateanywhere.media.sound import add_sound, read_sound
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.anycharv import generation, long_scene
from animateanywhere.preprocessing import character as character_of
from animateanywhere.preprocessing.scene import parts as part_of
from animateanywhere.preprocessing.scene import scan
from tests.media.test_container import unknown_codec
from tests.media.test_output import tone
from tests.preprocessing.crowd import SIZE, Crowd, crowd, walker
from tests.preprocessing.test_scene import write_scene

COUNT = 8
STAYS = np.full(COUNT, 20.0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_of, "SIDE", 96)
    monkeypatch.setattr(character_of, "SIDE", 96)


@pytest.fixture
def run(place: Path, tiny_swap: Path) -> Callable[..., int]:
    """`aa swap a.png --scene scene.mp4` with more arguments."""

    def command(*more: object, scene: str = "scene.mp4", who: tuple[str, ...] = ("a.png",)) -> int:
        arguments = ["swap", *who, "--scene", scene, "--base", str(tiny_swap), *map(str, more)]
        return main(arguments)

    write_character(place / "a.png")
    return command


def write_character(path: Path, seed: int = 4, ground: int | None = None, **pose: Any) -> Path:
    """A puppet cut out, or on gray, with its exact pose beside it."""
    clip = walker(seed, 1)
    mask, picture = clip.masks[0], clip.frames[0]
    if ground is None:
        Image.fromarray(np.dstack([picture, mask])).save(path)
    else:
        shown = np.where(mask[..., None] > 127, picture, np.uint8(ground))
        Image.fromarray(shown).save(path)
        Image.fromarray(mask).save(path.with_suffix(".mask.png"))
    write_pose(path, clip.keypoints[:1], **pose)
    return path


def write_pose(path: Path, keypoints: np.ndarray, hidden: tuple[int, ...] = ()) -> None:
    """Keypoints (P, 18, 3) of P persons beside a picture."""
    points = keypoints.copy()
    points[:, list(hidden), 2] = 0
    table = {"format": "openpose18", "width": SIZE, "height": SIZE, "fps": 8.0}
    text = json.dumps(table | {"keypoints": [points.round(3).tolist()]})
    path.with_suffix(".poses.json").write_text(text)


def scene_of(place: Path, *people: np.ndarray, masks_of: int = 0, name: str = "scene.mp4") -> Crowd:
    shown = crowd(dict(zip((1, 2), people, strict=False)), width=160)
    write_scene(place / name, shown, masks_of)
    return shown


def frames_in(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.iterdir())])


def line(capsys: pytest.CaptureFixture[str]) -> str:
    """The error: the last line of stderr, without a traceback before it."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


def all_said(capsys: pytest.CaptureFixture[str]) -> str:
    """All messages, in one line."""
    return " ".join(capsys.readouterr().err.split())


def test_all_but_the_persons_place_is_the_scenes_own_and_the_others_too(run, place, capsys):
    shown = crowd({1: STAYS, 2: STAYS + 55}, width=160)
    tall = [np.ptp(one[..., 1], axis=1).sum() for one in shown.keypoints]
    number = int(np.argmax(tall))  # the most prominent
    write_scene(place / "scene.mp4", shown, number)
    more = ["--person", 1, "--contact-sheet", "sheet.png"]
    assert run("--out", "frames", *more) == 0
    result, scene = frames_in(place / "frames"), video.read(place / "scene.mp4").frames
    changed = (result != scene).any(-1)
    own, other = shown.masks[number], shown.masks[1 - number]
    assert changed[own].mean() > 0.9  # an untrained network leaves nothing as it is
    assert changed[other].mean() < 0.005  # whose outline is known by the pose only
    columns = np.flatnonzero(own.any((0, 1)))
    far = np.abs(np.arange(160)[:, None] - columns).min(1) > 0.25 * SIZE
    assert not changed[:, :, far].any()
    sheet = np.asarray(Image.open(place / "sheet.png"))
    first = sheet[24:180, 6:160]  # the character: what the mask leaves out is white
    assert (first[:4, :4] == 255).all() and (first != 255).any()
    about = json.loads((place / "frames.json").read_text())
    assert about["command"] == "swap" and about["person"] == 1 and about["frames"] == COUNT
    assert about["provenance"]["digital_source_type"] == provenance.SWAPPED.term
    assert about["passed_through"] == [] and about["size"] == [160, SIZE]
    assert about["scene"]["poses"] == "exact" and about["base"]["name"] == "tiny-swap"
    assert not (place / "runs" / "scene" / "person-1" / ".pieces").exists()


def test_the_pictures_own_limbs_are_laid_over_what_the_network_drew(
    run, place, monkeypatch, capsys
):
    """By asking for it: a base that learned from nothing does not say so itself."""
    shown = scene_of(place, STAYS)
    assert run("--out", "drawn") == 0 and run("--out", "laid", "--collage") == 0
    drawn, laid = (frames_in(place / name).astype(int) for name in ("drawn", "laid"))
    scene = video.read(place / "scene.mp4").frames
    changed, limbs = (drawn != scene).any(-1), (laid != drawn).any(-1)
    assert limbs[shown.masks[0]].mean() > 0.3 and limbs[~changed].mean() < 0.002
    picture = np.asarray(Image.open(place / "a.png")).astype(int)
    own = np.unique(picture[picture[..., 3] > 250][:, :3] // 16, axis=0)

    def known(frames):
        some = frames[limbs & shown.masks[0]] // 16
        return (np.abs(some[:, None] - own).max(-1).min(1) == 0).mean()

    assert known(laid) > 0.6 > known(drawn) + 0.2
    pairs: list[tuple[np.ndarray, ...]] = []
    monkeypatch.setattr(swap_output, "_small", lambda frame: frame)
    monkeypatch.setattr(swap_output, "_outlined", lambda frame, square: frame)
    monkeypatch.setattr(
        swap_output.video,
        "contact_sheet",
        lambda path, rows, made: pairs.append(tuple(row for _, row in rows)),
    )
    assert run("--out", "laid", "--collage", "--contact-sheet", "sheet.png") == 0
    _, own, marked, result = (one.astype(int) for one in pairs[0])
    red = marked[..., 0] - own[..., 0] // 2 > 100  # of the frame at half of its light
    same = (result == own).all(-1)
    assert red[~same].mean() > 0.85 and same[red].mean() < 0.06  # of the whole matte 0.15
    about = [json.loads((place / f"{name}.json").read_text()) for name in ("drawn", "laid")]
    assert [one["collage"] for one in about] == [False, True]
    capsys.readouterr()
    write_character(place / "a.png", hidden=(8, 11))
    assert run("--out", "no-hips", "--collage") == 0
    assert "no limbs are laid over what the network draws" in all_said(capsys)
    assert json.loads((place / "no-hips.json").read_text())["collage"] is False
    assert run("--out", "by-itself") == 0 and "no limbs" not in all_said(capsys)


def test_whoever_is_swapped_with_himself_leaves_the_scene_as_it_was(
    run, place, monkeypatch, capsys
):
    """If the network gives back the scene, every byte is the scene's, whatever the VAE loses."""
    scene_of(place, STAYS + np.linspace(0, 50, COUNT))

    def same(base, character, scene, *_):
        return generation.encode_frames(base.vae, scene)

    monkeypatch.setattr(long_scene.generation, "swap_latents", same)
    assert run("--out", "frames") == 0
    assert np.array_equal(frames_in(place / "frames"), video.read(place / "scene.mp4").frames)
    assert "hardly changed in 100% of the frames" in capsys.readouterr().err
    assert run("--out", "box", "--keep", "box") == 0  # all of the box is laid over the scene
    assert "hardly changed in 100% of the frames" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_bytes_and_the_sound_is_copied(run, place, capsys):
    write_scene(place / "quiet.mp4", crowd({1: np.full(COUNT, 20.0)}, width=160))
    for file in place.glob("quiet.*s.*"):  # its masks and poses
        file.rename(file.with_name(file.name.replace("quiet", "scene")))
    add_sound(place / "quiet.mp4", tone(1.0, 0.5), place / "scene.mp4")
    assert run("--frames", 8, "--out", "one.mp4") == 0
    first = (place / "one.mp4").read_bytes()
    assert run("--frames", 8, "--out", "one.mp4") == 0
    assert (place / "one.mp4").read_bytes() == first
    assert run("--frames", 8, "--seed", 1, "--out", "two.mp4") == 0
    assert (place / "two.mp4").read_bytes() != first
    with av.open(str(place / "one.mp4")) as file:
        assert provenance.SWAPPED.comment == file.metadata["comment"]
        assert file.streams.video[0].average_rate == 8
    heard = read_sound(place / "one.mp4", 1.0)
    own = read_sound(place / "scene.mp4", 1.0)
    assert heard is not None and own is not None
    assert np.abs(heard.samples[0, :46000] - own.samples[0, :46000]).max() < 0.02


def test_sound_that_cannot_be_read_is_left_out_with_a_warning(run, place, capsys):
    scene_of(place, STAYS, name="quiet.mp4")
    for file in place.glob("quiet.*s.*"):
        file.rename(file.with_name(file.name.replace("quiet", "scene")))
    add_sound(place / "quiet.mp4", tone(1.0, 0.5), place / "scene.mp4")
    unknown_codec(place / "scene.mp4")
    assert run("--out", "one.mp4") == 0
    assert "warning: the sound of scene.mp4 is left out: none of it" in all_said(capsys)
    assert read_sound(place / "one.mp4", 1.0) is None
    assert run("--out", "two.mp4", "--no-audio") == 0
    assert "the sound of" not in all_said(capsys)


def test_a_killed_run_goes_on_where_it_was(run, place, monkeypatch, capsys):
    monkeypatch.setattr(part_of, "LONGEST", 8)
    scene_of(place, np.full(16, 30.0))
    assert run("--out", "whole") == 0
    sampled = []
    sample = swap_chunks.sample_chunk

    def counted(base, character, chunk, *rest):
        if len(sampled) == 1:
            raise KeyboardInterrupt
        sampled.append(chunk.first)
        return sample(base, character, chunk, *rest)

    monkeypatch.setattr(swap_chunks, "sample_chunk", counted)
    assert run("--out", "again") == 130
    assert not (place / "again").exists() and not (place / "again.json").exists()
    sampled.clear()  # so that one more may be sampled
    assert run("--out", "again") == 0
    assert len(sampled) == 1 and 0 < sampled[0] < 8
    assert np.array_equal(frames_in(place / "again"), frames_in(place / "whole"))


@pytest.mark.parametrize("where", ["piece", "video"])
def test_a_full_disk_leaves_nothing_half_written(run, place, monkeypatch, capsys, where):
    scene_of(place, STAYS)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "piece":
        monkeypatch.setattr(long_scene.np, "savez_compressed", full)
    else:
        monkeypatch.setattr("animateanywhere.media.writing._in_bt709", full)
    assert run("--out", "one.mp4") == 1
    assert "disk full while writing" in line(capsys)
    assert not (place / "one.mp4").exists() and not list(place.rglob("*.part*"))


def test_numbers_that_are_none_are_an_error(run, place, monkeypatch, capsys):
    scene_of(place, STAYS)

    def overflown(base, character, scene, *_):
        return generation.encode_frames(base.vae, scene) * float("nan")

    monkeypatch.setattr(long_scene.generation, "swap_latents", overflown)
    assert run("--out", "one.mp4") == 1
    said = line(capsys)
    assert "not finite numbers (NaN)" in said and "AA_DEVICE=cpu" in said
    assert not (place / "one.mp4").exists()


def test_what_was_corrected_by_hand_counts_and_is_recorded(run, place, capsys):
    scene_of(place, STAYS)
    assert run("--out", "before") == 0
    folder = place / "runs" / "scene" / "person-1" / "frames-00000"
    mask = np.array(Image.open(folder / "masks" / "0003.png"))
    mask[:] = np.roll(mask, 30, axis=1)
    for index in range(2, 6):  # one of them alone is flicker, which is steadied
        Image.fromarray(mask).save(folder / "masks" / f"{index:04}.png")
    assert run("--out", "after") == 0
    assert "kept as corrected manually: mask 2 to 5" in capsys.readouterr().err
    about = json.loads((place / "after.json").read_text())
    assert about["scene"]["corrected"]["0"]["mask"] == [2, 3, 4, 5]
    scene = video.read(place / "scene.mp4").frames
    before, after = ((frames_in(place / name) != scene).any(-1) for name in ("before", "after"))
    assert (after[3].sum(0) > before[3].sum(0)).any() and (after[3] != before[3]).any()


def test_masks_and_poses_emptied_by_hand_end_in_a_line(run, place, capsys):
    scene_of(place, STAYS)
    assert run("--out", "before") == 0
    folder = place / "runs" / "scene" / "person-1" / "frames-00000"
    for file in (folder / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(file)))).save(file)
    poses = json.loads((folder / "poses.json").read_text())
    poses["keypoints"] = (np.array(poses["keypoints"]) * (1, 1, 0)).tolist()
    (folder / "poses.json").write_text(json.dumps(poses))
    assert run("--out", "after") == 2
    assert "neither masks nor poses show the person in frames 0 to 7" in line(capsys)
    assert not (place / "after").exists()


@pytest.mark.parametrize("region", ["box", "fine"])
def test_masks_that_are_all_white_are_as_missing_as_black_ones(run, place, capsys, region):
    """Then the pose tells whose place is taken."""
    shown = crowd({1: STAYS}, width=160)
    own = shown.masks[0].copy()
    made = []
    for name, value in (("black", 0), ("white", 1)):
        shown.masks[:] = value
        write_scene(place / "scene.mp4", shown)
        assert run("--out", name, "--region", region) == 0
        assert f"the mask is all {name}" in all_said(capsys)
        made.append(frames_in(place / name))
    assert np.array_equal(*made)
    scene = video.read(place / "scene.mp4").frames
    assert (made[0] != scene).any(-1)[own].mean() > 0.8


def test_two_scenes_of_one_name_have_folders_of_their_own(run, place, capsys):
    scene_of(place, STAYS)
    (place / "b").mkdir()
    scene_of(place / "b", STAYS + 30)
    assert run() == 0 and run(scene="b/scene.mp4") == 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "runs/scene is of another scene of that name: this one's is runs/scene-2" in said
    for name in ("scene", "scene-2"):
        assert (place / "runs" / name / "a.mp4").is_file()
        assert (place / "runs" / name / "person-1" / "frames-00000" / "report.html").is_file()
    assert run("--seed", 1, scene="b/scene.mp4") == 0
    assert (place / "runs" / "scene-2" / "a-2.mp4").is_file()
    assert "reused" in capsys.readouterr().err


def test_an_animation_says_how_long_it_is_and_that_its_transparency_is_lost(run, place, capsys):
    shown = crowd({1: STAYS}, width=160)
    write_scene(place / "scene.mp4", shown)
    frames = [Image.fromarray(frame).convert("RGBA") for frame in shown.frames]
    hole = Image.new("L", frames[0].size, 255)
    hole.paste(0, (140, 0, 160, 10))
    for frame in frames:
        frame.putalpha(hole)
    options = {"save_all": True, "append_images": frames[1:], "duration": 125, "lossless": True}
    frames[0].save(place / "scene.webp", **options)
    assert scan.scene_facts(place / "scene.webp", None, WHOLE).expected == COUNT
    assert "parts of it are transparent" in capsys.readouterr().err.replace("\n", " ")
    assert scan.scene_facts(place / "scene.mp4", None, WHOLE).expected == COUNT
    assert "transparent" not in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_of_uneven_rate_is_as_long_as_what_is_read(place, suffix):
    """So that the time left is shown."""
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)) for _ in range(8)]
    path = place / f"scene{suffix}"
    for times in ([100, 500, *[100] * 5, 900], [20] * 8, [125] * 8):
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=times)
        for part in (WHOLE, Part(start=0.1), Part(fps=4.0)):
            facts = scan.scene_facts(path, None, part)
            assert facts.expected == sum(len(some.frames) for some in scan.read_scene(facts, 99))


def test_content_credentials_of_the_scene_are_said_to_be_left_out(run, place, capsys):
    pytest.importorskip("c2pa")
    shown = scene_of(place, STAYS)
    assert run() == 0
    assert "Content Credentials" not in capsys.readouterr().err
    output.write(place / "scene.mp4", shown.frames, COUNT, 8.0, None, provenance.SWAPPED)
    assert run("--out", "x.mp4") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "scene.mp4: its Content Credentials (C2PA) of AnimateAnywhere" in said
    found = content_credentials.read(place / "x.mp4")
    assert found is not None and found.intact  # the result has its own


@pytest.mark.parametrize("what", ["legs cut", "fills the frame", "letterboxed"])
def test_people_at_the_frames_edge_and_bars_around_it(run, place, capsys, what):
    shown = crowd({1: STAYS}, width=160)
    if what == "legs cut":
        points = shown.keypoints.copy()
        points[points[..., 1] > 56, 2] = 0
        shown = Crowd(shown.frames[:, :56], points, shown.masks[:, :, :56])
    elif what == "fills the frame":  # the square that the network sees is larger than it
        shown = Crowd(shown.frames[..., 46:92, :], shown.keypoints - (46, 0, 0),
                      shown.masks[..., 46:92])  # fmt: skip
    else:
        bars, lower = ((0, 0), (20, 20), (0, 0)), np.array([0, 20, 0])
        shown = Crowd(
            np.pad(shown.frames, (*bars, (0, 0))), shown.keypoints + lower,
            np.pad(shown.masks, ((0, 0), *bars)),
        )  # fmt: skip
    write_scene(place / "scene.mp4", shown)
    assert run("--out", "frames") == 0
    result, scene = frames_in(place / "frames"), video.read(place / "scene.mp4").frames
    assert result.shape == scene.shape == shown.frames.shape
    changed = (result != scene).any(-1)
    assert changed[shown.masks[0]].mean() > 0.9
    if what == "letterboxed":
        assert not changed[:, :8].any() and not changed[:, -8:].any()


def test_a_character_and_a_scene_are_checked_before(run, place, capsys):
    there = np.where(np.arange(14) < 8, 30.0, np.nan)
    scene_of(place, there)
    assert main(["check", "a.png", "--scene", "scene.mp4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["file"] for row in report["findings"]} <= {"a.png", "scene.mp4"}
    assert any("8 to 13" in row["text"] for row in report["findings"])
    assert Path(report["files"]["scene"]) == Path("runs/scene/person-1")
    cut_out = Path("runs/check/scene/a/character.png")  # another character's is elsewhere
    assert Path(report["files"]["cut-out"]) == cut_out
    assert Image.open(cut_out).size == (96, 96)
    assert report["prediction"]["swap"]["seconds"] > 0  # of the bundled base
    Image.new("RGB", (96, 96), (90, 120, 90)).save(place / "nobody.png")
    assert main(["check", "nobody.png", "--scene", "scene.mp4"]) == 1
    assert "unusable" in capsys.readouterr().out
    assert main(["check", "a.png", "--scene", "scene.mp4", "--pose", "scene.mp4"]) == 2
    assert "give one of them" in line(capsys)


def test_what_is_corrected_after_a_check_is_swapped(run, place, tiny_swap, capsys):
    scene_of(place, STAYS)
    write_character(place / "b.png")
    given = ["check", "a.png", "--also", "b.png", "--scene", "scene.mp4", "--json"]
    assert main([*given, "--base", str(tiny_swap)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert Image.open(report["files"]["cut-out"]).size == (2 * 96, 96)
    assert report["prediction"]["swap"]["seconds"] > 0
    folder = Path(report["files"]["scene"]) / "frames-00000"
    mask = np.asarray(Image.open(folder / "masks" / "0002.png")).copy()
    mask[:20, :20] = 255
    Image.fromarray(mask).save(folder / "masks" / "0002.png")
    assert run() == 0
    assert "kept as corrected manually: mask 2" in " ".join(capsys.readouterr().err.split())
    assert (np.asarray(Image.open(folder / "masks" / "0002.png")) == mask).all()
    about = json.loads((place / "runs" / "scene" / "a.json").read_text())
    assert about["scene"]["corrected"]["0"]["mask"] == [2]


def test_a_check_with_a_base_that_cannot_be_loaded_ends_before_it_looks(
    run, place, tiny_swap, capsys
):
    scene_of(place, STAYS)
    base = shutil.copytree(tiny_swap, place / "bases" / "half")
    shutil.rmtree(base / "unet")
    given = ["check", "a.png", "--scene", "scene.mp4", "--base", str(base)]
    assert main(given) == 2
    assert str(base) in line(capsys)
    assert not (place / "runs" / "scene").exists() and not list(place.glob("runs/check/**/*.png"))


def test_a_check_of_a_scene_takes_as_many_frames_as_a_swap(run, place, capsys):
    scene_of(place, np.full(70, 20.0))
    for frames in (70, 5):
        given = ["check", "a.png", "--scene", "scene.mp4", "--frames", str(frames), "--json"]
        assert main(given) == 0
        report = json.loads(capsys.readouterr().out)
        record = Path(report["files"]["scene"]) / "scene.json"
        assert json.loads(record.read_text())["total"] == frames
    assert main(["check", "scene.mp4", "--frames", "70"]) == 2
    assert "8 to 64" in line(capsys)


def test_a_check_of_corrected_frames_with_other_options_names_its_own(
    run, place, tiny_swap, capsys
):
    scene_of(place, 10 + np.linspace(0, 60, 16) ** 1.05)
    given = ["check", "a.png", "--scene", "scene.mp4", "--base", str(tiny_swap), "--json"]
    assert main([*given, "--input-fps", "4"]) == 0
    folder = Path(json.loads(capsys.readouterr().out)["files"]["scene"]) / "frames-00000"
    mask = np.asarray(Image.open(folder / "masks" / "0003.png"))
    Image.fromarray(mask[:, ::-1]).save(folder / "masks" / "0003.png")
    assert main([*given, "--frames", "12"]) == 2
    assert "go back to the former ones (--input-fps 4)" in line(capsys)


def test_a_check_shows_the_persons_to_choose_from(run, place, capsys):
    scene_of(place, STAYS, STAYS + 55)
    given = ["check", "a.png", "--scene", "scene.mp4", "--json"]
    assert main(given) == 1
    files = json.loads(capsys.readouterr().out)["files"]
    assert files.keys() == {"persons of the scene", "cut-out"}
    assert Image.open(files["persons of the scene"]).size == (160, SIZE)
    assert main([*given, "--person", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert Path(report["files"]["scene"]) == Path("runs/scene/person-2")


def test_fast_scenes_and_folders_of_pictures_of_odd_size(run, place, capsys):
    write_scene(place / "scene.mp4", crowd({1: np.full(16, 30.0)}, width=160), fps=60)
    assert run("--out", "frames") == 0
    assert "60 frames per second, of which 30 are taken; --fps 60 takes all" in all_said(capsys)
    result = frames_in(place / "frames")
    scene = video.read(place / "scene.mp4", fps=30).frames
    assert result.shape == scene.shape and len(scene) == 8
    assert np.array_equal(result[:, :, 140:], scene[:, :, 140:])
    assert json.loads((place / "frames.json").read_text())["fps"] == 30
    shown = crowd({1: np.full(8, 30.0)}, width=161)
    write_scene(place / "odd.mp4", shown).unlink()
    (place / "odd").mkdir()
    for index, frame in enumerate(shown.frames):
        Image.fromarray(frame).save(place / "odd" / f"{index}.png")
    assert run("--out", "others", scene="odd") == 0
    heard = all_said(capsys)
    assert "odd: a folder of pictures, taken as 8 a second; --scene-fps" in heard
    assert "become" not in heard  # a folder of pictures is of any size
    result = frames_in(place / "others")
    assert result.shape == shown.frames.shape
    assert np.array_equal(result[:, :, 140:], shown.frames[:, :, 140:])
    assert (result != shown.frames).any((1, 2, 3)).all()
    assert run("--scene-fps", 8, scene="odd") == 0
    heard = all_said(capsys)
    assert "odd: 161 x 96 pixels become 162 x 96 in a file .mp4" in heard
    assert "--scene-fps" not in heard  # that was chosen
    assert run("--fps", 60, "--frames", 4, "--out", "all.mp4") == 0
    assert "are taken" not in all_said(capsys)


def test_a_white_frame_of_a_flash_stays_white(run, place, capsys):
    shown = crowd({1: np.full(12, 20.0)}, width=160)
    shown.frames[5] = 255
    write_scene(place / "scene.mp4", shown)
    assert run("--out", "frames", "--contact-sheet", "sheet.png") == 0
    result, scene = frames_in(place / "frames"), video.read(place / "scene.mp4").frames
    assert np.flatnonzero((result == scene).all((1, 2, 3))).tolist() == [5]
    assert "leaves nobody to be recognized in frame 5: it stays as it is" in all_said(capsys)
    assert json.loads((place / "frames.json").read_text())["passed_through"] == [[5, 5]]


def test_a_person_who_leaves_stays_as_filmed_then(run, place, capsys):
    there = np.where(np.arange(14) < 8, 30.0, np.nan)
    scene_of(place, there)
    assert run("--out", "frames") == 0
    result, scene = frames_in(place / "frames"), video.read(place / "scene.mp4").frames
    assert np.array_equal(result[8:], scene[8:])
    assert (result[:8] != scene[:8]).any((1, 2, 3)).all()
    assert json.loads((place / "frames.json").read_text())["passed_through"] == [[8, 13]]


def test_a_picture_as_the_scene_is_one_frame(run, place, capsys):
    shown = crowd({1: np.full(1, 30.0)}, width=160)
    write_scene(place / "scene.mp4", shown)
    Image.fromarray(shown.frames[0]).save(place / "scene.png")
    assert run(scene="scene.png") == 0
    result = np.asarray(Image.open(place / "runs" / "scene" / "a.png"))
    assert result.shape == shown.frames[0].shape and (result != shown.frames[0]).any()
    assert np.array_equal(result[:, 130:], shown.frames[0][:, 130:])
    (place / "runs" / "mine").mkdir()  # of another command
    (place / "runs" / "mine" / "unet").touch()
    (place / "scene.png").rename(place / "mine.png")
    (place / "scene.poses.json").rename(place / "mine.poses.json")
    assert run(scene="mine.png") == 0
    assert (place / "runs" / "mine-swap" / "a.png").is_file()
    scene_of(place, STAYS, name="b.mp4")
    assert run("--out", "b.png", scene="b.mp4") == 2
    assert "a video is not written as one picture" in line(capsys)


def test_parts_rates_and_ways_to_swap(run, place, capsys, monkeypatch):
    write_scene(place / "scene.mp4", crowd({1: np.full(16, 30.0)}, width=160))
    assert run("--fps", "base", "--start", 1, "--frames", 8, "--out", "x.mp4") == 0
    found = video.read(place / "x.mp4")
    assert len(found.frames) == 8 and found.fps == pytest.approx(8)
    more = ["--region", "fine", "--keep", "none", "--fit", "bones", "--grow", "0.2", "--no-audio"]
    assert run("--frames", 8, "--out", "y.mp4", *more) == 0
    assert "reused" not in capsys.readouterr().err  # that was another part of the scene
    monkeypatch.setattr(swap_chunks, "WORTH", 0)
    write_character(place / "b.png", seed=4, hidden=(0, 14, 15))
    assert run("--frames", 8, who=("a.png", "b.png")) == 0
    said = capsys.readouterr().err
    assert "of the same scene and settings, reused" in said  # for the next character
    assert "swapping takes about" in said and "took" in said
    assert run("--frames", 8, "--collage", "--out", "limbs.mp4") == 0
    assert '"limbs"' in (place / "limbs.estimate.json").read_text()  # laying them is a part of it
    names = [one["file"] for one in json.loads(
        (place / "runs" / "scene" / "a.json").read_text())["characters"]]  # fmt: skip
    assert names == ["a.png", "b.png"]
    assert run("--frames", 8) == 0 and (place / "runs" / "scene" / "a-2.mp4").is_file()
    capsys.readouterr()
    assert run("--frames", 8, "--grow", "0.3", "--out", "z.mp4") == 0
    assert "of the same scene and settings, reused" in capsys.readouterr().err
    write_character(place / "a.png", hidden=(0,))  # another pose beside the same picture
    assert run("--frames", 8) == 0 and (place / "runs" / "scene" / "a-3.mp4").is_file()
    assert main(["runs", "delete", "scene", "--yes"]) == 0
    assert not (place / "runs" / "scene").exists() and (place / "x.mp4").is_file()


def test_results_of_two_formats_do_not_share_a_sidecar(run, place, capsys):
    scene_of(place, STAYS)
    assert run("--out", "x.webp") == 0
    (place / "x.mp4").write_bytes(b"mine")
    assert run("--out", "x.mp4") == 2
    assert "x.json tells how x.webp was made" in line(capsys)
    (place / "x.webp").rename(place / "kept.webp")
    assert run("--out", "x.mp4") == 2
    assert "x.mp4 exists and was not written by this command" in line(capsys)
    assert (place / "x.mp4").read_bytes() == b"mine"


def test_a_run_that_is_stopped_at_its_contact_sheet_can_be_repeated(
    run, place, monkeypatch, capsys
):
    scene_of(place, STAYS)
    more = ["--out", "x.mp4", "--contact-sheet", "sheet.png"]
    with monkeypatch.context() as stopped:
        stopped.setattr(
            video, "contact_sheet", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert run(*more) == 130
    assert run(*more) == 0  # its own video
    first = (place / "sheet.png").read_bytes()
    assert run(*more) == 0 and (place / "sheet.png").read_bytes() == first  # its own sheet


@pytest.mark.parametrize("suffix", [".mp4", ""])
def test_whenever_it_is_killed_the_same_command_takes_the_name_again(
    run, place, monkeypatch, suffix
):
    scene_of(place, STAYS)
    given = ["--out", f"x{suffix}"]
    there: list[tuple[bool, bool]] = []
    rename = os.replace

    def replace(*paths: Any) -> None:
        rename(*paths)
        there.append(((place / f"x{suffix}").exists(), (place / "x.json").exists()))

    with monkeypatch.context() as watched:
        watched.setattr(os, "replace", replace)
        assert run(*given) == 0
    assert set(there) == {(False, False), (False, True), (True, True)}  # none without settings
    remove = shutil.rmtree if suffix == "" else os.remove
    remove(place / f"x{suffix}")
    assert run(*given) == 0 and (place / f"x{suffix}").exists()


def test_notes_of_the_picture_are_said(run, place, monkeypatch, capsys):
    scene_of(place, STAYS)
    note = Finding("note", "people", "a far smaller person is in the picture, too")
    monkeypatch.setattr(character_of, "kind_findings", lambda read: [note])
    assert run() == 0
    assert "a.png: a far smaller person is in the picture, too" in all_said(capsys)


def test_another_mask_beside_the_picture_is_another_character(run, place, capsys):
    scene_of(place, STAYS)
    write_character(place / "g.png", ground=128)
    assert run(who=("g.png",)) == 0
    mask = np.asarray(Image.open(place / "g.mask.png")).copy()
    mask[: mask.shape[0] // 2] = 0
    Image.fromarray(mask).save(place / "g.mask.png")
    assert run(who=("g.png",)) == 0
    one, two = ((place / "runs" / "scene" / name).read_bytes() for name in ("g.mp4", "g-2.mp4"))
    assert one != two


def _only_sound(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


BAD_SCENES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "does not exist"),
    "empty": (lambda path: path.write_bytes(b""), "scene.mp4: the file is empty"),
    "text": (lambda path: path.write_text("a scene"), "scene.mp4: a text file, not a video"),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 9), "cannot be read as a video"),
    "sound": (_only_sound, "contains only sound"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:900]), "truncated"),
    "nobody": (lambda path: write_scene(path, crowd({1: np.full(9, np.nan)})), "nobody found"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SCENES)
def test_a_scene_that_is_none_is_refused_before_long_work(run, place, capsys, name):
    scene_of(place, STAYS)
    BAD_SCENES[name][0](place / "scene.mp4")
    assert run() == 2
    assert BAD_SCENES[name][1] in line(capsys)
    assert not list((place / "runs").rglob("*.mp4"))


@pytest.mark.parametrize("more, code, said", [
    ((), 0, ""),
    (("--out", "scene.mp4"), 2, "would overwrite the input scene.mp4"),
    (("--out", "a.png"), 2, "would overwrite the input a.png"),
    (("--contact-sheet", "a.png"), 2, "would overwrite the input a.png"),
    (("--out", "x.png", "--contact-sheet", "x.png"), 2, "both x.png; give two names"),
    (("--contact-sheet", "mine.png"), 2, "exists and was not written by this command"),
    (("--contact-sheet", "other.png"), 2, "exists and was not written by this command"),
    (("--contact-sheet", "x/0000.png", "--out", "x"), 2, "would overwrite --out x"),
    (("--contact-sheet", "taken.mp4/s.png"), 2, "cannot write to taken.mp4"),
    (("--out", "taken.mp4"), 2, "exists and was not written by this command"),
    (("--out", "x.avi"), 2, ".avi cannot be written"),
    (("--out", "x.gif", "--fps", 60), 2, "a GIF shows at most 50 frames per second"),
    (("--fps", "fast"), 2, "--fps fast: give frames per second from 1 to 120, or base"),
    (("--person", 2), 2, "--person 2: one person is seen in scene.mp4"),
    (("--character-person", 2), 2, "--character-person 2: one person is seen in a.png"),
    (("--start", 9), 2, "nothing is left after 9 s"),
    (("--keep", "all"), 2, "--keep"),
])  # fmt: skip
def test_wrong_use_ends_in_a_line(run, place, capsys, more, code, said):
    scene_of(place, STAYS)
    for name in ("taken.mp4", "mine.png"):
        (place / name).write_bytes(b"mine")
    video.contact_sheet(place / "other.png", [("a", np.zeros((1, 8, 8, 3), np.uint8))], made=CAST)
    before = (place / "scene.mp4").read_bytes()
    assert run(*more) == code
    if code:
        assert said in line(capsys)
    assert (place / "scene.mp4").read_bytes() == before
    assert (place / "taken.mp4").read_bytes() == b"mine"


def test_bases_that_cannot_swap_are_refused_with_what_can(run, place, tiny_base, capsys):
    scene_of(place, STAYS)
    assert run("--base", tiny_base) == 2
    assert "mini-swap, anycharv and wan-vace-1.3b can; or learn the person" in line(capsys)
    given = ["swap", "a.png", "--scene", "scene.mp4", "--base"]
    for name in ("anycharv", "wan-vace-1.3b", "sd15-swap"):
        assert main([*given, name]) == 2
        assert f"aa base-train {name}" in line(capsys)
    for name in ("sd15", "sd15-openpose", "cast-wan"):  # not downloaded first
        assert main([*given, name]) == 2
        assert f"base {name}: this base cannot put the person" in line(capsys)
    assert main(["swap", "scene.mp4", "--scene", "scene.mp4"]) == 2
    assert "both the character and the scene" in line(capsys)
    assert not (place / "runs").exists()


def _lend_unet(base: Path, parts: Path) -> None:
    shutil.rmtree(base / "unet")
    shutil.copytree(parts / "unet", base / "unet")


def _set(base: Path, line: str, other: str) -> None:
    text = (base / "base.toml").read_text()
    assert line in text
    (base / "base.toml").write_text(text.replace(line, other))


WIDTH = "reference_width = 32"
BAD_BASES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "unet of the other base": (_lend_unet, "its networks do not fit each other"),
    "empty config": (
        lambda base, _: (base / "image_encoder" / "config.json").write_text("{}"), "damaged"
    ),
    "odd width": (lambda base, _: _set(base, WIDTH, 'reference_width = 33'), "multiples of"),
    "huge width": (lambda base, _: _set(base, WIDTH, 'reference_width = 100000'), "up to 4096"),
    "odd size": (lambda base, _: _set(base, "size = 64", "size = 63"), "must be a multiple of 8"),
    "no name": (lambda base, _: _set(base, 'name = "tiny-swap"', ""), "base.toml: lacks name"),
    "no width": (lambda base, _: _set(base, WIDTH, 'reference_width = "wide"'), "lacks the size"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BASES)
def test_a_damaged_base_for_swaps_is_refused_before_long_work(
    run, place, tiny_base, tiny_swap, capsys, name
):
    scene_of(place, STAYS)
    shutil.copytree(tiny_swap, place / "base")
    change, said = BAD_BASES[name]
    change(place / "base", tiny_base)
    assert run("--base", "base") == 2
    assert said in line(capsys)
    assert not (place / "runs").exists()
