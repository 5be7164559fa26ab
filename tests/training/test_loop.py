import itertools
import json
import math
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.core.tensor_file import read_about, write_tensors
from animateanywhere.training import throughput
from animateanywhere.training.checkpoint import (
    Position,
    load_checkpoint,
    state_of,
    write_state,
)
from animateanywhere.training.checkpoint_files import CHECKPOINT, PREVIOUS
from animateanywhere.training.ema import Ema
from animateanywhere.training.log import check_tracker
from animateanywhere.training.loop import LossFn, fit, step_generator
from animateanywhere.training.processes import Share
from animateanywhere.training.stage import Stage, check_stages, learning_rate
from animateanywhere.training.state import select
from animateanywhere.training.stopping import Stop


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def loss(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
    x = torch.randn(16, 4, generator=generator)
    value = (net(x) - x.sum(1, keepdim=True)).square().mean()
    return value, {"mean": float(x.mean())}


def stage(steps: int = 12, **changes: object) -> Stage:
    options: dict[str, object] = {
        "learning_rate": 0.01,
        "ema": 0.9,
        "log_every": 1,
        "save_every": 5,
    }
    return Stage("toy", "image", steps, **(options | changes))  # type: ignore[arg-type]


def losses(folder: Path, key: str = "loss") -> list[float]:
    return [json.loads(line)[key] for line in (folder / "log.jsonl").read_text().splitlines()]


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


def test_a_pattern_may_learn_faster(tmp_path: Path) -> None:
    """Adam's first step is as long as the learning rate, wherever there is a gradient."""
    before, after = model(), model()
    quick = stage(steps=1, learning_rate=1e-3, ema=0.0, weight_decay=0.0, rates={"^2\\.": 30.0})
    fit(after, quick, loss, tmp_path, seed=3)
    pairs = zip(after.parameters(), before.parameters(), strict=True)
    moved = [float((a - b).detach().abs().max()) for a, b in pairs]
    assert moved == pytest.approx([1e-3, 1e-3, 0.03, 0.03], rel=1e-3)
    with pytest.raises(UsageError, match="`rates` matches no trainable parameter"):
        fit(model(), stage(rates={"^3": 2.0}), loss, tmp_path / "b", seed=3)


@pytest.mark.parametrize(("accumulate", "rates"), [(1, {}), (2, {}), (1, {"weight": 3.0})])
def test_a_killed_run_resumes_with_the_same_losses(
    tmp_path: Path, accumulate: int, rates: dict[str, float]
) -> None:
    whole = model()
    fit(whole, stage(accumulate=accumulate, rates=rates), loss, tmp_path / "whole", seed=3)

    calls = 0

    def dies(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        nonlocal calls
        calls += 1
        if calls > 8 * accumulate:
            raise Killed
        return loss(net, generator)

    with pytest.raises(Killed):
        fit(model(), stage(accumulate=accumulate, rates=rates), dies, tmp_path / "cut", seed=3)
    assert len(losses(tmp_path / "cut")) == 8  # three more than were saved
    again = model()
    fit(again, stage(accumulate=accumulate, rates=rates), loss, tmp_path / "cut", seed=3)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for mine, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_run_in_channels_last_resumes_with_the_same_losses(tmp_path: Path) -> None:
    """The fused optimizer reads its state in the memory format of the weight."""

    def convolution() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def error(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.randn(4, 3, 8, 8, generator=generator)
        scale = torch.arange(3.0)[:, None, None]  # gradients differ between channels
        return (net(x * scale) - 1).square().mean(), {}

    def dies(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        if len(losses(tmp_path / "cut")) == 8:
            raise Killed
        return error(net, generator)

    fit(convolution(), stage(), error, tmp_path / "whole", seed=3)
    with pytest.raises(Killed):
        fit(convolution(), stage(), dies, tmp_path / "cut", seed=3)
    fit(convolution(), stage(), error, tmp_path / "cut", seed=3)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_ctrl_c_saves_the_step(tmp_path: Path) -> None:
    calls = 0

    def stops(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return loss(net, generator)

    with pytest.raises(KeyboardInterrupt):
        fit(model(), stage(), stops, tmp_path, seed=0)
    fit(model(), stage(), loss, tmp_path, seed=0)
    assert len(losses(tmp_path)) == 12


def at_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, place: type, method: str, call: int, folder: Path
) -> dict[str, torch.Tensor]:
    """Train, interrupted at the end of a call of a method, train on, and return the weights."""
    real, calls = getattr(place, method), itertools.count(1)

    def interrupted(*given: object) -> object:
        result = real(*given)
        if next(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return result

    row = stage(6, ema=0.5, save_every=2, sample_every=2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(place, method, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(model(), row, loss, folder, 0, Samples(folder).write)
    finally:
        signal.signal(signal.SIGINT, before)
        monkeypatch.undo()
    net = model()
    fit(net, row, loss, folder, 0, Samples(folder).write)
    return dict(net.state_dict())


class Samples:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, step: int) -> None:
        with write_aside(self.folder / f"{step}.sample") as aside:
            aside.touch()


@pytest.mark.parametrize(
    ("place", "method", "call"),
    [
        (Ema, "_swap", 1),  # the weights of a sample in place of those of training
        (Ema, "_swap", 2),
        (Ema, "update", 3),  # a step that is taken and not counted or logged
        (Path, "touch", 1),  # in the folder of the log
        (Samples, "write", 1),
    ],
)
def test_ctrl_c_anywhere_in_a_step_changes_nothing(
    place: type, method: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    net = model()
    fit(net, stage(6, ema=0.5, save_every=2, sample_every=2), loss, whole, 0, Samples(whole).write)
    weights = at_ctrl_c(monkeypatch, place, method, call, cut)
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert losses(cut) == losses(whole)
    assert {path.name for path in cut.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_sample_that_a_killed_run_owes_is_made(tmp_path: Path) -> None:
    """It died after the save of the last step, before its sample."""
    row = stage(4, save_every=4)
    fit(model(), row, loss, tmp_path, seed=0)
    sampled: list[int] = []
    fit(model(), stage(4, save_every=4, sample_every=4), loss, tmp_path, 0, sampled.append)
    assert sampled == [4]


def failing(steps: dict[int, BaseException | float]) -> LossFn:
    """`loss`, which is times a number at some calls, counted from 1, or fails there."""
    calls = itertools.count(1)

    def at_times(
        net: nn.Module, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        value, logs = loss(net, generator)
        fault = steps.get(next(calls), 1.0)
        if isinstance(fault, BaseException):
            raise fault
        return value * fault, logs

    return at_times


NAN = float("nan")


def test_a_loss_that_is_not_finite_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, before = model(), {}

    def keep(step: int, parameters: dict[str, nn.Parameter]) -> bool:
        before[step] = parameters["0.weight"].detach().clone()
        return False

    row = stage(8, ema=0.0, save_every=1, max_skipped=3)
    fit(net, row, failing({3: NAN, 4: NAN, 7: math.inf}), tmp_path, seed=0, on_save=keep)
    assert "step 3 is not finite: skipped" in capsys.readouterr().err
    assert sorted(before) == [0, 1, 2, 5, 6, 8]  # what may be the cause is not saved
    assert not torch.equal(before[2], before[5]) and torch.isfinite(before[8]).all()
    assert losses(tmp_path)[2:4] == [None, None] and losses(tmp_path)[6] is None
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("skipped") for line in rows] == [None, None, 1, 2, 2, 2, 3, 3]


def test_a_run_whose_losses_stay_not_finite_stops_before_them(tmp_path: Path) -> None:
    whole, cut, row = model(), model(), stage(12, save_every=2, max_skipped=3)
    fit(whole, row, loss, tmp_path / "whole", seed=0)
    nans = failing(dict.fromkeys((8, 9, 10), NAN))
    with pytest.raises(Failure, match="in 3 steps in a row, up to step 10.* is of step 6"):
        fit(cut, row, nans, tmp_path / "cut", seed=0)
    with pytest.raises(Failure, match="up to step 3.* Nothing was saved before that"):
        fit(model(), row, failing(dict.fromkeys((1, 2, 3), NAN)), tmp_path / "none", seed=0)
    again = model()
    fit(again, row, loss, tmp_path / "cut", seed=0)  # the cause is gone
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert torch.equal(again[0].weight, whole[0].weight)


def test_a_checkpoint_that_is_not_finite_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an earlier version may have written it."""
    with pytest.raises(RuntimeError, match="worker"):
        fit(model(), stage(), failing({8: RuntimeError("worker")}), tmp_path, seed=0)
    path = tmp_path / CHECKPOINT
    about, tensors = read_about(path), load_file(path)
    tensors["model.0.weight"][0, 0] = NAN
    write_tensors(path, tensors, about)
    fit(model(), stage(), loss, tmp_path, seed=0)
    said = " ".join(capsys.readouterr().err.split())
    assert f"{path.name}: model.0.weight is not finite; the checkpoint before it is used" in said
    assert "resuming toy after step 5" in said


def test_an_error_loses_no_step(tmp_path: Path) -> None:
    """Such as of a worker of the data that died."""
    fit(model(), stage(), loss, tmp_path / "whole", seed=0)
    with pytest.raises(RuntimeError, match="worker"):
        fit(model(), stage(), failing({9: RuntimeError("worker")}), tmp_path / "cut", seed=0)
    net = model()
    optimizer, shadow = torch.optim.AdamW(net.parameters()), list(model().parameters())
    saved, _ = load_checkpoint(tmp_path / "cut", dict(net.named_parameters()), optimizer, shadow)
    assert saved == Position(8, passes=1)
    fit(model(), stage(), loss, tmp_path / "cut", seed=0)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


@pytest.mark.parametrize("fault", ["damaged", "missing", "both"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, again = model(), model()
    fit(whole, stage(), loss, tmp_path / "whole", seed=0)
    with pytest.raises(RuntimeError, match="worker"):
        fit(model(), stage(), failing({12: RuntimeError("worker")}), tmp_path, seed=0)
    newest, before = tmp_path / CHECKPOINT, tmp_path / PREVIOUS
    if fault == "missing":  # killed between the two renames
        newest.unlink()
    for path in (newest, before) if fault == "both" else (newest,) if fault == "damaged" else ():
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    fit(again, stage(), loss, tmp_path, seed=0)
    said = " ".join(capsys.readouterr().err.split())
    assert ("the checkpoint before it is used" in said) == (fault != "missing")
    assert ("starts from the beginning" in said) == (fault == "both")
    assert ("resuming toy after step 10 of 12" in said) == (fault != "both")
    assert torch.equal(again[0].weight, whole[0].weight) and len(losses(tmp_path)) == 12


def test_a_damaged_checkpoint_does_not_replace_the_one_before(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="worker"):
        fit(model(), stage(), failing({8: RuntimeError("worker")}), tmp_path, seed=0)
    newest, before = tmp_path / CHECKPOINT, tmp_path / PREVIOUS
    good = before.read_bytes()  # of step 5
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.raises(RuntimeError, match="worker"):
        fit(model(), stage(), failing({3: RuntimeError("worker")}), tmp_path, seed=0)
    assert before.read_bytes() == good
    newest.write_bytes(b"damaged again")
    fit(model(), stage(), loss, tmp_path, seed=0)
    assert len(losses(tmp_path)) == 12


def test_a_disk_that_is_full_for_a_while_ends_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints of steps 4 to 8 and, from step 6 on, the log do not fit."""
    net, whole = model(), model()
    row = stage(12, save_every=2, sample_every=6)
    fit(whole, row, loss, tmp_path / "whole", seed=0)
    limits, steps = resource.getrlimit(resource.RLIMIT_FSIZE), itertools.count(1)

    def bounded(
        net: nn.Module, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        most = {3: 1500, 6: 500, 9: limits[0]}.get(next(steps))
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
        return loss(net, generator)

    def sample(step: int) -> None:
        with write_aside(tmp_path / "cut" / f"{step}.bin") as aside:
            aside.write_bytes(bytes(2000))

    try:
        fit(net, row, bounded, tmp_path / "cut", 0, sample)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = " ".join(capsys.readouterr().err.split())
    for step in (4, 6, 8):
        assert f"step {step} could not be saved" in said
    assert said.count("could not be saved") == 3 and "the checkpoint is of step 2" in said
    assert "the sample of step 6" in said and said.count("log.jsonl cannot be written") == 1
    assert torch.equal(net[0].weight, whole[0].weight)
    assert not (tmp_path / "cut" / "6.bin").exists() and (tmp_path / "cut" / "12.bin").exists()
    assert losses(tmp_path / "cut")[-4:] == losses(tmp_path / "whole")[-4:]
    for folder in (tmp_path / "cut", tmp_path / "whole"):
        assert not (folder / PREVIOUS).exists()  # the stage is over
    newest, expected = (tmp_path / name / CHECKPOINT for name in ("cut", "whole"))
    assert newest.read_bytes() == expected.read_bytes()
    assert not [path for path in (tmp_path / "cut").iterdir() if ".part" in path.name]


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(model(), stage(), loss, tmp_path / "whole", seed=0)
    years = itertools.cycle([0.0, 3e9, 1e9, 1e9 + 5])
    monkeypatch.setattr("time.time", lambda: next(years))
    fit(model(), stage(), loss, tmp_path / "jumped", seed=0)
    assert losses(tmp_path / "jumped") == losses(tmp_path / "whole")
    assert all(rate > 0 for rate in losses(tmp_path / "jumped", "rows_per_second"))
    assert "data_share" not in (tmp_path / "jumped" / "log.jsonl").read_text()  # nobody measured it


def test_slow_data_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "WATCHED", 0.1)

    def slow(generator: torch.Generator) -> torch.Tensor:
        time.sleep(0.02)
        return torch.randn(16, 4, generator=generator)

    data = throughput.Draw(slow)

    def drawn(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        return net(data(generator)).square().mean(), {}

    fit(model(), stage(batch=16), drawn, tmp_path, seed=0, data=data)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the device waits for data") == 1
    assert 0.3 < losses(tmp_path, "data_share")[-1] < 1
    assert 100 < losses(tmp_path, "rows_per_second")[-1] < 16 / 0.02
    assert losses(tmp_path, "memory_gb")[-1] > 0.1


def test_the_log_goes_to_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Offline; a resumed run is the same one there."""
    pytest.importorskip("wandb", reason="wandb is an extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "base" / "training" / "toy"
    folder.mkdir(parents=True)
    (folder / "tracked-run").write_text("0123abcd")  # by which the run was begun
    fit(model(), stage(4), loss, folder, seed=0, track="wandb")
    runs = list((folder / "wandb").glob("offline-run-*-0123abcd"))
    assert len(runs) == 1
    (written,) = runs[0].glob("*.wandb")
    for _ in range(300):  # a process of its own writes it
        if b"rows_per_second" in written.read_bytes():
            break
        time.sleep(0.1)
    assert b"gradient_norm" in written.read_bytes()
    assert not capsys.readouterr().out  # which is for the result


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("animateanywhere.training.log.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--track wandb needs wandb; run: "):
        check_tracker("wandb")


def test_the_rows_of_a_step_are_whole_passes() -> None:
    check_stages([stage(batch=4, global_batch=12)], "r")
    for changes in (
        {"batch": 4, "global_batch": 6},
        {"global_batch": -1},
        {"global_batch": 4, "accumulate": 2},
        {"max_skipped": 0},
    ):
        with pytest.raises(UsageError, match="r: stage toy: (global_batch|max_skipped) "):
            check_stages([stage(**changes)], "r")


def test_training_reduces_the_loss_and_seeds_differ(tmp_path: Path) -> None:
    fit(model(), stage(80), loss, tmp_path / "a", seed=0)
    fit(model(), stage(80), loss, tmp_path / "b", seed=1)
    a, b = losses(tmp_path / "a"), losses(tmp_path / "b")
    assert sum(a[-10:]) < 0.5 * sum(a[:10])
    assert a != b


def test_only_parameters_matching_a_pattern_are_trained(tmp_path: Path) -> None:
    net = model()
    before = {name: p.clone() for name, p in net.named_parameters()}
    trained = fit(net, stage(train=("^2\\.",)), loss, tmp_path, seed=0)
    assert sorted(trained) == ["2.bias", "2.weight"]
    assert torch.equal(net[0].weight, before["0.weight"])
    assert not torch.equal(net[2].weight, before["2.weight"])


def test_a_pattern_without_a_match_is_an_error() -> None:
    with pytest.raises(UsageError, match="attn9"):
        select(model(), ("0", "attn9"))


def test_a_failed_save_leaves_the_old_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    for step in (1, 2):
        tensors = state_of(dict(net.named_parameters()), optimizer, [])
        write_state(tmp_path, tensors, Position(step))
    paths = [tmp_path / PREVIOUS, tmp_path / CHECKPOINT]
    good = [path.read_bytes() for path in paths]

    def half(tensors: object, file: Path, about: object) -> None:
        file.write_bytes(good[0][: len(good[0]) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(OSError, match="no space left"):
        write_state(tmp_path, tensors, Position(3))
    assert [path.read_bytes() for path in paths] == good
    assert sorted(tmp_path.iterdir()) == paths


def test_the_learning_rate_rises_and_falls() -> None:
    row = stage(100, warmup=10, decay=0.5, learning_rate=2.0)
    rates = [learning_rate(row, step) for step in range(100)]
    assert rates[0] == 0.2 and rates[9:51] == [2.0] * 42 and rates[75] == 1.0
    assert rates[99] == pytest.approx(0.04)
    assert {learning_rate(stage(100, learning_rate=2.0), step) for step in range(100)} == {2.0}


def test_on_save_is_called_and_may_stop(tmp_path: Path) -> None:
    told: list[int] = []

    def on_save(step: int, parameters: dict[str, nn.Parameter]) -> bool:
        net.eval()  # as a callback may do; training continues in training mode
        told.append(step)
        return step == 10

    def in_training(
        net: nn.Module, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        assert net.training
        return loss(net, generator)

    net = model()
    fit(net, stage(ema=0.0), in_training, tmp_path, seed=0, on_save=on_save)
    assert told == [0, 5, 10] and len(losses(tmp_path)) == 10
    assert not (tmp_path / PREVIOUS).exists()  # the stage is over
    after = [p.clone() for p in net.parameters()]
    again = model()  # a stopped run does not continue
    fit(again, stage(ema=0.0), loss, tmp_path, seed=0, on_save=lambda step, _: step == 10)
    assert len(losses(tmp_path)) == 10
    assert all(torch.equal(a, b) for a, b in zip(after, again.parameters(), strict=True))
    fit(again, stage(ema=0.0), loss, tmp_path, seed=0)
    assert len(losses(tmp_path)) == 12


def test_on_save_gets_ema_weights_and_training_continues_without(tmp_path: Path) -> None:
    seen: dict[int, torch.Tensor] = {}

    def on_save(step: int, parameters: dict[str, nn.Parameter]) -> bool:
        seen[step] = parameters["0.weight"].detach().clone()
        return False

    told, plain = model(), model()
    fit(told, stage(), loss, tmp_path / "a", seed=0, on_save=on_save)
    fit(plain, stage(), loss, tmp_path / "b", seed=0)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert sorted(seen) == [0, 5, 10, 12]
    assert torch.equal(seen[12], plain[0].weight)  # `fit` returns the EMA weights too


def test_the_average_is_that_of_all_steps(tmp_path: Path) -> None:
    """Its decay rises as 1 - (1 + step) ** -0.75 up to `ema`, and the first step replaces it."""
    plain: list[torch.Tensor] = []
    averages: list[torch.Tensor] = []

    def keep(into: list[torch.Tensor]) -> Callable[[int, dict[str, nn.Parameter]], bool]:
        def on_save(step: int, parameters: dict[str, nn.Parameter]) -> bool:
            into.append(parameters["0.weight"].detach().clone())
            return False

        return on_save

    row = stage(6, ema=0.5, save_every=1)
    fit(model(), stage(6, ema=0.0, save_every=1), loss, tmp_path / "a", seed=0, on_save=keep(plain))
    net = model()
    trained = fit(net, row, loss, tmp_path / "b", seed=0, on_save=keep(averages))
    expected = [plain[0]]
    for number, weight in enumerate(plain[1:]):
        decay = min(1 - (1 + number) ** -0.75, 0.5)
        expected.append(decay * expected[-1] + (1 - decay) * weight)
    torch.testing.assert_close(averages, expected)
    assert torch.equal(trained["0.weight"], averages[-1])
    assert torch.equal(net[0].weight, averages[-1])
    assert not torch.allclose(averages[-1], plain[-1])


def test_samples_show_the_average_and_come_when_they_should(tmp_path: Path) -> None:
    averages: dict[int, torch.Tensor] = {}
    sampled: dict[int, torch.Tensor] = {}

    def on_save(step: int, parameters: dict[str, nn.Parameter]) -> bool:
        averages[step] = parameters["0.weight"].detach().clone()
        return False

    def on_sample(step: int) -> None:
        sampled[step] = net[0].weight.detach().clone()

    net = model()
    row = stage(8, save_every=1, sample_every=4)
    fit(net, row, loss, tmp_path, seed=0, on_sample=on_sample, on_save=on_save)
    assert sorted(sampled) == [4, 8]
    assert all(torch.equal(weight, averages[step]) for step, weight in sampled.items())


def test_every_pass_draws_its_own_whoever_does_it() -> None:
    drawn = {
        float(torch.rand((), generator=step_generator(seed, number)))
        for seed in range(4)
        for count in (1, 2, 3)
        for index in range(count)
        for step in range(10)
        for number, _ in Share(6, index, count).of(step)
    }
    assert len(drawn) == 4 * 6 * 10
    again, twice = (torch.rand(3, generator=step_generator(1, 2)) for _ in range(2))
    assert torch.equal(again, twice)


def mean_loss(generators: Callable[[int], list[torch.Generator]]) -> LossFn:
    """The mean of `loss` over several generators of each step, in one pass."""
    steps = itertools.count()

    def mean(net: nn.Module, _: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        values = [loss(net, generator)[0] for generator in generators(next(steps))]
        return torch.stack(values).mean(), {}

    return mean


def test_a_step_is_the_mean_of_the_batches_it_accumulates(tmp_path: Path) -> None:
    once, parts = model(), model()
    row = stage(4, ema=0.0)
    together = mean_loss(lambda step: [step_generator(3, 3 * step + part) for part in range(3)])
    fit(once, row, together, tmp_path / "once", seed=3)
    fit(parts, stage(4, ema=0.0, accumulate=3), loss, tmp_path / "parts", seed=3)
    torch.testing.assert_close(parts.state_dict(), once.state_dict())
    for key in ("loss", "gradient_norm"):  # Adam itself does not see how long a gradient is
        expected = losses(tmp_path / "once", key)
        assert losses(tmp_path / "parts", key) == pytest.approx(expected, rel=1e-4)


def test_its_progress_is_reported(tmp_path: Path) -> None:
    """Stage, step, total, loss and time left; a resumed run begins where the first ended."""

    def interrupted(step: int, parameters: dict[str, nn.Parameter]) -> bool:
        return step == 5

    first, second = Events(), Events()
    with reporting_to(first):
        fit(model(), stage(), loss, tmp_path, seed=0, on_save=interrupted)
    with reporting_to(second):
        fit(model(), stage(), loss, tmp_path, seed=0)
    steps = [event for event in first.events + second.events if event["kind"] == "progress"]
    assert [event["step"] for event in steps] == [*range(6), *range(5, 13)]
    assert {(event["stage"], event["total"]) for event in steps} == {("toy", 12)}
    assert [event["loss"] for event in steps if "loss" in event] == losses(tmp_path)
    assert steps[-2]["eta"] > 0 == steps[-1]["eta"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_where_it_would_do_harm(kind: signal.Signals) -> None:
    """In the middle of a log, TensorBoard's thread would be waited for in vain."""
    before = signal.signal(kind, signal.default_int_handler)
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), Stop() as stop:
            signal.raise_signal(kind)
            signal.raise_signal(kind)
            done.append("logged")
            with stop.at_once():
                done.append("never")
        assert done == ["logged"] and stop.requested == kind
        assert signal.getsignal(kind) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt), Stop() as stop, stop.at_once():
            signal.raise_signal(kind)
            done.append("never")
        with pytest.raises(KeyboardInterrupt), Stop():
            signal.raise_signal(kind)
            done.append("to its end")
        signal.signal(kind, signal.SIG_IGN)  # as of nohup
        with Stop() as stop:
            signal.raise_signal(kind)
        assert not stop.requested
    finally:
        signal.signal(kind, before)
    assert done == ["logged", "to its end"]


def test_tensorboard_reads_what_a_resumed_run_logged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Killed):
        fit(model(), stage(), failing({9: Killed()}), tmp_path, seed=0)
    fit(model(), stage(), loss, tmp_path, seed=0)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = events.Scalars("loss")
    assert [event.step for event in found] == [*range(1, 13)]
    assert [event.value for event in found] == pytest.approx(losses(tmp_path))
    assert {"gradient_norm", "rows_per_second", "mean"} < set(events.Tags()["scalars"])


def test_moments_lie_in_memory_as_their_weights_do(tmp_path: Path) -> None:
    """Fused AdamW would otherwise mix up the moments of a network that is channels last."""

    def train(steps: int, resume: bool) -> torch.Tensor:
        torch.manual_seed(0)
        net = torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parameters = dict(net.named_parameters())
        optimizer = torch.optim.AdamW(net.parameters(), 0.1, fused=True)
        start = load_checkpoint(tmp_path, parameters, optimizer, [])[0].step if resume else 0
        for step in range(start, steps):
            frames = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(step))
            net(frames.contiguous(memory_format=torch.channels_last)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        write_state(tmp_path, state_of(parameters, optimizer, []), Position(steps))
        return net.weight.detach().clone()

    whole = train(4, resume=False)
    train(2, resume=False)
    assert torch.equal(train(4, resume=True), whole)


def test_a_resumed_run_in_float16_goes_on_with_its_scale(tmp_path: Path) -> None:
    """What the loop does on a GPU, with the scaler of a processor."""

    def train(steps: int, resume: bool) -> list[float]:
        net = model()
        parameters = dict(net.named_parameters())
        optimizer = torch.optim.AdamW(net.parameters(), 0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2)
        seen = []
        start = (
            load_checkpoint(tmp_path, parameters, optimizer, [], scaler)[0].step if resume else 0
        )
        for step in range(start, steps):
            value, _ = loss(net, step_generator(0, step))
            scaler.scale(value * (float("inf") if step == 1 else 1)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            seen.append(scaler.get_scale())
        write_state(tmp_path, state_of(parameters, optimizer, []), Position(steps), scaler)
        return seen

    whole = train(7, resume=False)
    assert len(set(whole)) == 3  # it falls, and grows again after two steps
    train(3, resume=False)
    assert train(7, resume=True) == whole[3:]


def test_weights_that_are_not_finite_replace_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here after a step whose loss and gradient were finite: it would be the last good state."""
    calls = itertools.count(1)

    def spoils(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        value, logs = loss(net, generator)
        if next(calls) == 10:
            net[0].weight.data[0, 0] = NAN  # behind the loss, and seen in the next one
        return value, logs

    with pytest.raises(Failure, match="in 2 steps in a row, up to step 12. .* of step 5, before"):
        fit(model(), stage(20, max_skipped=2), spoils, tmp_path / "cut", seed=0)
    said = " ".join(capsys.readouterr().err.split())
    assert "toy: step 10 could not be saved: model.0.weight is not finite; the checkpoint" in said
    whole, again = model(), model()
    fit(whole, stage(20), loss, tmp_path / "whole", seed=0)
    fit(again, stage(20), loss, tmp_path / "cut", seed=0)
    assert torch.equal(again[0].weight, whole[0].weight)
