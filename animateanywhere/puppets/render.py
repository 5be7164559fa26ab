"""Rendering of specs to clips: pose, ray casting, shading, compositing, keypoints."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from animateanywhere.puppets.caption import caption
from animateanywhere.puppets.detail import details_of
from animateanywhere.puppets.paint import Light
from animateanywhere.puppets.posing import Posed, keypoints, pose_and_project
from animateanywhere.puppets.ray_casting import cast_rays
from animateanywhere.puppets.scenes import paint
from animateanywhere.puppets.shade import shade
from animateanywhere.puppets.spec import PATTERNS, TOPS, Spec

_SAMPLES = 2  # samples per pixel and direction
_GROUP = 16  # frames at once on a CPU: larger tensors exceed its cache


@dataclass(frozen=True)
class Clip:
    """A rendered clip, or a single frame, as NumPy arrays.

    frames uint8 (F, H, W, 3); masks uint8 (F, H, W) coverage of the person, without the object;
    parts uint8 (F, H, W) indices into PARTS; objects uint8 (F, H, W) coverage of the object and of
    what stands in front; keypoints float32 (F, 18, 3) in pixels, confidence
    1 visible, 0 hidden or out of frame; caption; spec; fps and start (seconds) of the rendering.
    """

    frames: np.ndarray
    masks: np.ndarray
    parts: np.ndarray
    objects: np.ndarray
    keypoints: np.ndarray
    caption: str
    spec: Spec
    fps: float = 8.0
    start: float = 0.0


def _attributes(spec: Spec, light: Light) -> list[float]:
    w = spec.identity
    hem = {"jacket": -0.035, "dress": -9.0, "sweater": -0.02}.get(w.top, 0.004)
    neck = {"t-shirt": 0.036, "vest": 0.062, "dress": 0.06}.get(w.top, 0.0)
    return [
        PATTERNS.index(w.pattern),
        TOPS.index(w.top),
        w.beard,
        w.glasses,
        w.hair_style == "bald",
        w.gender == "woman",
        hem,
        neck,
        spec.scene.side,
        light.ambient,
        *w.accent_rgb,
        *w.hair_rgb,
        *w.bottom_rgb,
        *w.skin_rgb,
        *light.tint,
    ]


def _background(image: Tensor, posed: Posed, light: Light, size: int, samples: int) -> Tensor:
    """Shift the painted scene (3, H, W + 2m) by the pan and add the shadows: (F, 3, H, W)."""
    m = (image.shape[2] - size) // 2
    out = []
    for pan in posed.pan:
        s = m - pan * size
        i, f = int(np.floor(s)), float(s - np.floor(s))
        one = image[:, :, i : i + size]
        out.append(one if f < 1e-6 else one * (1 - f) + image[:, :, i + 1 : i + 1 + size] * f)
    ground = torch.stack(out)
    grid = torch.arange(size, device=image.device) + 0.5
    for k in range(posed.shadows.shape[1]):
        x, y, r, a = (
            torch.from_numpy(posed.shadows[:, k].astype(np.float32))
            .to(image.device)[:, :, None]
            .unbind(1)
        )
        x, y, r = x / samples, y / samples, r / samples
        gx = torch.exp(-(((grid - x) / r) ** 2))  # (F, W)
        gy = torch.exp(-(((grid - y) / (r * 0.32)) ** 2))
        ground = ground * (1 - light.shadow * (a * gy)[:, None, :, None] * gx[:, None, None, :])
    return ground


def _layers(
    posed: list[Posed], specs: list[Spec], table: np.ndarray, size: int, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Cast and shade all frames of some specs.

    Returns premultiplied color, coverage and the person's share (F, 5, H, W), part labels
    uint8 (F, H, W), and the person's depth per sample (F, S, S), -1e9 without the person.
    """
    s, side = _SAMPLES, size * _SAMPLES
    most = max(1, *(p.cones.shape[1] for p in posed))
    total = sum(len(p.pan) for p in posed)
    cones = np.zeros((total, most, 8), np.float32)
    rgb = np.zeros((total, most, 2, 3), np.float32)
    kinds = np.zeros((total, most, 4), np.float32)
    people = np.zeros(total, np.int64)
    start = 0
    for p in posed:
        n, stop = p.cones.shape[1], start + len(p.pan)
        cones[start:stop, :n], rgb[start:stop, :n], kinds[start:stop, :n] = p.cones, p.rgb, p.kinds
        people[start:stop] = p.person
        start = stop

    def put(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device)

    hits, depth = cast_rays(put(cones), side, side)
    local = put(np.concatenate([p.local for p in posed]).astype(np.float32))
    colors = put(rgb)
    details = details_of([spec.identity for spec in specs], [len(p.pan) for p in posed], device)
    tone, part = shade(
        hits, colors[:, :, 0], colors[:, :, 1], put(kinds), put(table), local[:, 0], local[:, 1],
        details,
    )  # fmt: skip
    person = hits.cone < put(people)[hits.frame]
    area = total * side * side
    layer = torch.zeros(area, 5, device=device)
    layer[hits.sample] = torch.cat([tone, torch.ones_like(tone[:, :1]), person[:, None].float()], 1)
    layer = layer.view(total, size, s, size, s, 5)
    corners = [layer[:, :, i, :, k] for i in range(s) for k in range(s)]
    layer = torch.stack(corners).sum(0).permute(0, 3, 1, 2) / s**2
    parts = torch.zeros(area, dtype=torch.uint8, device=device)
    parts[hits.sample] = torch.where(person, part, 0).to(torch.uint8)
    parts = parts.view(total, size, s, size, s).amax((2, 4))
    flat = depth.view(-1)
    flat[hits.sample[~person]] = 1e9  # an object hides the person behind it
    return layer, parts, depth


