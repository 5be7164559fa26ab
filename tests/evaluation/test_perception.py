"""The perception network: geometry in closed form, a short training, and the bundled weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import animateanywhere
from animateanywhere.evaluation.perception import (
    Perception,
    frames_to_input,
    load_perception,
    perceive,
    save_perception,
    soft_argmax,
)
from animateanywhere.evaluation.perception_training import (
    accuracy,
    augment,
    perception_loss,
    render_samples,
    train_perception,
)
from animateanywhere.puppets import SCENES
from animateanywhere.training.stage import Stage

BUNDLED = Path(animateanywhere.__file__).parent / "assets" / "mini" / "perception"


def test_soft_argmax_finds_a_gaussian_and_ignores_a_second_peak() -> None:
    x, y = torch.tensor([37.0, 80.5]), torch.tensor([61.0, 20.0])
    centers = (torch.arange(32) + 0.5) * 4
    across = -0.5 * ((centers - x[:, None]) / 4) ** 2
    down = -0.5 * ((centers - y[:, None]) / 4) ** 2
    logits = (down[:, :, None] + across[:, None, :])[None]  # (1, 2, 32, 32)
    logits[0, 0, 3, 28] = -1.0  # a rival far away, less likely
    found = soft_argmax(logits)[0]
    assert torch.allclose(found, torch.stack([x, y], dim=-1), atol=0.3)


def test_augment_moves_keypoints_with_the_picture() -> None:
    count = 48
    frames, keypoints = -torch.ones(count, 3, 128, 128), torch.zeros(count, 18, 3)
    masks = torch.zeros(count, 128, 128)
    frames[:, :, 30:34, 50:54] = 1
    masks[:, 30:34, 50:54] = 1
    keypoints[:, 2] = torch.tensor([52.0, 32.0, 1.0])  # the right shoulder
    _, moved, points = augment(frames, masks, keypoints, torch.Generator().manual_seed(0))
    mirrored = points[:, 5, 2] == 1
    assert 10 < mirrored.sum() < 38
    places = torch.where(mirrored[:, None], points[:, 5], points[:, 2])
    grid = torch.stack(torch.meshgrid(*[torch.arange(128) + 0.5] * 2, indexing="xy"), -1)
    inside = (places[:, :2] > 8).all(1) & (places[:, :2] < 120).all(1) & (places[:, 2] == 1)
    centroid = (moved[..., None] * grid).sum((1, 2)) / moved.sum((1, 2))[:, None]
    assert inside.sum() > 30
    assert (centroid - places[:, :2]).norm(dim=1)[inside].max() < 0.6


def test_other_sizes_and_shapes_give_pixels_of_the_frame() -> None:
    torch.manual_seed(0)
    net = Perception(list(SCENES)).eval()
    wave = 127 + 120 * np.sin(np.linspace(0, 9, 128))
    frames = np.stack([np.add.outer(wave, w) / 2 for w in (wave, wave[::-1])])
    frames = frames.astype(np.uint8)[..., None].repeat(3, -1)
    small = perceive(net, frames)
    large = perceive(net, frames.repeat(2, axis=1).repeat(2, axis=2))
    apart = np.abs(large["keypoints"][..., :2] - 2 * small["keypoints"][..., :2])
    assert np.median(apart) < 1  # rounding may choose another of two equal peaks
    assert large["masks"].shape == (2, 256, 256)
    wide = perceive(net, frames[:, :96])
    assert wide["masks"].shape == (2, 96, 128)
    assert wide["keypoints"].shape == (2, 18, 3)
    assert wide["scene_probabilities"].sum(1) == pytest.approx(1, abs=1e-5)
    assert frames_to_input(frames[:, :96]).shape == (2, 3, 128, 128)


def test_saving_in_half_precision_changes_little(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Perception(list(SCENES)).eval()
    assert sum(p.numel() for p in net.parameters()) <= 700_000
    save_perception(tmp_path, net)
    again = load_perception(tmp_path)
    frames = torch.rand(1, 3, 128, 128)
    for name, logits in net(frames).items():
        assert torch.allclose(again(frames)[name], logits, atol=0.02), name


def test_loss_is_least_at_the_truth() -> None:
    masks, scenes = torch.zeros(1, 128, 128), torch.tensor([3])
    masks[:, 40:90, 40:90] = 1
    keypoints = torch.full((1, 18, 3), 62.0)
    keypoints[..., 2] = 1
    away = ((torch.arange(32) + 0.5) * 4 - 62.0) / 4
    heat = -0.5 * (away[:, None] ** 2 + away**2).expand(1, 18, 32, 32)
    scene = torch.eye(len(SCENES))[3:4] * 6
    right = {"heatmaps": heat, "presence": torch.full((1, 18), 6.0), "mask": masks * 12 - 6,
             "scene": scene}  # fmt: skip
    least, _ = perception_loss(right, masks, keypoints, scenes)
    for name in right:
        wrong = right | {name: right[name].roll(1, -1) if name != "presence" else -right[name]}
        assert perception_loss(wrong, masks, keypoints, scenes)[0] > least + 0.05, name


def test_a_short_training_learns_and_reports(tmp_path: Path) -> None:
    out, folder = tmp_path / "perception", tmp_path / "training"
    stage = Stage("perception", "perception", 16, batch=8, learning_rate=2e-3, ema=0.9, log_every=1)
    scores = train_perception(out, stage, folder, seed=0, samples=24, held_out=4)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    record = json.loads((out / "metrics.json").read_text())
    assert record["held_out"] == scores
    assert rows[-1]["step"] == 16
    assert rows[-1]["heat"] < np.log(32 * 32)  # better than knowing nothing
    assert load_perception(out).scenes == list(SCENES)


def test_accuracy_of_the_bundled_network_on_held_out_puppets() -> None:
    net = load_perception(BUNDLED)
    scores = accuracy(net, render_samples(range(9000, 9048), "held-out"))
    assert scores["pck"] > 0.88
    assert scores["silhouette_iou"] > 0.78
    assert scores["scene_accuracy"] > 0.97
