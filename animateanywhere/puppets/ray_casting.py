"""Ray casting of rounded cones under an orthographic camera, ragged over (frame, cone, pixel)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hits:
    """The nearest surface at each sample that has one; the first axis runs over the hits."""

    sample: Tensor  # int64, flat index into (F, H, W)
    frame: Tensor  # int64
    cone: Tensor  # int64, index into the cones of the frame
    point: Tensor  # (hits, 3) screen coordinates: x right, y down, z towards the camera
    normal: Tensor  # (hits, 3)
    along: Tensor  # 0..1 from a to b


def _surface(p: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height z, position along the axis in 0..1, and q, the squared z offset (negative: missed).

    A rounded cone is the union of spheres c(t), r(t), t in 0..1; its surface is the largest
    c_z(t) + sqrt(q(t)) with q a quadratic of t, whose maximum has a closed form.
    """
    ax, ay, az, bx, by, bz, ra, rb = p.unbind(1)
    dx, dy, dz, dr = bx - ax, by - ay, bz - az, rb - ra
    ux, uy = x - ax, y - ay
    a2 = (dr * dr - dx * dx - dy * dy).clamp(max=-1e-3)
    b2 = ra * dr + ux * dx + uy * dy
    c2 = ra * ra - ux * ux - uy * uy
    t = b2 + dz * torch.sqrt(((b2 * b2 - a2 * c2) / (dz * dz - a2)).clamp_(min=0))
    t = (t / -a2).clamp_(0, 1)
    q = (a2 * t + 2 * b2) * t + c2
    return az + dz * t + torch.sqrt(q.clamp(min=0)), t, q


def cast_rays(cones: Tensor, height: int, width: int) -> tuple[Hits, Tensor]:
    """Cast the rays of F frames of height x width samples against their cones.

    cones: float32 (F, P, 8), ends a and b (x, y, z) and their radii, in samples; cones of radius 0
    are skipped. Returns the hits and the depth map (F, H, W), -1e9 without a hit.
    """
    frames, count = cones.shape[:2]
    p = cones.reshape(-1, 8)
    device = p.device
    r = p[:, 6:8]
    x0 = (torch.minimum(p[:, 0] - r[:, 0], p[:, 3] - r[:, 1]) - 0.5).ceil().clamp(0, width)
    x1 = (torch.maximum(p[:, 0] + r[:, 0], p[:, 3] + r[:, 1]) + 0.5).floor().clamp(0, width)
    y0 = (torch.minimum(p[:, 1] - r[:, 0], p[:, 4] - r[:, 1]) - 0.5).ceil().clamp(0, height)
    y1 = (torch.maximum(p[:, 1] + r[:, 0], p[:, 4] + r[:, 1]) + 0.5).floor().clamp(0, height)
    w, h = (x1 - x0).clamp(min=0).long(), (y1 - y0).clamp(min=0).long()
    number = w * h * (r.amax(1) > 0)
    which = torch.repeat_interleave(torch.arange(len(p), device=device), number)
    local = torch.arange(len(which), device=device) - (number.cumsum(0) - number)[which]
    ww = w[which]
    row = torch.div(local, ww, rounding_mode="floor")
    ix, iy = x0.long()[which] + local - row * ww, y0.long()[which] + row
    z, _, q = _surface(p[which], ix + 0.5, iy + 0.5)
    keep = q > 0
    which, z = which[keep], z[keep]
    frame = torch.div(which, count, rounding_mode="floor")
    sample = (frame * height + iy[keep]) * width + ix[keep]
    key = ((z + 4096) * 1024).long() * count + (which - frame * count)
    best = torch.full((frames * height * width,), -1, dtype=torch.int64, device=device)
    best.scatter_reduce_(0, sample, key, "amax")
    hit = (best >= 0).nonzero()[:, 0]
    cone = best[hit] % count
    frame = torch.div(hit, height * width, rounding_mode="floor")
    inside = hit - frame * height * width
    y = torch.div(inside, width, rounding_mode="floor")
    x, y = inside - y * width + 0.5, y + 0.5
    won = p[frame * count + cone]
    z, t, _ = _surface(won, x, y)
    point = torch.stack([x, y, z], 1)
    center = won[:, :3] + (won[:, 3:6] - won[:, :3]) * t[:, None]
    radius = won[:, 6] + (won[:, 7] - won[:, 6]) * t
    normal = (point - center) / radius[:, None].clamp(min=1e-3)
    depth = torch.full((frames * height * width,), -1e9, device=device)
    depth[hit] = z
    return Hits(hit, frame, cone, point, normal, t), depth.view(frames, height, width)
