"""`aa swap --base` with a base of Wan VACE from end to end, on a small network of its classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from animateanywhere.backbones.base import load_base
from animateanywhere.cli.main import main
from animateanywhere.commands import swap, swap_chunks, swap_memory
from animateanywhere.core import estimate
from animateanywhere.core.estimate import Estimate
from animateanywhere.core.findings import Finding
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.cost import predict
from animateanywhere.methods.anycharv import generation, long_scene
from animateanywhere.preprocessing import character as character_of
from animateanywhere.preprocessing.scene import parts as part_of
from tests.commands.test_swap import STAYS, frames_in, line, scene_of, write_character

Run = Callable[..., int]


@pytest.fixture
def run(place: Path, tiny_wan: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(part_of, "SIDE", 96)
    monkeypatch.setattr(character_of, "SIDE", 96)

    def command(*more: object, base: Path = tiny_wan) -> int:
        given = ["swap", "a.png", "--scene", "scene.mp4", "--base", str(base), *map(str, more)]
        return main(given)

    write_character(place / "a.png")
    return command


def test_a_scene_is_swapped_by_words_and_a_picture(
    run: Run, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = scene_of(place, STAYS)
    words = ["--class-word", "man", "--appearance", "in a red coat", "--place", "on a beach"]
    assert run("--out", "frames", *words, "--contact-sheet", "sheet.png") == 0
    said = capsys.readouterr().err
    assert 'prompt: "a man in a red coat on a beach"' in said
    result, scene = frames_in(place / "frames"), video.read(place / "scene.mp4").frames
    changed = (result != scene).any(-1)
    # An untrained network leaves nothing as it is; its VAE tells nothing in the first frame
    assert changed[1:][shown.masks[0][1:]].mean() > 0.9
    assert not changed[:, :, 130:].any()
    about = json.loads((place / "frames.json").read_text())
    assert about["prompt"] == "a man in a red coat on a beach"
    kept = [about[key] for key in ("class_word", "appearance", "place")]
    assert kept == ["man", "in a red coat", "on a beach"]
    assert about["pose_in_box"] == "skeleton" and about["sampler"] == "unipc"
    assert about["steps"] == 2 and about["guidance"] == 2.0 and about["base"]["name"] == "wan"
    assert (place / "sheet.png").is_file()
    assert run("--out", "again", *words) == 0
    assert np.array_equal(frames_in(place / "again"), result)
    assert run("--out", "gray", *words, "--pose-in-box", "gray") == 0
    assert not np.array_equal(frames_in(place / "gray"), result)


def test_chunks_of_a_long_scene_fade_into_each_other(
    run: Run, place: Path, tiny_wan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where frames share latents, those of two chunks do not stand for the same ones."""
    monkeypatch.setattr(part_of, "LONGEST", 10)
    scene_of(place, np.full(19, 30.0))
    paths, write = list[Path](), long_scene.write_piece

    def kept(path: Path, piece: long_scene.Piece) -> None:
        write(path, piece)
        paths.append(shutil.copy(path, place / path.name))

    monkeypatch.setattr(swap_chunks, "write_piece", kept)
    assert run("--out", "frames") == 0
    assert len(frames_in(place / "frames")) == 19
    pieces = [piece for piece in map(long_scene.read_piece, paths) if piece is not None]
    one, two = pieces
    assert (one.first, len(one.squares), len(one.tail)) == (0, 6, 4)  # a latent of four is shared
    assert (two.first, two.carried, len(two.squares), len(two.tail)) == (6, 4, 13, 0)
    assert len(one.latents) == 4 and len(two.latents) == 4  # of 10 and of 13 frames
    base = load_base(tiny_wan)
    before, after = (generation.decode(base, piece.latents).astype(int) for piece in pieces)
    made = [frame.astype(int) for _, _, frame, _, _ in long_scene.made_frames(base, paths)]
    assert np.array_equal(made[5], before[5]) and np.array_equal(made[10], after[4])
    for number in range(4):  # a fifth more of the second each
        old, new, share = before[6 + number], after[number], (number + 1) / 5
        assert np.abs(made[6 + number] - (1 - share) * old - share * new).max() <= 0.51
    assert np.abs(before[6:10] - after[:4]).max() > 20


def test_its_memory_is_estimated_before_it_runs(
    run: Run, place: Path, tiny_wan: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    scene_of(place, STAYS)
    monkeypatch.setattr(predict, "BRIEF", 0.0)
    monkeypatch.setattr(estimate, "free_memory", lambda: 0.01)
    assert run("--out", "frames") == 2
    assert "GB are needed, 0.0 GB are free" in line(capsys)
    assert not (place / "frames").exists()
    found = [[Finding("unusable", "memory", "too little")], []]
    hour = Estimate(3600, 1.0, {})
    monkeypatch.setattr(swap, "estimate_generation", lambda *_: (hour, found.pop(0)))
    monkeypatch.setattr(swap_memory, "SHORTEST", 1)
    assert run("--out", "frames") == 0
    said = " ".join(capsys.readouterr().err.split())
    trained = int(load_base(tiny_wan).config["frames"])
    window = json.loads((place / "frames.json").read_text())["window"]
    assert "swapping takes about 1 h 0 min and 1.0 GB on this machine (estimated)" in said
    assert f"{window} frames pass through the network at once, not the {trained}" in said
    assert window < trained and (window - 1) % 4 == 0


def test_what_a_base_has_no_use_for_is_refused(
    run: Run, place: Path, tiny_swap: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene_of(place, STAYS)
    for more in (["--appearance", "in a coat"], ["--pose-in-box", "gray"], ["--place", "here"]):
        assert run(*more, base=tiny_swap) == 2
        assert f"{more[0]}: only for bases of Wan VACE" in line(capsys)
    assert run("--class-word", "a man") == 2
    assert "give one plain word" in line(capsys)
    assert run(base=tiny_base) == 2
    assert "wan-vace-1.3b" in line(capsys)
    assert not (place / "runs").exists()
