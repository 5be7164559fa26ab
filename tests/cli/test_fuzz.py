"""Everything that is read from outside, damaged at random: a result or one UsageError, no more."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from animateanywhere.backbones.personal_weights import METADATA, read_metadata, save_personal
from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.core.paths import EXAMPLES, recipes_folder
from animateanywhere.datasets.corrections import find_corrections
from animateanywhere.datasets.subject import read_subject, write_subject
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.pose.skeleton import read_poses
from animateanywhere.preprocessing.driving import read_driving

# What a damaged file can hold that random bytes seldom give.
NASTY = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"[]",
    b"{}",
    b'"',
    b"\n",
    b"9" * 40,
]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, bytes changed, a piece taken out, doubled or replaced by something nasty."""
    start, stop = np.sort(rng.integers(0, len(data) + 1, 2))
    stop = min(stop, start + int(rng.integers(1, 64)))
    way = rng.integers(5)
    if way == 0:
        return data[:start]
    if way == 1:
        mutable = bytearray(data)
        for place in rng.integers(0, len(data), int(rng.integers(1, 20))):
            mutable[place] = int(rng.integers(256))
        return bytes(mutable)
    if way == 2:
        return data[:start] + data[stop:]
    if way == 3:
        return data[:stop] + data[start:stop] * int(rng.integers(1, 4)) + data[stop:]
    return data[:start] + NASTY[int(rng.integers(len(NASTY)))] + data[stop:]


def survive(path: Path, parse: Callable[[Path], object], times: int, seed: int = 0) -> None:
    """`parse` a file damaged in `times` ways; were none refused, nothing would be tested."""
    whole, refused = path.read_bytes(), 0
    parse(path)
    for number in range(times):
        path.write_bytes(damaged(whole, np.random.default_rng([seed, number])))
        try:
            parse(path)
        except UsageError as error:
            assert "\n" not in str(error), number
            refused += 1
        except Exception as error:
            pytest.fail(f"number {number}: {type(error).__name__}: {error}")
    path.write_bytes(whole)
    assert refused > 1


def test_poses(tmp_path: Path) -> None:
    path = tmp_path / "clip.poses.json"
    rows = [[[float(x), 2.0, 0.9] for x in range(18)] for _ in range(2)]
    head = {"format": "openpose18", "width": 64, "height": 64, "fps": 8.0, "keypoints": rows}
    path.write_text(json.dumps(head))
    survive(path, read_poses, 400)
    survive(path, lambda p: read_driving(p, 8.0), 100, seed=1)


@pytest.mark.parametrize("name", ["mini", "sd15", "personalize"])
def test_recipes(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_bytes((recipes_folder() / f"{name}.toml").read_bytes())
    survive(path, load_recipe, 300)


def test_personal_weights(tmp_path: Path) -> None:
    path = tmp_path / "personal.safetensors"
    save_personal(path, {"token_embedding": torch.zeros(1, 8)}, dict.fromkeys(METADATA, "x"))
    survive(path, read_metadata, 400)


def test_a_subject_folder(tmp_path: Path) -> None:
    subject = prepare(
        EXAMPLES / "reference.mp4", tmp_path / "whole", scene="in a room", size=square(32)
    )
    few = {"frames": subject.frames[:2], "masks": subject.masks[:2]}
    few |= {"keypoints": subject.keypoints[:2], "captions": subject.captions[:2]}
    folder = tmp_path / "subject"
    folder.mkdir()
    write_subject(type(subject)(**{**vars(subject), **few}), folder, {})
    for part in ("subject.toml", "poses.json", "captions.jsonl", "frames/0001.png"):
        survive(folder / part, lambda _: read_subject(folder), 100)
    whole = tmp_path / "whole"
    for part in ("made.json", "poses.json", "captions.jsonl", "masks/0001.png"):
        survive(whole / part, lambda _: find_corrections(whole), 100)


def test_videos(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    video.write(clip, video.read(EXAMPLES / "reference.mp4", max_frames=12).frames, 8)
    survive(clip, video.read, 120)
