"""Which motion of the puppets a video shows, by the tracks of its joints.

A small network that learns from the renderer's own joints, in seconds, whenever it is needed: no
weights are kept.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from animateanywhere.evaluation.pose_fit import FEWEST, VISIBLE, Repertoire
from animateanywhere.puppets import MOTIONS

STEPS, BATCH, RATE = 300, 128, 2e-3
WIDTH = 96
NOISE = 0.024  # at most, of joints, in heights: as the perception network errs
HIDDEN = 0.15, 0.1  # chances that a joint is not seen in a clip, and in a frame


class Tracks(nn.Module):
    """Three convolutions over time and a mean; 0.08 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = (5 * 18, WIDTH, WIDTH, WIDTH)
        self.body = nn.Sequential(*(
            layer for inside, outside in pairwise(widths)
            for layer in (nn.Conv1d(inside, outside, 3, 1, 1), nn.ReLU())
        ))  # fmt: skip
        self.head = nn.Linear(WIDTH, len(MOTIONS))

    def forward(self, places: Tensor, seen: Tensor) -> Tensor:
        """Logits (B, 11) of joints (B, F, 18, 2), of which `seen` (B, F, 18) is 1 or 0."""
        logits: Tensor = self.head(self.body(features(places, seen)).mean(-1))
        return logits


def features(places: Tensor, seen: Tensor) -> Tensor:
    """Places, steps and visibility of joints, (B, 90, F): about the clip's mean, in its spread."""
    shown = seen[..., None]
    count = shown.sum((1, 2, 3), keepdim=True).clamp_min(1)
    middle = (places * shown).sum((1, 2), keepdim=True) / count
    own = (places - middle) * shown
    own = own / ((own**2).sum((1, 2, 3), keepdim=True) / count).sqrt().clamp_min(1e-6)
    steps = torch.zeros_like(own)
    steps[:, 1:] = (own[:, 1:] - own[:, :-1]) * shown[:, 1:] * shown[:, :-1]
    return torch.cat([own.flatten(2), 4 * steps.flatten(2), seen], 2).transpose(1, 2)


@cache
def motion_network(known: Repertoire, frames: int, steps: int = STEPS) -> Tracks:
    """The network for clips of so many frames, trained on known motions. 10 s of one core."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Tracks()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.05)
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
            places, seen, names = _rows(known, frames, generator)
            loss = F.cross_entropy(net(places, seen), names, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


def _rows(
    known: Repertoire, frames: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Joints (B, F, 18, 2), which are seen (B, F, 18), and the motions' numbers (B,)."""
    motions, length = known.joints.shape[:2]
    if frames > length:
        raise ValueError(f"clips of {frames} frames are longer than the motions, {length}")
    chosen = torch.randint(motions, (BATCH,), generator=generator)
    start = torch.randint(length - frames + 1, (BATCH,), generator=generator)
    rows = chosen[:, None].numpy(), (start[:, None] + torch.arange(frames)).numpy()
    places = torch.from_numpy(known.joints[rows])
    error = NOISE * torch.rand(BATCH, 1, 1, 1, generator=generator)
    places = places + error * torch.randn(places.shape, generator=generator)
    always = torch.rand(BATCH, 1, 18, generator=generator) > HIDDEN[0]
    now = torch.rand(BATCH, frames, 18, generator=generator) > HIDDEN[1]
    names = [MOTIONS.index(known.motions[number].name) for number in chosen.tolist()]
    return places, (always & now).float(), torch.tensor(names)


@torch.no_grad()
def motion_of(net: Tracks, keypoints: np.ndarray) -> str | None:
    """The name of the motion that joints (F, 18, 3) show; None where too few are visible."""
    seen = torch.from_numpy((keypoints[..., 2] > VISIBLE).astype(np.float32))[None]
    if seen.sum() < FEWEST * len(keypoints):
        return None
    places = torch.from_numpy(keypoints[..., :2].astype(np.float32))[None]
    return MOTIONS[int(net(places, seen).argmax())]
