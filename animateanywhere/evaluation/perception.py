"""The perception network: a small network that estimates keypoints, mask and scene of a frame.

Trained on rendered puppets only (`perception_training`), to evaluate generated videos of puppets;
its estimates are not valid for real footage.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from animateanywhere.backbones.base import BUNDLED

SIDE = 128  # pixels a side of the network's input
CELL = 4  # pixels a side of a heatmap cell
POINTS = 18


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Perception(nn.Module):
    """A 4x4 pixel unshuffle, then an hourglass of 32, 16 and 8 cells a side; 0.69 M parameters."""

    def __init__(self, scenes: list[str], widths: tuple[int, int, int] = (40, 80, 108)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.scenes, self.widths = list(scenes), tuple(widths)
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(CELL), _conv(3 * CELL**2, fine, 1), _conv(fine, fine)
        )
        self.down16 = nn.Sequential(_conv(fine, middle, 2, 2), Residual(middle))
        self.down8 = nn.Sequential(_conv(middle, coarse, 2, 2), Residual(coarse), Residual(coarse))
        self.up16, self.join16 = nn.Conv2d(coarse, middle, 1), _conv(middle, middle)
        self.up32, self.join32 = nn.Conv2d(middle, fine, 1), _conv(fine, fine)
        self.heads = nn.Conv2d(fine, POINTS + CELL**2, 1)
        self.presence = nn.Linear(fine + coarse, POINTS)
        self.scene = nn.Linear(fine + coarse, len(scenes))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Frames `(B, 3, 128, 128)` in -1..1 to logits.

        heatmaps `(B, 18, 32, 32)`, presence `(B, 18)`, mask `(B, 128, 128)`, scene `(B, S)`.
        """
        fine = self.stem(x)  # (B, 40, 32, 32)
        middle = self.down16(fine)  # (B, 80, 16, 16)
        coarse = self.down8(middle)  # (B, 108, 8, 8)
        y = self.join16(middle + F.interpolate(self.up16(coarse), scale_factor=2.0))
        y = self.join32(fine + F.interpolate(self.up32(y), scale_factor=2.0))
        heatmaps, mask = self.heads(y).split([POINTS, CELL**2], dim=1)
        whole = coarse.mean(dim=(2, 3))  # (B, 108)
        # features at the most likely position of each keypoint, to classify its presence
        spots = torch.einsum("bkn,bcn->bkc", heatmaps.flatten(2).softmax(-1), y.flatten(2))
        features = torch.cat([spots, whole[:, None].expand(-1, POINTS, -1)], dim=-1)
        presence = (features * self.presence.weight).sum(-1) + self.presence.bias
        return {
            "heatmaps": heatmaps,
            "presence": presence,
            "mask": F.pixel_shuffle(mask, CELL)[:, 0],
            "scene": self.scene(torch.cat([fine.mean(dim=(2, 3)), whole], dim=-1)),
        }


def soft_argmax(heatmaps: Tensor) -> Tensor:
    """Heatmap logits `(B, K, h, w)` to positions `(B, K, 2)`, x, y in pixels of a frame of 128.

    The mean over the 5x5 cells around the peak only: if left and right are both likely, they are
    not averaged to a point between them.
    """
    height, width = heatmaps.shape[-2:]
    peak = heatmaps.flatten(2).argmax(-1)  # (B, K)
    rows = torch.arange(height, device=heatmaps.device).view(-1, 1)
    columns = torch.arange(width, device=heatmaps.device).view(1, -1)
    row, column = (peak // width)[..., None, None], (peak % width)[..., None, None]
    near = ((rows - row).abs() <= 2) & ((columns - column).abs() <= 2)
    weight = heatmaps.masked_fill(~near, -torch.inf).flatten(2).softmax(-1)
    centers = torch.stack(torch.broadcast_tensors(columns, rows), dim=-1) + 0.5  # (h, w, 2)
    return CELL * weight @ centers.flatten(0, 1).to(weight)


def frames_to_input(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 `(F, H, W, 3)` to float `(F, 3, 128, 128)` in -1..1, padded to a square."""
    height, width = frames.shape[1:3]
    x = rearrange(torch.from_numpy(np.ascontiguousarray(frames)).float(), "f h w c -> f c h w")
    side = max(height, width)
    x = F.pad(x, (0, side - width, 0, side - height), mode="replicate")
    if side != SIDE:
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return x / 127.5 - 1


@torch.inference_mode()
def perceive(net: Perception, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Estimate keypoints, masks and scenes of frames, uint8 `(F, H, W, 3)`, of any size.

    Returns `keypoints` `(F, 18, 3)` in pixels of the frames with presence 0..1 as confidence,
    `masks` `(F, H, W)` 0..1, and `scene_probabilities` `(F, S)`.
    """
    height, width = frames.shape[1:3]
    side = max(height, width)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(frames), 32):
        out = net(frames_to_input(frames[start : start + 32]))
        places = soft_argmax(out["heatmaps"]) * (side / SIDE)
        points = torch.cat([places, out["presence"].sigmoid()[..., None]], dim=-1)
        masks = out["mask"].sigmoid()[:, None]  # (F, 1, 128, 128)
        if side != SIDE:
            masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        parts.append((points, masks[:, 0, :height, :width], out["scene"].softmax(-1)))
    names = ("keypoints", "masks", "scene_probabilities")
    columns = zip(*parts, strict=True)
    return {n: torch.cat(column).numpy() for n, column in zip(names, columns, strict=True)}


def save_perception(folder: Path, net: Perception) -> None:
    """Write `model.safetensors` (half precision) and `config.json` into an existing folder."""
    state = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(state))
    config = {"scenes": net.scenes, "widths": list(net.widths)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def perception_of(base: Path) -> Path:
    """The folder of a base's perception network, or of the bundled base's if it has none."""
    return base / "perception" if (base / "perception").is_dir() else BUNDLED / "perception"


def load_perception(folder: Path) -> Perception:
    """Load a network written by `save_perception`, in float32 and evaluation mode."""
    config = json.loads((folder / "config.json").read_text())
    net = Perception(config["scenes"], tuple(config["widths"]))
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net.eval()
