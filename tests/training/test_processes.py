"""Two processes train what one would: plain data parallelism, and FSDP2, over gloo."""

import json
import math
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from animateanywhere.core.errors import UsageError
from animateanywhere.core.tensor_file import read_about
from animateanywhere.training import shards
from animateanywhere.training.checkpoint_files import CHECKPOINT
from animateanywhere.training.loop import fit
from animateanywhere.training.processes import Share, lost_another, sharding, warn_of_single
from animateanywhere.training.shards import blocks
from tests.training.together import (
    STEPS,
    Net,
    loses_another,
    loss,
    stage,
    three,
    two,
    until,
    video,
    words,
)

# Gradients are summed in another order
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def alone(folder: Path, row: Any, error: Any = loss, **more: Any) -> dict[str, torch.Tensor]:
    net = Net()
    fit(net, row, error, folder, seed=3, **more)
    return net.state_dict()


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    together: Callable[..., list[int]],
) -> Path:
    """The folder of the trainings of `together`, some of which one process began."""
    place = tmp_path_factory.mktemp("together")
    for kind in ("ddp", "fsdp"):
        with pytest.raises(SystemExit):
            alone(place / f"{kind} of one", stage(accumulate=4), until(7 * 4))
    assert together(2, two, place, tiny_base) == [0, 0]
    assert together(3, three, place) == [0, 0, 0]
    return place


