"""Muon: against PyTorch's class on matrices, and in the training loop."""

from pathlib import Path

import pytest
import torch
from torch import nn

from animateanywhere.training.loop import fit
from animateanywhere.training.muon import LIKE_ADAMW, Muon, orthogonalized
from animateanywhere.training.optimizer import make_optimizer
from animateanywhere.training.stage import Stage


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_directions_become_equally_long(shape: tuple[int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    lengths = torch.linalg.svdvals(orthogonalized(x))
    assert lengths.min() > 0.6 and lengths.max() < 1.3
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    assert torch.cosine_similarity(orthogonalized(x).flatten(), (left @ right).flatten(), 0) > 0.97


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch 2.9 has it")
def test_matrices_move_as_by_pytorch() -> None:
    """But for rounding in bfloat16."""
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(6, 20, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    start = ours.weight.detach().clone()
    ours_rule = Muon([{"params": [ours.weight], "matrices": True, "weight_decay": 0.1}], 0.02)
    theirs_rule = torch.optim.Muon(
        [theirs.weight], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        x = torch.randn(5, 6, generator=generator)
        for net, rule in ((ours, ours_rule), (theirs, theirs_rule)):
            rule.zero_grad()
            net(x).square().mean().backward()
            rule.step()
    moved = (ours.weight - start).flatten().detach(), (theirs.weight - start).flatten().detach()
    assert torch.cosine_similarity(*moved, 0) > 0.995
    assert moved[0].norm() == pytest.approx(float(moved[1].norm()), rel=0.02)


def test_a_convolution_is_a_matrix_of_its_outputs() -> None:
    net = nn.Conv2d(3, 8, 3, bias=False)
    before = net.weight.detach().clone()
    rule = Muon([{"params": [net.weight], "matrices": True, "weight_decay": 0.0}], 0.01)
    net.weight.grad = torch.randn(net.weight.shape, generator=torch.Generator().manual_seed(0))
    rule.step()
    moved = (net.weight.detach() - before).flatten(1)
    lengths = torch.linalg.svdvals(moved) / (0.01 * LIKE_ADAMW * 27**0.5)
    assert lengths.min() > 0.6 and lengths.max() < 1.3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.norm = nn.Embedding(5, 4), nn.LayerNorm(4)
        self.conv, self.head = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(6, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embedding(ids)).transpose(1, 2)
        return self.head(self.conv(x).tanh().mean(2))  # type: ignore[no-any-return]


def loss(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
    ids = torch.randint(5, (8, 6), generator=generator)
    return (net(ids)[:, 0] - (ids == 2).float().mean(1)).square().mean(), {}


def stage(**changes: object) -> Stage:
    options: dict[str, object] = {"learning_rate": 0.02, "ema": 0.9, "save_every": 5}
    return Stage("toy", "image", 12, optimizer="muon", **(options | changes))  # type: ignore[arg-type]


def test_only_matrices_are_trained_by_muon() -> None:
    named = dict(Net().named_parameters())
    groups = make_optimizer(named, stage()).param_groups
    names = {id(parameter): name for name, parameter in named.items()}
    found = {names[id(p)] for group in groups if group["matrices"] for p in group["params"]}
    assert found == {"conv.weight", "head.weight"}


def test_a_run_by_muon_learns_and_resumes_exactly(tmp_path: Path) -> None:
    whole, parts = Net(), Net()
    first = float(loss(whole, torch.Generator().manual_seed(9))[0].detach())
    fit(whole, stage(), loss, tmp_path / "whole", seed=3)
    assert float(loss(whole, torch.Generator().manual_seed(9))[0].detach()) < 0.5 * first

    calls = 0

    def dies(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise KeyboardInterrupt
        return loss(net, generator)

    with pytest.raises(KeyboardInterrupt):
        fit(parts, stage(), dies, tmp_path / "parts", seed=3)
    again = Net()
    fit(again, stage(), loss, tmp_path / "parts", seed=3)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
