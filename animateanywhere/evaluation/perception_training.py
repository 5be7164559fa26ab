"""Training of the perception network on puppets, and its accuracy on held-out puppets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn import functional as F

from animateanywhere.core.files import folder_aside
from animateanywhere.core.messages import progress
from animateanywhere.core.tensor_file import read_cached, write_tensors
from animateanywhere.evaluation.face_detector import save_face_detector
from animateanywhere.evaluation.face_detector_training import (
    face_accuracy,
    head_samples,
    train_face_detector,
)
from animateanywhere.evaluation.perception import (
    CELL,
    SIDE,
    Perception,
    load_perception,
    perceive,
    save_perception,
)
from animateanywhere.metrics import pck, person_height, silhouette_iou
from animateanywhere.metrics.pose import MIRROR
from animateanywhere.puppets import SCENES, Clip, render_batch, sample_spec
from animateanywhere.training.log import Track
from animateanywhere.training.loop import fit, step_generator
from animateanywhere.training.stage import Stage

SAMPLES = "renders.safetensors"  # until the training ends
SPAN = 4.0  # seconds of a motion from which frames are drawn


def render_samples(
    seeds: Sequence[int], split: str, chunk: int = 32, label: str = "puppets"
) -> dict[str, np.ndarray]:
    """Render one frame of each puppet, every other one with a `Detail`: frames uint8
    (N, 128, 128, 3), masks uint8 (N, 128, 128), keypoints float32 (N, 18, 3) in pixels, scene
    indices (N,), and the crops of `head_samples`."""
    names, kept = list(SCENES), list[Clip]()
    with progress(label, total=len(seeds)) as bar:
        for start in range(0, len(seeds), chunk):
            some = seeds[start : start + chunk]
            specs = [sample_spec(seed, split, detailed=seed % 2 == 1) for seed in some]
            times = [float(np.random.default_rng(seed).uniform(0, SPAN)) for seed in some]
            kept += render_batch(specs, times, SIDE)
            bar.advance(len(some))
    return {
        "frames": np.concatenate([clip.frames for clip in kept]),
        "masks": np.concatenate([clip.masks for clip in kept]),
        "keypoints": np.concatenate([clip.keypoints for clip in kept]),
        "scenes": np.array([names.index(clip.spec.scene.name) for clip in kept]),
        **head_samples(kept),
    }


def augment(
    frames: Tensor, masks: Tensor, keypoints: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror, shift, scale, and degrade like an autoencoder and a diffusion model.

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

    blur = int(torch.randint(0, 4, (1,), generator=generator))  # applied to the first third
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
    centers = (torch.arange(SIDE // CELL, device=keypoints.device) + 0.5) * CELL
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
    """Accuracy on rendered samples: pck, silhouette_iou, scene_accuracy, presence_accuracy."""
    estimated = perceive(net, samples["frames"])
    pairs = zip(samples["keypoints"], estimated["keypoints"], samples["masks"], strict=True)
    scores = [pck(found[None], true[None], person_height(m[None])) for true, found, m in pairs]
    present = (estimated["keypoints"][..., 2] > 0.5) == (samples["keypoints"][..., 2] > 0.5)
    scene = estimated["scene_probabilities"].argmax(1) == samples["scenes"]
    return {
        "pck": float(np.nanmean(scores)),
        "silhouette_iou": silhouette_iou(estimated["masks"], samples["masks"]),
        "scene_accuracy": float(scene.mean()),
        "presence_accuracy": float(present.mean()),
    }


def train_perception(
    out: Path, stage: Stage, folder: Path, seed: int, samples: int = 8000, held_out: int = 512,
    track: Track | None = None,
) -> dict[str, float]:  # fmt: skip
    """Render puppets, train the perception network and the face detector, and write weights and
    `metrics.json` into `out`.

    stage: of the perception network; the face detector's follows from it. folder: for the rendered
    frames, logs and checkpoints; the same call resumes an interrupted one.
    samples, held_out: puppets to render, at most `steps * batch`. track: see `training.loop.fit`.
    Returns the accuracy on `held_out` frames of identities that were not trained on.
    """
    most = stage.steps * stage.batch
    samples, held_out = min(samples, most), min(held_out, most)
    with PartialState().main_process_first():
        data = _cached_samples(folder / SAMPLES, seed, samples)
    torch.manual_seed(seed)
    net = Perception(list(SCENES))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = torch.randint(len(data["frames"]), (stage.batch,), generator=generator).numpy()
        frames, masks, keypoints = augment(
            torch.from_numpy(data["frames"][rows]).permute(0, 3, 1, 2) / 127.5 - 1,
            torch.from_numpy(data["masks"][rows]) / 255,
            torch.from_numpy(data["keypoints"][rows]),
            generator,
        )
        frames = frames.contiguous(memory_format=torch.channels_last)
        device = next(net.parameters()).device
        scenes = torch.from_numpy(data["scenes"][rows])
        return frames.to(device), masks.to(device), keypoints.to(device), scenes.to(device)

    def loss(net: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        frames, masks, keypoints, scenes = batch(generator)
        return perception_loss(net(frames), masks, keypoints, scenes)

    fit(net, stage, loss, folder, seed, track=track)
    detector = train_face_detector(data, stage, folder / "faces", seed, track)
    if not PartialState().is_main_process:
        return {}
    _reset_batch_norm(net, [batch(step_generator(seed, stage.steps + n))[0] for n in range(16)])
    test_samples = render_samples(
        range(seed, seed + held_out), "held-out", label="held-out puppets"
    )
    with folder_aside(out) as aside:
        save_perception(aside, net)
        scores = accuracy(load_perception(aside), test_samples)
        if detector is not None:
            save_face_detector(aside, detector)
            scores |= face_accuracy(detector, test_samples)
        record = {"held_out": scores, "frames": held_out, "steps": stage.steps,
                  "batch": stage.batch, "seed": seed, "samples": samples}  # fmt: skip
        (aside / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / SAMPLES).unlink(missing_ok=True)
    return scores


def _cached_samples(path: Path, seed: int, count: int) -> dict[str, np.ndarray]:
    """The training samples, rendered once and read from `path` afterwards."""
    known = read_cached(path)
    if known is not None:
        return {name: x.numpy() for name, x in known.items()}
    samples = render_samples(range(seed, seed + count), "train")
    write_tensors(path, {name: torch.from_numpy(x) for name, x in samples.items()})
    return samples


@torch.no_grad()
def _reset_batch_norm(net: nn.Module, frames: list[Tensor]) -> None:
    """Recompute batch norm statistics for the EMA weights: training collected them for others."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    net.train()
    for batch in frames:
        net(batch)
    net.eval()
