"""Everything that is read from outside, damaged at random: a result or one UsageError, no more."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
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
from benchmarks import fuzz
from benchmarks.fuzz import EVERYTHING, run
from benchmarks.mutations import damaged


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


def test_damaged_files_of_every_kind() -> None:
    """A small part of `benchmarks/fuzz.py`, in a process of its own: also memory, time, and what is
    written elsewhere."""
    count = run(EVERYTHING, seed=7, first=0, inputs=320)
    assert count.faults == [] and count.inputs == 320
    assert 0 < count.refused < 320 and count.commands


def test_a_worker_that_dies_or_hangs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash and a hang are faults of one input each, and the next inputs are read."""
    script = """
import json, os, sys, time
first, stop = int(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
for number in range(first, stop):
    if number == 2:
        os.abort()
    if number == 4:
        time.sleep(60)
    print(json.dumps({"file": "x", "refused": 1, "command": 0, "seconds": 0.0, "memory": 0.0,
                      "faults": []}), flush=True)
"""

    def worker(kind: str, seed: int, first: int, inputs: int, place: Path) -> object:
        @contextlib.contextmanager
        def started() -> Iterator[subprocess.Popen[str]]:
            command = [sys.executable, "-c", script, str(first), str(first + inputs)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                yield process
                process.kill()

        return started()

    monkeypatch.setattr(fuzz, "worker", worker)
    monkeypatch.setattr(fuzz, "SECONDS", 1.0)
    count = run("poses", 0, 0, 6)
    assert count.inputs == 6 and count.refused == 4
    assert [fault.partition(",")[0] for fault in count.faults] == [
        "input 2: the process died", "input 4: no end after 1 s"
    ]  # fmt: skip
