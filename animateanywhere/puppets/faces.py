"""The individual faces of people with a `Detail`: proportions, eyes, lips, freckles, hairline."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from animateanywhere.puppets.body import FACE, HAIR

Look = Callable[[str], Tensor]  # a column of a table of attributes, one row a hit


def detailed_face(p: Tensor, look: Look, detail: Look) -> tuple[Tensor, Tensor]:
    """Colors (N, 3) in 0..1 and parts (N,), FACE or HAIR, of head-local points p (N, 3).

    look: skin and hair (N, 3); beard, glasses and bald (N,), above 0 if the person has them.
    detail: columns of the table of details.
    """
    grown = _beard(p, look, detail)
    rgb = _skin(p, look, detail)
    rgb = torch.where(grown[:, None], look("hair"), rgb)
    rgb = _mouth(p, rgb, detail)
    rgb = _eyes(p, rgb, look("hair"), detail)
    rgb = _glasses(p, rgb, look, detail)
    x, y, z = p.unbind(1)
    edge = detail("hairline") - 0.25 * (x.abs() - 0.03).clamp(min=0) + detail("fringe") * x
    line = (look("bald") <= 0) & ((y > edge + 0.0012 * torch.sin(x * 900)) | (z < -0.02))
    strands = look("hair") * (1 + 0.12 * torch.sin(x * 700 + y * 150))[:, None]
    return torch.where(line[:, None], strands, rgb), torch.where(grown | line, HAIR, FACE)


def _mix(p: Tensor, rgb: Tensor, color: Tensor, share: Tensor) -> Tensor:
    """Blend a color into rgb (N, 3) by shares (N,) in 0..1, on the front of the head."""
    return rgb + (color - rgb) * (share * (p[:, 2] > 0.02).float())[:, None]


def _inside(distance: Tensor, soft: float = 0.12) -> Tensor:
    """1 where `distance` is below 1, with a soft edge."""
    return ((1 - distance) / soft + 0.5).clamp(0, 1)


def _beard(p: Tensor, look: Look, detail: Look) -> Tensor:
    x, y, z = p.unbind(1)
    ax, nose = x.abs(), -0.026 + detail("nose")
    grown = (
        (y < -0.050)
        | ((y < -0.02) & (ax > 0.044))
        | ((y < nose - 0.003) & (y > -0.037) & (ax < 0.026))
    )
    return grown & (look("beard") > 0) & (z > -0.02)


def _skin(p: Tensor, look: Look, detail: Look) -> Tensor:
    """Cheeks, eye sockets, nose, freckles and stubble."""
    x, y, z = p.unbind(1)
    ax, skin = x.abs(), look("skin")

    def spot(x0: Tensor | float, y0: Tensor | float, rx: float, ry: float) -> Tensor:
        return torch.exp(-(((ax - x0) / rx) ** 2) - ((y - y0) / ry) ** 2)

    red, dark = skin * skin.new_tensor([1.0, 0.84, 0.82]), skin * 0.72
    nose = -0.026 + detail("nose")
    rgb = _mix(p, skin, red, spot(0.035, -0.022, 0.014, 0.011))
    rgb = _mix(p, rgb, dark, 0.5 * spot(detail("eye_gap"), 0.011, 0.016, 0.009))
    rgb = _mix(p, rgb, dark, 0.6 * spot(0.012, nose / 2, 0.004, 0.012))
    rgb = _mix(p, rgb, dark * 0.5, 0.9 * spot(0.0065, nose, 0.0035, 0.0024))
    cell = torch.sin(torch.round(x * 320) * 12.99 + torch.round(y * 320) * 78.2) * 43758.5
    dots = ((cell - cell.floor()) < 0.22).float() * spot(0.022, -0.012, 0.022, 0.014)
    freckle = skin * skin.new_tensor([0.78, 0.62, 0.5])
    rgb = _mix(p, rgb, freckle, dots * detail("freckles"))
    jaw = (((y < -0.03) | ((y < -0.012) & (ax > 0.046))) & (z > -0.02)).float()
    return _mix(p, rgb, look("hair") * 0.5 + skin * 0.2, jaw * detail("stubble"))


def _mouth(p: Tensor, rgb: Tensor, detail: Look) -> Tensor:
    x, y, _ = p.unbind(1)
    lip = detail("lip")
    my = (y - detail("mouth_place") - 9 * x * x) / detail("mouth_height")
    lips = _inside((x / detail("mouth_width")) ** 2 + my**2)
    rgb = _mix(p, rgb, lip * (1 - 0.14 * (my[:, None] > 0)), lips)
    return _mix(p, rgb, lip * 0.35, lips * _inside(my.abs() / 0.16, 0.5))


def _eyes(p: Tensor, rgb: Tensor, hair: Tensor, detail: Look) -> Tensor:
    """Whites, irises, pupils, glints, lashes and brows."""
    x, y, _ = p.unbind(1)
    gap, width, height = detail("eye_gap"), detail("eye_width"), detail("eye_height")
    ex, ey, iris = x.abs() - gap, y - 0.003, detail("iris")
    oval = (ex / width) ** 2 + (ey / height) ** 2
    eye, radius = _inside(oval), (ex**2 + ey**2).sqrt()
    rgb = _mix(p, rgb, rgb.new_tensor([0.95, 0.94, 0.93]).expand_as(rgb), eye)
    rgb = _mix(p, rgb, iris, eye * _inside(radius / 0.0072))
    rgb = _mix(p, rgb, iris * 0.15, eye * _inside(radius / 0.0034))
    glint = ((x - x.sign() * gap + 0.0025) ** 2 + (ey - 0.003) ** 2).sqrt()
    rgb = _mix(p, rgb, torch.ones_like(rgb), eye * _inside(glint / 0.002))
    upper = ey - 0.4 * height * (1 - (ex / width) ** 2) > 0
    lash = _inside((oval - 1).abs() / 0.32)
    rgb = _mix(p, rgb, hair * 0.3, lash * upper * 0.9)
    tilted = y - detail("brow_height") - 0.003 + detail("brow_tilt") * ex + 14 * ex**2
    brow = _inside((tilted / detail("brow_width")).abs(), 0.4) * (ex.abs() < 0.0165)
    return _mix(p, rgb, hair * 0.65, brow)


def _glasses(p: Tensor, rgb: Tensor, look: Look, detail: Look) -> Tensor:
    x, y, _ = p.unbind(1)
    ax, n = x.abs(), detail("square")
    ex, ey = ax - detail("eye_gap"), y - 0.003
    rim = ((ex.abs() ** n + (ey.abs() * 1.15) ** n) ** (1 / n) - 0.0205).abs() < 0.0024
    rim = rim | ((ax < 0.007) & ((y - 0.006).abs() < 0.002))
    glass = (ex.abs() ** n + (ey.abs() * 1.15) ** n) ** (1 / n) < 0.0205
    worn = (look("glasses") > 0).float()
    rgb = _mix(p, rgb, detail("rim") * 0.3, worn * glass * detail("lens"))
    return _mix(p, rgb, detail("rim"), worn * rim)
