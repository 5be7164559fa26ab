"""Shading: the color and body part of each hit, with patterns, faces, folds and light."""

import torch
from torch import Tensor

from animateanywhere.puppets.body import BOTTOM, FACE, HAIR, HEAD, LIMB, SKIN, TOP, TORSO
from animateanywhere.puppets.detail import AT, detailed_face, printed
from animateanywhere.puppets.ray_casting import Hits

# Columns of the per-frame attribute table
ATTRIBUTES = (
    "pattern",
    "top",
    "beard",
    "glasses",
    "bald",
    "woman",
    "hem",
    "neck",
    "side",
    "ambient",
    "accent_r",
    "accent_g",
    "accent_b",
    "hair_r",
    "hair_g",
    "hair_b",
    "bottom_r",
    "bottom_g",
    "bottom_b",
    "skin_r",
    "skin_g",
    "skin_b",
    "tint_r",
    "tint_g",
    "tint_b",
)
COLUMN = {name: i for i, name in enumerate(ATTRIBUTES)}


def _mix(rgb: Tensor, other: Tensor, where: Tensor) -> Tensor:
    return torch.where(where[:, None], other, rgb)


def _pattern(code: Tensor, u: Tensor, v: Tensor, front: Tensor) -> Tensor:
    """Where the accent color shows, by pattern code (index into PATTERNS)."""

    def odd(x: Tensor, period: float) -> Tensor:
        return torch.remainder(x, period) < period / 2

    du, dv = torch.remainder(u, 0.056) - 0.028, torch.remainder(v, 0.056) - 0.028
    logo = ((u**2 + (v - 0.165) ** 2) < 0.042**2) & front
    return (
        ((code == 1) & odd(v, 0.075))
        | ((code == 2) & odd(u + 0.012, 0.048))
        | ((code == 3) & (du**2 + dv**2 < 0.0165**2))
        | ((code == 4) & (odd(u, 0.066) ^ odd(v, 0.066)))
        | ((code == 5) & logo)
    )


