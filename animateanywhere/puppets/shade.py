"""Shading: the color and body part of each hit, with patterns, faces, folds and light."""

import torch
from torch import Tensor

from animateanywhere.puppets.body import BOTTOM, FACE, HAIR, HEAD, LIMB, SKIN, TOP, TORSO
from animateanywhere.puppets.detail import DETAIL_COLUMN, Details
from animateanywhere.puppets.faces import Look, detailed_face
from animateanywhere.puppets.prints import print_at
from animateanywhere.puppets.ray_casting import Hits
from animateanywhere.puppets.spec import TOPS

_NUMBERS = (
    "pattern", "top", "beard", "glasses", "bald", "woman", "hem", "neck", "side", "ambient",
)  # fmt: skip
# Columns of the table of attributes: a number has one, a color three
COLUMN: dict[str, int | slice] = {
    **{name: i for i, name in enumerate(_NUMBERS)},
    **{
        name: slice(len(_NUMBERS) + 3 * i, len(_NUMBERS) + 3 * i + 3)
        for i, name in enumerate(("accent", "hair", "bottom", "skin", "tint"))
    },
}
_SHIRT, _JACKET, _DRESS = (TOPS.index(name) for name in ("shirt", "jacket", "dress"))


def shade(
    hits: Hits,
    rgb1: Tensor,
    rgb2: Tensor,
    kinds: Tensor,
    table: Tensor,
    torso: Tensor,
    head: Tensor,
    details: Details | None = None,
) -> tuple[Tensor, Tensor]:
    """Color (hits, 3) in 0..1 and part (hits,) of each hit.

    rgb1, rgb2 (F, P, 3); kinds (F, P, 4): kind, part, second part, cut; table (F, A) as in
    COLUMN; torso and head (F, 3, 4) map screen points to local coordinates. details: of the people
    in the F frames, if anybody has any.
    """
    f, c = hits.frame, hits.cone
    rows = table[f]
    kind, part1, part2, cut = kinds[f, c].unbind(1)
    beyond = hits.along > cut
    rgb = _mix(rgb1[f, c], rgb2[f, c], beyond)
    part = torch.where(beyond, part2, part1).long()
    local = _to_local(torso, f, hits.point)
    rgb, part = _clothe(hits, kind, local, rgb, part, lambda name: rows[:, COLUMN[name]], details)
    relief = _relief(hits, kind, local, part)
    on_head = (kind == HEAD).nonzero()[:, 0]
    face = _to_local(head, f[on_head], hits.point[on_head])
    own = None if details is None else details.table[f[on_head]]
    painted = _face(face, rgb[on_head], lambda name: rows[on_head][:, COLUMN[name]], own)
    rgb, part = rgb.clone(), part.clone()
    rgb[on_head], part[on_head] = painted
    light, gloss = _light(hits.normal, part == HAIR, lambda name: rows[:, COLUMN[name]])
    tint = rows[:, COLUMN["tint"]]
    return (rgb * (light * relief)[:, None] * tint + gloss[:, None]).clamp(0, 1), part


def _to_local(matrix: Tensor, frame: Tensor, point: Tensor) -> Tensor:
    return (matrix[frame, :, :3] @ point[:, :, None])[:, :, 0] + matrix[frame, :, 3]


def _mix(rgb: Tensor, other: Tensor, where: Tensor) -> Tensor:
    return torch.where(where[:, None], other, rgb)


def _clothe(
    hits: Hits,
    kind: Tensor,
    local: Tensor,
    rgb: Tensor,
    part: Tensor,
    look: Look,
    details: Details | None,
) -> tuple[Tensor, Tensor]:
    """Paint the hem, pattern, print, jacket, collar and neckline on torso-local points."""
    u, v, w = local.unbind(1)
    top, accent = look("top"), look("accent")
    onto, front = kind == TORSO, w > 0.0
    under = onto & (v < look("hem"))
    rgb = _mix(rgb, look("bottom"), under)
    part = torch.where(under & (top != _DRESS), BOTTOM, part)

    sleeve = (kind == LIMB) & (part == TOP)
    skirt = sleeve & (top == _DRESS) & (v < 0.02)
    pv = torch.where(onto | skirt, v, hits.along * 0.16)
    pu = torch.where(onto | skirt, u, hits.normal[:, 0] * 0.03)
    code = torch.where(sleeve & ~skirt & (look("pattern") == 5), 0, look("pattern"))
    shown = (part == TOP) & (onto | sleeve) & ~(under & (top != _DRESS))
    rgb = _mix(rgb, accent, shown & _pattern(code, pu, pv, front))
    if details is not None:
        color, cover = print_at(details.prints, hits.frame, pu, pv)
        everywhere = details.table[hits.frame, DETAIL_COLUMN["everywhere"]] > 0
        chest = (onto & front) | skirt
        rgb = _mix(rgb, color, shown & cover & (chest | everywhere))

    opening = u.abs() < 0.026 + 0.05 * (v - 0.1).clamp(min=0)
    below = torch.where((accent.mean(1) > 0.55)[:, None], accent, torch.full_like(accent, 0.9))
    rgb = _mix(rgb, below, onto & (top == _JACKET) & front & opening & ~under)
    placket = onto & (top == _SHIRT) & front & ~under & (u.abs() < 0.005)
    rgb = _mix(rgb, rgb * 0.6, placket)
    collar = onto & (top == _SHIRT) & (v > 0.283) & (u.abs() < 0.06)
    rgb = _mix(rgb, rgb * 0.5 + 0.5, collar)
    bare = onto & front & (u**2 + (v - 0.305) ** 2 < look("neck") ** 2)
    return _mix(rgb, look("skin"), bare), torch.where(bare, SKIN, part)


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


