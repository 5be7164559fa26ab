"""Training of the face detector on puppets, and its accuracy on held-out puppets.

Faces that cannot be seen are made from visible ones: painted over with skin, blurred as by an
autoencoder, or smudged. Heads from behind and other parts of the pictures show none either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from animateanywhere.evaluation.face_detector import (
    FACE,
    LEAST,
    ROOM,
    SIDE,
    THRESHOLD,
    FaceDetector,
    face_crops,
    face_probabilities,
    frontal_frames,
    head_width,
)
from animateanywhere.puppets import PARTS, Clip
from animateanywhere.training.log import Track
from animateanywhere.training.loop import fit
from animateanywhere.training.stage import Stage

WIDE = 40  # pixels a side of crops before augmentation, at the scale of the network's input
FRONT, BLANK, BEHIND = "faces", "blank_faces", "backs_of_heads"  # names of samples


def head_samples(clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """Crops uint8 (N, 40, 40, 3) of heads in single rendered frames: from the front (FRONT), the
    same with the face painted over (BLANK), and from behind or hidden (BEHIND)."""
    found: dict[str, list[np.ndarray]] = {FRONT: [], BLANK: [], BEHIND: []}
    for clip in clips:
        height, width = clip.frames.shape[1:3]
        x, y = clip.keypoints[0, 0, :2]
        if head_width(clip) < LEAST or not (0 <= x < width and 0 <= y < height):
            continue
        if frontal_frames(clip)[0]:
            found[FRONT].append(_wide(clip.frames, clip))
            found[BLANK].append(_wide(without_face(clip), clip))
        elif not clip.keypoints[0, FACE, 2].any():
            found[BEHIND].append(_wide(clip.frames, clip))
    empty = np.zeros((0, WIDE, WIDE, 3), np.uint8)
    return {name: np.concatenate([empty, *crops]) for name, crops in found.items()}


def without_face(clip: Clip) -> np.ndarray:
    """Frames uint8 (F, H, W, 3) of a true render, with the face painted over with its own shades:
    each pixel gets the mean of the face's colors around it."""
    face = (clip.parts == PARTS.index("face"))[..., None].astype(np.float32)
    sigma = 0.3 * head_width(clip)
    spread = (0, sigma, sigma, 0)
    weight = np.maximum(gaussian_filter(face, spread), 1e-4)
    skin = gaussian_filter(clip.frames * face, spread) / weight
    return (clip.frames * (1 - face) + skin * face).clip(0, 255).astype(np.uint8)


def _wide(frames: np.ndarray, clip: Clip) -> np.ndarray:
    return face_crops(frames, clip, WIDE, ROOM * WIDE / SIDE)