@pytest.fixture(scope="module")
def seen(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(place / "seen.pt")
    return found


@pytest.mark.parametrize(
    ("name", "batches"),
    [("ddp", 4), ("uneven", 3), ("idle", 1), ("ddp of one", 4), ("fsdp", 4), ("fsdp uneven", 3),
     ("fsdp of one", 4), ("to three", 4), ("fsdp to three", 4)],
)  # fmt: skip
def test_a_step_is_the_same_whoever_does_its_passes(
    name: str, batches: int, place: Path, seen: dict[str, Any], tmp_path: Path
) -> None:
    """Of one process that does all, or two; also if one began and two went on, or two and three,
    which four passes do not divide evenly among."""
    expected = alone(tmp_path, stage(accumulate=batches))
    torch.testing.assert_close(seen[name], expected, **CLOSE)
    assert losses(place / name) == pytest.approx(losses(tmp_path), rel=1e-5)
    assert len(losses(tmp_path)) == STEPS


@pytest.mark.parametrize("name", ["to one", "fsdp to one"])
def test_one_process_goes_on_where_two_stopped(name: str, place: Path, tmp_path: Path) -> None:
    """With as many rows in a step, though the recipe says less for one process."""
    expected = alone(tmp_path / "whole", stage(accumulate=4))
    folder = tmp_path / "cut"
    shutil.copytree(place / name, folder)
    found = alone(folder, stage(accumulate=2))
    torch.testing.assert_close(found, expected, **CLOSE)
    assert losses(folder) == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def test_checkpoints_do_not_depend_on_the_processes(place: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    alone(tmp_path, stage(accumulate=4))
    expected = load_file(tmp_path / "checkpoint.safetensors")
    for name in ("ddp", "fsdp"):
        found = load_file(place / name / "checkpoint.safetensors")
        torch.testing.assert_close(found, expected, **CLOSE)


def test_samples_are_of_the_whole_average(seen: dict[str, Any], tmp_path: Path) -> None:
    """Under FSDP as well, where each process has a part of the weights."""
    samples: list[torch.Tensor] = []
    net = Net()

    def sample(step: int) -> None:
        with torch.no_grad():
            samples.append(net(torch.ones(1, 7)).clone())

    fit(net, stage(accumulate=4, sample_every=STEPS), loss, tmp_path, seed=3, on_sample=sample)
    for name in ("ddp sample", "fsdp sample"):
        torch.testing.assert_close(seen[name], samples[0], **CLOSE)


def test_temporal_layers_train_under_fsdp_with_recomputation(
    seen: dict[str, Any], tiny_base: Path, tmp_path: Path
) -> None:
    expected = video(tiny_base, tmp_path, accumulate=2)
    torch.testing.assert_close(seen["video"], expected, rtol=1e-4, atol=1e-6)


def test_a_picture_encoder_learns_in_several_processes(
    seen: dict[str, Any], tmp_path: Path
) -> None:
    expected = words(tmp_path, accumulate=2)
    torch.testing.assert_close(seen["words"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_others_and_no_run(
    killed: int, together: Callable[..., list[int]], tmp_path: Path
) -> None:
    """The first saves the steps so far; where it was killed itself, its last checkpoint counts."""
    expected = alone(tmp_path / "whole", stage(accumulate=4))
    codes = together(2, loses_another, tmp_path / "cut", killed)
    assert codes[killed] == -signal.SIGKILL and codes[1 - killed] == 0
    found = read_about(tmp_path / "cut" / CHECKPOINT)
    assert found["step"] == ("7" if killed else "5")
    torch.testing.assert_close(alone(tmp_path / "cut", stage(accumulate=2)), expected, **CLOSE)


def test_a_file_with_such_a_name_is_no_lost_process() -> None:
    assert lost_another(RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"))
    assert not lost_another(FileNotFoundError(2, "No such file or directory", "/data/gloomy/a"))
    assert not lost_another(UsageError("/data/peer/a.mp4: no such file"))
    assert not lost_another(RuntimeError("expected a tensor of 3 dimensions"))


def test_all_processes_meet_in_each_step() -> None:
    shares = [[Share(3, index, 2, even).of(5) for index in (0, 1)] for even in (False, True)]
    assert shares[0] == [[(15, 1.5), (17, 1.5)], [(16, 1.5)]]
    assert shares[1] == [[(15, 1.5), (17, 1.5)], [(16, 1.5), (15, math.inf)]]
    assert Share(1, 1, 2).of(5) == [(5, math.inf)]


def test_what_fsdp_would_not_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = stage()
    assert not sharding(row, 2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert sharding(row, 2) and not sharding(row, 1)
    for name, value in {
        "FSDP_VERSION": "1",
        "FSDP_OFFLOAD_PARAMS": "true",
        "FSDP_ACTIVATION_CHECKPOINTING": "true",
        "ACCELERATE_USE_DEEPSPEED": "true",
    }.items():
        with monkeypatch.context() as change, pytest.raises(UsageError):
            change.setenv(name, value)
            sharding(row, 2)
    for changes in ({"optimizer": "adamw8bit"}, {"precision": "fp16"}):
        with pytest.raises(UsageError, match="FSDP does not work with"):
            sharding(stage(**changes), 2)


def test_the_recipe_counts_not_what_accelerate_says_of_precision_and_accumulation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone(tmp_path / "a", stage())
    assert "precision" not in capsys.readouterr().err
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    alone(tmp_path / "b", stage())
    assert "precision is no, of the recipe, not accelerate's bf16" in capsys.readouterr().err
    norms = [(tmp_path / name / "log.jsonl").read_text().split("norm")[1:] for name in "ab"]
    assert [line[:12] for line in norms[0]] == [line[:12] for line in norms[1]]


def test_one_process_where_several_were_asked_for_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    warn_of_single()
    assert not capsys.readouterr().err
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # as `accelerate launch --cpu` sets it
    warn_of_single()
    assert "write --multi_gpu in its place" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("WORLD_SIZE", "2")
    warn_of_single()
    assert not capsys.readouterr().err
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    alone(tmp_path, stage())
    assert "one process: FSDP has nothing to divide" in capsys.readouterr().err


def test_blocks_are_the_large_members_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    monkeypatch.setattr(shards, "SMALLEST", 56)
    assert blocks(net) == list(net.layers)
    monkeypatch.setattr(shards, "SMALLEST", 57)
    assert blocks(net) == []
    outer = torch.nn.ModuleList([net, Net()])
    assert blocks(torch.nn.ModuleDict({"a": outer})) == list(outer)