def _face(p: Tensor, rgb: Tensor, look: Look, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Paint eyes, brows, mouth, beard, glasses, hairline on head-local points p (N, 3).

    own: each point's row of the table of details; individual faces replace the plain ones.
    """
    rgb, part = _plain_face(p, rgb, look)
    if own is None:
        return rgb, part
    mine, my_part = detailed_face(p, look, lambda name: own[:, DETAIL_COLUMN[name]])
    detailed = own[:, DETAIL_COLUMN["detailed"]] > 0
    return _mix(rgb, mine, detailed), torch.where(detailed & (part != SKIN), my_part, part)


def _plain_face(p: Tensor, rgb: Tensor, look: Look) -> tuple[Tensor, Tensor]:
    """The face of people without details: colors (N, 3) and parts (N,)."""

    def oval(dx: Tensor, dy: Tensor, rx: float, ry: float | Tensor) -> Tensor:
        return ((dx / rx) ** 2 + (dy / ry) ** 2 < 1) & front

    x, y, z = p.unbind(1)
    ax, front = x.abs(), z > 0.02
    hair, skin = look("hair"), look("skin")
    rgb = _mix(
        rgb, skin * rgb.new_tensor([1.0, 0.90, 0.88]), oval(ax - 0.034, y + 0.022, 0.014, 0.011)
    )
    cheeks = (y < -0.02) & (ax > 0.042)
    mustache = (y < -0.024) & (y > -0.033) & (ax < 0.024)
    beard = (look("beard") > 0) & (z > -0.02) & ((y < -0.046) | cheeks | mustache)
    rgb = _mix(rgb, hair, beard)
    lips = skin * rgb.new_tensor([0.78, 0.42, 0.42])
    wide = torch.where(look("woman") > 0, 0.0075, 0.0055)
    rgb = _mix(rgb, lips, oval(x, y + 0.043 - 11 * x * x, 0.02, wide))
    ex, ey = ax - 0.026, y - 0.003
    rgb = _mix(rgb, rgb.new_tensor([0.97, 0.97, 0.97]), oval(ex, ey, 0.0145, 0.0095))
    rgb = _mix(rgb, rgb.new_tensor([0.08, 0.06, 0.06]), oval(ex, ey, 0.0075, 0.0095))
    brow = (ex.abs() < 0.015) & ((y - 0.0235 + 0.15 * ex).abs() < 0.004) & front
    rgb = _mix(rgb, hair * 0.7, brow)
    rim = ((ex**2 + ey**2).sqrt() - 0.021).abs() < 0.0036
    rim = (rim | ((ax < 0.006) & ((y - 0.006).abs() < 0.003))) & front & (look("glasses") > 0)
    rgb = _mix(rgb, rgb.new_tensor(0.06), rim)
    line = (look("bald") < 1) & ((y > 0.046 - 0.25 * (ax - 0.03).clamp(min=0)) | (z < -0.02))
    rgb = _mix(rgb, hair, line)
    part = torch.where(z > -0.005, FACE, SKIN)
    return rgb, torch.where(beard | line, HAIR, part)


def _relief(hits: Hits, kind: Tensor, local: Tensor, part: Tensor) -> Tensor:
    """The light that folds of cloth and strands of hair give or take, as a factor."""
    u, v, _ = local.unbind(1)
    fold = torch.where(
        kind == TORSO,
        torch.sin(v * 85 + u * 45 + 2 * torch.sin(u * 60)),
        torch.sin(hits.along * 15 + hits.normal[:, 0] * 4),
    )
    cloth = (part == TOP) | (part == BOTTOM)
    strand = torch.sin(u * 260 + v * 30)
    return 1 + 0.035 * fold * cloth + 0.06 * strand * (part == HAIR)


def _light(normal: Tensor, hair: Tensor, look: Look) -> tuple[Tensor, Tensor]:
    """The light on a surface, a factor, and the gloss that is added to its color."""
    x, y, z = normal.unbind(1)
    side, ambient = look("side"), look("ambient")
    lambert = (x * side * 0.50 - y * 0.58 + z * 0.64).clamp(min=0)
    light = ambient + (1.12 - ambient) * lambert - 0.07 * y.clamp(min=0)
    rim = (1 - z).clamp(0, 1) ** 3 * 0.16 * (0.4 + (-y).clamp(min=0))
    shine = ((x * side * 0.3 - y * 0.4 + z * 0.86).clamp(min=0) ** 24) * 0.10 * hair
    return light, rim + shine
