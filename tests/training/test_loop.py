import json
from pathlib import Path

import pytest
import torch
from torch import nn

from animateanywhere.core.errors import UsageError
from animateanywhere.training.checkpoint import save_checkpoint
from animateanywhere.training.loop import fit, learning_rate, select
from animateanywhere.training.stage import Stage


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


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


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


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, 1, dict(net.named_parameters()), optimizer, None)
    good = path.read_bytes()
    with pytest.raises(Exception, match=".*"):
        save_checkpoint(path, 2, {"bad": object()}, optimizer, None)  # type: ignore[dict-item]
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


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