def _render(
    specs: list[Spec], times: list[np.ndarray], size: int, device: str, person: bool = True
) -> list[Clip]:
    margin = int(np.ceil(0.04 * size)) + 1
    clips: list[Clip] = []
    at_once = _GROUP if device == "cpu" else 16 * _GROUP
    group = max(1, at_once // max(len(t) for t in times))
    for start in range(0, len(specs), group):
        some = specs[start : start + group]
        posed = [
            pose_and_project(spec, t, size * _SAMPLES, person)
            for spec, t in zip(some, times[start : start + group], strict=True)
        ]
        table, grounds = [], []
        for spec, p in zip(some, posed, strict=True):
            image, light = paint(spec.scene, size, margin, device)
            table += [_attributes(spec, light)] * len(p.pan)
            grounds.append(_background(image, p, light, size, _SAMPLES))
        layer, parts, depth = _layers(posed, some, np.array(table, np.float32), size, device)
        frames = torch.cat(grounds) * (1 - layer[:, 3:4]) + layer[:, :3]
        masks = (layer[:, 4] * 255).round().to(torch.uint8)
        objects = ((layer[:, 3] - layer[:, 4]) * 255).round().to(torch.uint8)
        parts = parts * (masks > 127)
        shown = (frames.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        points = keypoints(posed, some, depth.cpu().numpy(), size * _SAMPLES)
        points[..., :2] /= _SAMPLES
        mask, label, thing = (part.cpu().numpy() for part in (masks, parts, objects))
        at = 0
        for spec, p in zip(some, posed, strict=True):
            cut = slice(at, at + len(p.pan))
            at = cut.stop
            clips.append(
                Clip(
                    shown[cut], mask[cut], label[cut], thing[cut], points[cut],
                    caption(spec, spec.seed), spec,
                )
            )  # fmt: skip
    return clips


@torch.no_grad()
def render(
    spec: Spec,
    frames: int = 16,
    size: int = 128,
    fps: float = 8.0,
    start: float = 0.0,
    device: str = "cpu",
    person: bool = True,
) -> Clip:
    """Render `frames` frames of `spec` at `fps` from `start` seconds on, size x size pixels.

    person: False leaves out the person and the shadow, and keeps scene, object and occluder.
    """
    clip = _render([spec], [start + np.arange(frames) / fps], size, device, person)[0]
    return replace(clip, fps=fps, start=start)


@torch.no_grad()
def render_batch(
    specs: list[Spec], times: list[float], size: int = 128, device: str = "cpu"
) -> list[Clip]:
    """Render one frame of each of N specs at its time in seconds; returns N clips of one frame."""
    return _render(list(specs), [np.array([float(t)]) for t in times], size, device)
