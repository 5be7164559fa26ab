"""The cones of the head: skull, nose, ears, hair, beard and hat; `shade` paints the face."""

import numpy as np

from animateanywhere.puppets.body import FACE, HAIR, HEAD, OTHER, SKIN, Array, Body
from animateanywhere.puppets.spec import RGB, Identity

Point = tuple[float, float, float]
Cone = tuple[Point, Point, float, float]  # ends and radii, in sizes of the head, from the skull


def _ball(point: Point, radius: float) -> Cone:
    return point, point, radius, radius


_SKULL: Cone = ((0, 0.012, -0.004), (0, -0.034, 0.012), 0.066, 0.047)
_NOSE: Cone = ((0, 0.004, 0.06), (0, -0.018, 0.071), 0.007, 0.011)
_EARS: tuple[Cone, ...] = tuple(
    ((k * 0.064, 0.004, -0.006), (k * 0.064, -0.014, -0.003), 0.013, 0.01) for k in (-1, 1)
)
_CAPS = {"bald": 0.0, "short": 0.069, "curly": 0.072}  # radius of the hair on the skull
_CURLS: tuple[Point, ...] = (
    (-0.062, 0.03, 0.0), (0.062, 0.03, 0.0), (-0.036, 0.074, 0.012), (0.036, 0.074, 0.012),
    (0, 0.086, -0.01), (-0.064, -0.008, -0.03), (0.064, -0.008, -0.03), (-0.03, 0.06, -0.06),
    (0.03, 0.06, -0.06), (0, 0.01, -0.08),
)  # fmt: skip
_HAIR: dict[str, tuple[Cone, ...]] = {
    "long": (
        ((0, 0.0, -0.026), (0, -0.135, -0.036), 0.064, 0.058),
        ((-0.052, 0.02, 0.0), (-0.062, -0.125, 0.0), 0.026, 0.023),
        ((0.052, 0.02, 0.0), (0.062, -0.125, 0.0), 0.026, 0.023),
    ),
    "bun": (((0, 0.094, -0.036), (0, 0.096, -0.04), 0.036, 0.036),),
    "ponytail": (
        ((0, 0.04, -0.085), (0, -0.02, -0.11), 0.026, 0.03),
        ((0, -0.02, -0.11), (0.0, -0.13, -0.09), 0.03, 0.014),
    ),
    "curly": tuple(_ball(point, 0.033) for point in _CURLS),
}
_STREAK: Cone = ((0.03, 0.066, 0.03), (0.06, 0.02, -0.01), 0.016, 0.014)
_BEARD: Cone = ((-0.018, -0.052, 0.022), (0.018, -0.052, 0.022), 0.034, 0.034)
_CROWN: Cone = ((0, 0.046, -0.01), (0, 0.052, -0.014), 0.071, 0.066)
_HATS: dict[str, tuple[Cone, ...]] = {
    "cap": tuple(
        ((k * 0.03, 0.046, 0.04), (k * 0.034, 0.034, 0.105 - abs(k) * 0.012), 0.017, 0.012)
        for k in (-1, 0, 1)
    ),
    "beanie": (_ball((0, 0.122, -0.014), 0.024),),
    "hat": tuple(
        ((x * 0.045, 0.05, z * 0.045 - 0.01), (x * 0.096, 0.042, z * 0.096 - 0.01), 0.022, 0.02)
        for angle in np.arange(14) * np.pi / 7
        for x, z in [(np.cos(angle), np.sin(angle))]
    ),
}


def cover_head(person: Identity, body: Body) -> None:
    """Add the cones of the head to `body`."""
    skin, hair = (person.skin_rgb, FACE), (person.hair_rgb, HAIR)

    def add(cone: Cone, rgb: RGB, part: int) -> None:
        body.cones.add(*_placed(cone, body), rgb, part)

    top, chin, wide, narrow = _SKULL
    if person.detail is not None:
        wide, narrow = wide * person.detail.face_width, narrow * person.detail.jaw
    body.cones.add(*_placed((top, chin, wide, narrow), body), *skin, HEAD, (*hair, 1.0))
    add(_NOSE, *skin)
    for ear in _EARS:
        add(ear, person.skin_rgb, SKIN)
    for cone in _hair(person):
        add(cone, *hair)
    if person.detail is not None and person.detail.streak_rgb and person.hair_style != "bald":
        add(_STREAK, person.detail.streak_rgb, HAIR)
    if person.hat != "none":
        for cone in (_CROWN, *_HATS[person.hat]):
            add(cone, person.hat_rgb, OTHER)


def _hair(person: Identity) -> list[Cone]:
    cap = _CAPS.get(person.hair_style, 0.0705)
    scalp: Cone = ((0, 0.022, -0.014), (0, 0.0, -0.022), cap, cap - 0.008)
    beard = [_BEARD] if person.beard else []
    side = person.detail.hair_side if person.detail is not None else 0.0
    hair = [_to_side(person.hair_style, cone, side) for cone in _HAIR.get(person.hair_style, ())]
    return [*([scalp] if cap else []), *hair, *beard]


def _to_side(style: str, cone: Cone, side: float) -> Cone:
    """A cone of asymmetric hair (`Detail.hair_side`): a bun or ponytail is moved around the head,
    the strands of long hair are longer on one side."""
    (ax, ay, az), (bx, by, bz), ra, rb = cone
    if style == "long":
        return (ax, ay, az), (bx, by - 0.05 * side * np.sign(bx), bz), ra, rb
    if style in ("bun", "ponytail"):
        c, s = np.cos(1.4 * side), np.sin(1.4 * side)
        turned = [(x * c - z * s, y, x * s + z * c) for x, y, z in ((ax, ay, az), (bx, by, bz))]
        return turned[0], turned[1], ra, rb
    return cone


def _placed(cone: Cone, body: Body) -> tuple[Array, Array, float, float]:
    a, b, ra, rb = cone
    s = body.head_size
    return body.from_skull(*a), body.from_skull(*b), ra * s, rb * s