def draw_heads(
    data: dict[str, np.ndarray], count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A batch of crops (count, 3, 24, 24) in -1..1, and whether each shows a face, (count,).

    Half of them do. Of the others, two sevenths are from behind, and a seventh each is painted
    over, painted over and smudged, blurred, blurred within the face only, and not of the head.
    """

    def picked(name: str, number: int) -> np.ndarray:
        """Random rows of some samples; only few puppets are seen from behind, or none."""
        known = len(data[name]) or len(data[BLANK])
        return torch.randint(known, (number,), generator=generator).numpy()

    def crops_of(name: str, which: np.ndarray) -> Tensor:
        some = data[name] if len(data[name]) else data[BLANK]
        return torch.from_numpy(some[which]).permute(0, 3, 1, 2) / 127.5 - 1

    def draw(name: str, number: int) -> Tensor:
        return crops_of(name, picked(name, number))

    part = count // 14
    half = count - 7 * part
    same = picked(FRONT, part)
    face, blank = crops_of(FRONT, same), crops_of(BLANK, same)
    kinds = [
        _blur(draw(FRONT, half), 0.0, 0.7, generator),
        draw(BEHIND, 2 * part),
        _blur(draw(BLANK, part), 0.0, 2.0, generator),
        _blur(_smudge(draw(BLANK, part), generator), 0.0, 2.0, generator),
        _blur(draw(FRONT, part), 1.7, 3.5, generator),
        _blur(blank + _blur(face - blank, 1.4, 3.0, generator), 0.0, 1.5, generator),
        draw(FRONT, part),
    ]
    away = torch.arange(count) >= count - part
    crops = _move(torch.cat(kinds), away, generator)
    noise = torch.randn(crops.shape, generator=generator) * 0.1
    gain = 1 + 0.5 * (torch.rand(count, 3, 1, 1, generator=generator) - 0.5)
    offset = 0.4 * (torch.rand(count, 3, 1, 1, generator=generator) - 0.5)
    strength = torch.rand(count, 1, 1, 1, generator=generator)
    shown = (torch.arange(count) < half).float()
    return (crops * gain + offset + noise * strength).clamp(-1, 1), shown


def _move(crops: Tensor, away: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror, turn, scale and shift crops (B, 3, 40, 40), and cut out (B, 3, 24, 24); those that
    are `away` (B,) are shifted until the face is outside."""
    count, cut = len(crops), SIDE / WIDE

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle, zoom, flip = draw(-0.35, 0.35), draw(0.85, 1.2), draw(-1, 1).sign()
    shift = torch.stack([draw(-0.18, 0.18), draw(-0.18, 0.18)], -1)  # 0.18 of 20 pixels
    direction = draw(0, 2 * torch.pi)
    far = torch.stack([direction.cos(), direction.sin()], -1) * draw(0.75, 1.2)[:, None]
    shift = torch.where(away[:, None], far, shift)
    c, s = cut * zoom * angle.cos(), cut * zoom * angle.sin()
    affine = torch.stack([torch.stack([c * flip, -s, shift[:, 0]], -1),
                          torch.stack([s * flip, c, shift[:, 1]], -1)], 1)  # fmt: skip
    grid = F.affine_grid(affine, [count, 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(crops, grid, padding_mode="border", align_corners=False)


def _blur(crops: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Blur each by a Gaussian of a random deviation in pixels."""
    count, channels, side, _ = crops.shape
    sigma = torch.rand(count, 1, generator=generator) * (high - low) + low
    away = torch.arange(-7.0, 8.0)
    kernel = torch.exp(-0.5 * (away / sigma.clamp(min=0.05)) ** 2)
    kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(channels, 0)
    x = crops.reshape(1, -1, side, side)
    for shape, pad in (((1, 15), (7, 7, 0, 0)), ((15, 1), (0, 0, 7, 7))):
        weight = kernel.view(-1, 1, *shape)
        x = F.conv2d(F.pad(x, pad, mode="replicate"), weight, groups=count * channels)
    return x.view_as(crops)


def _smudge(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Add one to three soft spots, mostly dark, within the face: what a small network draws in
    place of one."""
    grid = torch.arange(WIDE, dtype=torch.float32)
    for _ in range(3):
        x, y, strength = torch.rand(3, len(crops), 1, 1, generator=generator)
        radius = 1.2 + 2.0 * torch.rand(len(crops), 1, 1, generator=generator)
        x, y = WIDE / 2 + 8 * (x - 0.5), WIDE / 2 + 10 * (y - 0.5)
        spot = torch.exp(-(((grid - x) / radius) ** 2) - ((grid[:, None] - y) / radius) ** 2)
        crops = crops + ((0.3 - strength) * spot)[:, None]
    return crops.clamp(-1, 1)


def train_face_detector(
    data: dict[str, np.ndarray], stage: Stage, folder: Path, seed: int, track: Track | None = None
) -> FaceDetector | None:
    """Train on `head_samples`; None if they show no face.

    stage: of the perception network; this one takes two thirds of its steps, with four times as
    many rows. folder: for log and checkpoint. track: see `training.loop.fit`.
    """
    if not len(data[FRONT]):
        return None
    torch.manual_seed(seed)
    own = replace(
        stage, name="faces", steps=max(2 * stage.steps // 3, 1), batch=4 * stage.batch,
        global_batch=4 * stage.global_batch, warmup=2 * stage.warmup // 3,
    )  # fmt: skip

    def loss(net: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        crops, shown = draw_heads(data, own.batch, generator)
        device = next(net.parameters()).device
        logits, shown = net(crops.to(device)), shown.to(device)
        right = ((logits > 0) == (shown > 0.5)).float().mean()
        return F.binary_cross_entropy_with_logits(logits, shown), {"right": float(right)}

    net = FaceDetector()
    fit(net, own, loss, folder, seed, track=track)
    return net.cpu()


def face_accuracy(net: FaceDetector, data: dict[str, np.ndarray]) -> dict[str, float]:
    """Shares of `head_samples` in which a face is found, by "found_in_" and the samples' name."""
    rim = (WIDE - SIDE) // 2
    return {
        f"found_in_{name}": float(
            (face_probabilities(net, data[name][:, rim:-rim, rim:-rim]) > THRESHOLD).mean()
        )
        for name in (FRONT, BLANK, BEHIND)
        if len(data[name])
    }