def _face(p: Tensor, rgb: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Paint eyes, brows, mouth, beard, glasses, hairline on head-local points."""

    def col(name: str) -> Tensor:
        return a[:, COLUMN[name]]

    x, y, z = p.unbind(1)
    ax = x.abs()
    front = z > 0.02
    hair = a[:, COLUMN["hair_r"] : COLUMN["hair_r"] + 3]
    skin = a[:, COLUMN["skin_r"] : COLUMN["skin_r"] + 3]
    part = torch.where(z > -0.005, FACE, SKIN)
    cheek = (((ax - 0.034) / 0.014) ** 2 + ((y + 0.022) / 0.011) ** 2 < 1) & front
    rgb = _mix(rgb, skin * rgb.new_tensor([1.0, 0.90, 0.88]), cheek)
    beard = (
        (col("beard") > 0)
        & (z > -0.02)
        & (
            (y < -0.046)
            | ((y < -0.02) & (ax > 0.042))
            | ((y < -0.024) & (y > -0.033) & (ax < 0.024))
        )
    )
    rgb = _mix(rgb, hair, beard)
    lips = torch.stack([skin[:, 0] * 0.78, skin[:, 1] * 0.42, skin[:, 2] * 0.42], 1)
    wide = torch.where(col("woman") > 0, 0.0075, 0.0055)
    rgb = _mix(rgb, lips, ((x / 0.02) ** 2 + ((y + 0.043 - 11 * x * x) / wide) ** 2 < 1) & front)
    ex, ey = ax - 0.026, y - 0.003
    rgb = _mix(
        rgb,
        rgb.new_tensor([0.97, 0.97, 0.97]).expand_as(rgb),
        ((ex / 0.0145) ** 2 + (ey / 0.0095) ** 2 < 1) & front,
    )
    rgb = _mix(
        rgb,
        rgb.new_tensor([0.08, 0.06, 0.06]).expand_as(rgb),
        ((ex / 0.0075) ** 2 + (ey / 0.0095) ** 2 < 1) & front,
    )
    brow = (ex.abs() < 0.015) & ((y - 0.0235 + 0.15 * ex).abs() < 0.004) & front
    rgb = _mix(rgb, hair * 0.7, brow)
    rim = ((ex**2 + ey**2).sqrt() - 0.021).abs() < 0.0036
    rim = (rim | ((ax < 0.006) & ((y - 0.006).abs() < 0.003))) & front & (col("glasses") > 0)
    rgb = _mix(rgb, torch.full_like(rgb, 0.06), rim)
    line = (col("bald") < 1) & ((y > 0.046 - 0.25 * (ax - 0.03).clamp(min=0)) | (z < -0.02))
    rgb = _mix(rgb, hair, line)
    part = torch.where(beard | line, HAIR, part)
    return rgb, part


def shade(
    hits: Hits,
    rgb1: Tensor,
    rgb2: Tensor,
    kinds: Tensor,
    table: Tensor,
    torso: Tensor,
    head: Tensor,
    details: Tensor | None = None,
    prints: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Color (hits, 3) in 0..1 and part (hits,) of each hit.

    details, prints: of `detail`, (F, D) and (F, 4, PRINT, PRINT), where somebody has any.

    rgb1, rgb2 (F, P, 3); kinds (F, P, 4): kind, part, second part, cut; table (F, A) as
    ATTRIBUTES; torso and head (F, 3, 4) map screen points to local coordinates.
    """
    f, c = hits.frame, hits.cone
    kind4 = kinds[f, c]
    kind, part = kind4[:, 0], kind4[:, 1].long()
    beyond = hits.along > kind4[:, 3]
    rgb = _mix(rgb1[f, c], rgb2[f, c], beyond)
    part = torch.where(beyond, kind4[:, 2].long(), part)
    a = table[f]

    def col(name: str) -> Tensor:
        return a[:, COLUMN[name]]

    local = (torso[f, :, :3] @ hits.point[:, :, None])[:, :, 0] + torso[f, :, 3]
    u, v, w = local.unbind(1)
    onto = kind == TORSO
    front = w > 0.0
    under = onto & (v < col("hem"))
    rgb = _mix(rgb, a[:, COLUMN["bottom_r"] : COLUMN["bottom_r"] + 3], under)
    part = torch.where(under & (col("top") != 5), BOTTOM, part)
    sleeve = (kind == LIMB) & (part == TOP)
    dress = sleeve & (col("top") == 5) & (v < 0.02)
    pv = torch.where(onto | dress, v, hits.along * 0.16)
    pu = torch.where(onto | dress, u, hits.normal[:, 0] * 0.03)
    accent = a[:, COLUMN["accent_r"] : COLUMN["accent_r"] + 3]
    code = torch.where(sleeve & ~dress & (col("pattern") == 5), 0, col("pattern"))
    shown = (part == TOP) & (onto | sleeve) & ~(under & (col("top") != 5))
    rgb = _mix(rgb, accent, shown & _pattern(code, pu, pv, front))
    if details is not None and prints is not None:
        color, there = printed(prints, f, pu, pv, front | sleeve, details[f, AT["everywhere"]])
        rgb = _mix(rgb, color, there & shown & (onto | dress | (details[f, AT["everywhere"]] > 0)))
    jacket = (
        onto
        & (col("top") == 2)
        & front
        & (u.abs() < 0.026 + 0.05 * (v - 0.1).clamp(min=0))
        & ~under
    )
    rgb = _mix(
        rgb,
        torch.where((accent.mean(1) > 0.55)[:, None], accent, torch.full_like(accent, 0.9)),
        jacket,
    )
    placket = onto & (col("top") == 1) & front & ~under & (u.abs() < 0.005)
    rgb = _mix(rgb, rgb * 0.6, placket)
    collar = onto & (col("top") == 1) & (v > 0.283) & (u.abs() < 0.06)
    rgb = _mix(rgb, rgb * 0.5 + 0.5, collar)
    bare = onto & front & (u**2 + (v - 0.305) ** 2 < col("neck") ** 2)
    rgb = _mix(rgb, a[:, COLUMN["skin_r"] : COLUMN["skin_r"] + 3], bare)
    part = torch.where(bare, SKIN, part)
    cloth = (part == TOP) | (part == BOTTOM)
    fold = torch.where(
        onto,
        torch.sin(v * 85 + u * 45 + 2 * torch.sin(u * 60)),
        torch.sin(hits.along * 15 + hits.normal[:, 0] * 4),
    )
    strand = torch.sin(local[:, 0] * 260 + local[:, 1] * 30)
    relief = 1 + 0.035 * fold * cloth + 0.06 * strand * (part == HAIR)

    on_head = (kind == HEAD).nonzero()[:, 0]
    point = hits.point[on_head]
    fh = f[on_head]
    place = (head[fh, :, :3] @ point[:, :, None])[:, :, 0] + head[fh, :, 3]
    face_rgb, face_part = _face(place, rgb[on_head], a[on_head])
    if details is not None:
        own = details[fh]
        made, made_part = detailed_face(
            place, a[on_head, COLUMN["skin_r"] : COLUMN["skin_r"] + 3],
            a[on_head, COLUMN["hair_r"] : COLUMN["hair_r"] + 3], own,
            *(a[on_head, COLUMN[name]] > 0 for name in ("beard", "glasses", "bald")),
        )  # fmt: skip
        detailed = own[:, AT["detailed"]] > 0
        face_rgb = _mix(face_rgb, made, detailed)
        face_part = torch.where(detailed & (face_part != SKIN), made_part, face_part)
    rgb, part = rgb.clone(), part.clone()
    rgb[on_head], part[on_head] = face_rgb, face_part

    n = hits.normal
    side = col("side")
    lambert = (n[:, 0] * side * 0.50 - n[:, 1] * 0.58 + n[:, 2] * 0.64).clamp(min=0)
    ambient = col("ambient")
    light = (ambient + (1.12 - ambient) * lambert - 0.07 * n[:, 1].clamp(min=0)) * relief
    rim = (1 - n[:, 2]).clamp(0, 1) ** 3 * 0.16 * (0.4 + (-n[:, 1]).clamp(min=0))
    shine = (
        ((n[:, 0] * side * 0.3 - n[:, 1] * 0.4 + n[:, 2] * 0.86).clamp(min=0) ** 24)
        * 0.10
        * (part == HAIR)
    )
    tint = a[:, COLUMN["tint_r"] : COLUMN["tint_r"] + 3]
    out = rgb * light[:, None] * tint + (rim + shine)[:, None]
    return out.clamp(0, 1), part
