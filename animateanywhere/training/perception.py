"""Train the perception network on puppets, and say how well it sees puppets it never saw."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.console import progress
from animateanywhere.files import folder_aside
from animateanywhere.metrics import pck, person_height, silhouette_iou
from animateanywhere.models.perception import (
    CELL,
    SIDE,
    Perception,
    load_perception,
    perceive,
    save_perception,
)
from animateanywhere.puppets import SCENES, Clip, render_batch, sample_spec

MIRROR = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]  # right for left
SPAN = 4.0  # seconds of a motion that frames are taken from


def render_samples(
    seeds: Sequence[int], split: str, chunk: int = 32, label: str = "puppets"
) -> dict[str, np.ndarray]:
    """One frame each of many puppets: frames, masks, keypoints and scene numbers, 128x128."""
    names, kept = list(SCENES), list[Clip]()
    with progress(label, total=len(seeds)) as bar:
        for start in range(0, len(seeds), chunk):
            some = seeds[start : start + chunk]
            specs = [sample_spec(seed, split) for seed in some]
            times = [float(np.random.default_rng(seed).uniform(0, SPAN)) for seed in some]
            kept += render_batch(specs, times, SIDE)
            bar.advance(len(some))
    return {
        "frames": np.concatenate([clip.frames for clip in kept]),
        "masks": np.concatenate([clip.masks for clip in kept]),
        "keypoints": np.concatenate([clip.keypoints for clip in kept]),
        "scenes": np.array([names.index(clip.spec.scene.name) for clip in kept]),
    }


def augment(
    frames: Tensor, masks: Tensor, keypoints: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror, move, zoom, and spoil as an autoencoder and a diffusion model spoil.

    frames `(B, 3, 128, 128)` in -1..1, masks `(B, 128, 128)` 0..1, keypoints `(B, 18, 3)` pixels.
    """

    def draw(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.empty(*shape).uniform_(low, high, generator=generator)

    count = len(frames)
    flip = draw(count) < 0.5
    sign = torch.where(flip, -1.0, 1.0)
    zoom, shift = draw(count, low=0.85, high=1.25), draw(count, 2, low=-0.15, high=0.15)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = sign / zoom, 1 / zoom, shift
    grid = F.affine_grid(affine, [count, 1, SIDE, SIDE], align_corners=False)
    frames = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
    masks = F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
    keypoints = torch.where(flip[:, None, None], keypoints[:, MIRROR], keypoints)
    places = keypoints[..., :2] / (SIDE / 2) - 1  # (B, 18, 2) in -1..1
    scale = torch.stack([sign / zoom, 1 / zoom], dim=-1)[:, None]
    places = ((places - shift[:, None]) / scale + 1) * (SIDE / 2)
    inside = ((places >= 0) & (places < SIDE)).all(-1)
    keypoints = torch.cat([places, (keypoints[..., 2] * inside)[..., None]], dim=-1)

    blur = int(torch.randint(0, 4, (1,), generator=generator))  # of the first third
    if blur:
        some = frames[: count // 3]
        small = F.interpolate(some, scale_factor=1 / (1 + blur), mode="area")
        frames[: count // 3] = F.interpolate(small, (SIDE, SIDE), mode="bilinear")
    gain, offset = draw(count, 3, 1, 1, low=0.8, high=1.2), draw(count, 3, 1, 1, low=-0.2, high=0.2)
    coarse = torch.randn(count, 3, 16, 16, generator=generator) * draw(count, 1, 1, 1, high=0.12)
    fine = torch.randn(count, 3, SIDE, SIDE, generator=generator) * draw(count, 1, 1, 1, high=0.08)
    stains = F.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return (frames * gain + offset + stains + fine).clamp(-1, 1), masks, keypoints


def perception_loss(
    out: dict[str, Tensor], masks: Tensor, keypoints: Tensor, scenes: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of heatmaps to Gaussians (visible keypoints), presence, mask and scene."""
    visible = keypoints[..., 2]  # (B, 18)
    centers = (torch.arange(SIDE // CELL) + 0.5) * CELL
    x, y = keypoints[..., 0:1], keypoints[..., 1:2]
    across = torch.exp(-0.5 * ((centers - x) / CELL) ** 2)  # (B, 18, 32), one cell wide
    down = torch.exp(-0.5 * ((centers - y) / CELL) ** 2)
    target = (down[..., :, None] * across[..., None, :]).flatten(2)
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-6)
    entropy = -(target * out["heatmaps"].flatten(2).log_softmax(-1)).sum(-1)
    heat = (entropy * visible).sum() / visible.sum().clamp_min(1)
    presence = F.binary_cross_entropy_with_logits(out["presence"], visible)
    pixels = F.binary_cross_entropy_with_logits(out["mask"], masks)
    soft = out["mask"].sigmoid()
    overlap = 2 * (soft * masks).sum((1, 2)) / ((soft + masks).sum((1, 2)) + 1)
    scene = F.cross_entropy(out["scene"], scenes, label_smoothing=0.05)
    loss = heat + 0.5 * presence + 2 * pixels + (1 - overlap.mean()) + 0.5 * scene
    logs = {"heat": heat, "presence": presence, "mask": pixels, "scene": scene}
    return loss, {name: float(value.detach()) for name, value in logs.items()}


def accuracy(net: Perception, samples: dict[str, np.ndarray]) -> dict[str, float]:
    """How well the network sees rendered samples: pck, silhouette_iou, scene_accuracy, presence."""
    seen = perceive(net, samples["frames"])
    pairs = zip(samples["keypoints"], seen["keypoints"], samples["masks"], strict=True)
    scores = [pck(found[None], true[None], person_height(m[None])) for true, found, m in pairs]
    present = (seen["keypoints"][..., 2] > 0.5) == (samples["keypoints"][..., 2] > 0.5)
    scene = seen["scene_probabilities"].argmax(1) == samples["scenes"]
    return {
        "pck": float(np.nanmean(scores)),
        "silhouette_iou": silhouette_iou(seen["masks"], samples["masks"]),
        "scene_accuracy": float(scene.mean()),
        "presence_accuracy": float(present.mean()),
    }


def train_perception(
    out: Path,
    steps: int = 900,
    batch: int = 32,
    seed: int = 0,
    samples: int = 8000,
    held_out: int = 512,
    rate: float = 3e-3,
    cache: Path | None = None,
) -> dict[str, float]:
    """Render puppets, train, and write weights, `metrics.json` and `log.jsonl` into `out`.

    samples, held_out: puppets to render, never more than `steps * batch`; rate: peak of the
    learning rate; cache: an `.npz` for the rendered frames, made when missing. Not resumable:
    `out` appears only when all is done. Returns the accuracy on `held_out` frames of identities
    never trained on.
    """
    samples, held_out = min(samples, steps * batch), min(held_out, steps * batch)
    if cache is not None and cache.exists():
        data = dict(np.load(cache))
    else:
        data = render_samples(range(seed, seed + samples), "train")
        if cache is not None:
            np.savez(cache, **data)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = Perception(list(SCENES))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    started, log, order = time.monotonic(), [], torch.empty(0, dtype=torch.long)
    with progress("perception", total=steps) as bar:
        for step in range(1, steps + 1):
            if len(order) < batch:
                order = torch.randperm(len(data["frames"]), generator=generator)
            chosen, order = order[:batch].numpy(), order[batch:]
            pixels = torch.from_numpy(data["frames"][chosen]).permute(0, 3, 1, 2)
            frames, masks, keypoints = augment(
                pixels / 127.5 - 1,
                torch.from_numpy(data["masks"][chosen]) / 255,
                torch.from_numpy(data["keypoints"][chosen]),
                generator,
            )
            seen = net(frames.contiguous(memory_format=torch.channels_last))
            scenes = torch.from_numpy(data["scenes"][chosen])
            loss, logs = perception_loss(seen, masks, keypoints, scenes)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            decay = min(0.99, step / (step + 10))
            with torch.no_grad():
                pairs = zip(average.state_dict().values(), net.state_dict().values(), strict=True)
                for mine, theirs in pairs:
                    if mine.is_floating_point():
                        mine.lerp_(theirs, 1 - decay)
            bar.advance(1, loss=float(loss.detach()))
            if step % 20 == 0 or step == steps:
                seconds = round(time.monotonic() - started, 1)
                log.append({"step": step, "seconds": seconds, "loss": float(loss.detach()), **logs})
    unseen = render_samples(range(seed, seed + held_out), "held-out", label="held-out puppets")
    with folder_aside(out) as folder:
        save_perception(folder, average)
        scores = accuracy(load_perception(folder), unseen)
        record = {"held_out": scores, "frames": held_out, "steps": steps, "batch": batch}
        record |= {"seed": seed, "samples": len(data["frames"]), "seconds": log[-1]["seconds"]}
        (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    return scores
