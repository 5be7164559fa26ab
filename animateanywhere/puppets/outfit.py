"""The cones of skin, clothes and accessories."""

from itertools import pairwise

import numpy as np

from animateanywhere.puppets.body import BOTTOM, LIMB, OTHER, SHOES, SKIN, TOP, TORSO, Body
from animateanywhere.puppets.head import cover_head
from animateanywhere.puppets.spec import Detail, Identity

# Share of the upper arm, or of the thigh, that cloth covers; 2: the whole limb
_SLEEVES = {"t-shirt": 0.62, "dress": 0.35, "vest": 0.0}
_LEGS = {"shorts": 0.85, "skirt": 0.68}


def dress(person: Identity, body: Body) -> None:
    """Add the cones of skin, clothes, hair and accessories to `body`."""
    _torso(person, body)
    _neck(person, body)
    for side in "rl":
        _arm(person, body, side)
        _leg(person, body, side)
    if person.bottom == "skirt":
        _skirt(person, body)
    cover_head(person, body)
    _bag(person, body)
    if person.detail is not None:
        _scarf(person.detail, body)
        _tattoo(person.detail, person, body)


def _torso(person: Identity, body: Body) -> None:
    up, g, r = body.from_pelvis, person.build, person.height * person.build

    def add(a: np.ndarray, b: np.ndarray, ra: float, rb: float) -> None:
        body.cones.add(a, b, ra * r, rb * r, person.top_rgb, TOP, TORSO)

    woman, w = person.gender == "woman", person.shoulders
    for k in (-1.0, 1.0):
        waist = up(k * (0.036 if woman else 0.046) * g, 0.08, 0.004)
        add(up(k * 0.056 * w, 0.215, 0.004), waist, 0.062, 0.053)
        add(waist, up(k * 0.044 * person.hips, -0.012, 0), 0.053, 0.062)
        add(up(k * 0.02, 0.275, -0.008), up(k * 0.098 * w, 0.262, -0.008), 0.038, 0.038)
        if woman:
            add(up(k * 0.034, 0.19, 0.034), up(k * 0.034, 0.185, 0.036), 0.043, 0.043)
    add(up(0, 0.21, 0.01), up(0, 0.02, 0.006), 0.064, 0.062)


def _neck(person: Identity, body: Body) -> None:
    h, skin = person.height, (person.skin_rgb, SKIN)
    collar = (person.top_rgb, TOP) if person.top in ("sweater", "jacket") else skin
    chin = body.joints["neck"] + body.head @ np.array([0, 0.045, 0.0]) * h
    base = body.from_pelvis(0, 0.27, -0.01)
    body.cones.add(base, chin, 0.034 * h, 0.032 * h, *collar, LIMB, (*skin, 0.45))


def _arm(person: Identity, body: Body, side: str) -> None:
    add, h, r = body.cones.add, person.height, person.height * person.build
    names = ("shoulder_", "elbow_", "wrist_", "hand_", "thumb_")
    shoulder, elbow, wrist, hand, thumb = (body.joints[name + side] for name in names)
    own = person.detail.sleeve_rgb if person.detail is not None else None
    skin, cloth = (person.skin_rgb, SKIN), (own or person.top_rgb, TOP)
    sleeve = _SLEEVES.get(person.top, 2.0)
    thick = 1.22 if person.top == "jacket" else 1.12 if sleeve > 1 else 1.0
    upper = 0.037 * r * thick, 0.029 * r * thick
    add(shoulder, elbow, *upper, *cloth, LIMB, (*skin, sleeve))
    if 0 < sleeve < 1:  # a loose sleeve ends in a rim
        add(shoulder, shoulder + (elbow - shoulder) * sleeve, 0.038 * r, 0.038 * r, *cloth, LIMB)
    lower = 0.028 * r * thick, 0.021 * r * thick
    add(elbow, wrist, *lower, *(cloth if sleeve > 1 else skin), LIMB)
    add(wrist, hand, 0.02 * h, 0.017 * h, *skin)
    add(wrist, thumb, 0.011 * h, 0.009 * h, *skin)


def _leg(person: Identity, body: Body, side: str) -> None:
    add, h, r = body.cones.add, person.height, person.height * person.build
    names = ("hip_", "knee_", "ankle_", "heel_", "toe_")
    hip, knee, ankle, heel, toe = (body.joints[name + side] for name in names)
    skin, shoe = (person.skin_rgb, SKIN), (person.shoe_rgb, SHOES)
    leg = _LEGS.get(person.bottom, 2.0)
    part = TOP if person.top == "dress" else BOTTOM
    own = person.detail.leg_rgb if person.detail is not None and side == "l" else None
    cloth = own if own and person.bottom != "skirt" else person.bottom_rgb
    add(hip, knee, 0.064 * r, 0.043 * r, cloth, part, LIMB, (*skin, leg))
    if person.bottom == "shorts":
        add(hip, hip + (knee - hip) * 0.8, 0.067 * r, 0.053 * r, cloth, BOTTOM)
    if leg > 1:
        wide = 1.18
        shin = 0.042 * r * wide, 0.026 * r * wide * wide
        add(knee, ankle, *shin, cloth, BOTTOM, LIMB)
    else:
        calf = knee * 0.7 + ankle * 0.3
        add(knee, ankle, 0.042 * r, 0.026 * r, *skin, LIMB)
        add(calf, calf, 0.0385 * r, 0.0385 * r, *skin)
    add(heel, toe, 0.031 * h, 0.024 * h, *shoe)
    add(ankle, heel, 0.027 * h, 0.031 * h, *shoe)


def _skirt(person: Identity, body: Body) -> None:
    r, part = person.height * person.build, TOP if person.top == "dress" else BOTTOM
    right, left = (body.joints["hip_" + s] * 0.3 + body.joints["knee_" + s] * 0.7 for s in "rl")
    middle, half = (right + left) / 2, (left - right) / 2
    for k in (-1.0, -0.5, 0.0, 0.5, 1.0):
        waist, hem = body.from_pelvis(k * 0.04, 0.02, 0), middle + half * k * 1.35
        body.cones.add(waist, hem, 0.064 * r, 0.054 * r, person.bottom_rgb, part, LIMB)


def _bag(person: Identity, body: Body) -> None:
    up, h, g, w = body.from_pelvis, person.height, person.build, person.shoulders

    def add(a: np.ndarray, b: np.ndarray, ra: float, rb: float) -> None:
        body.cones.add(a, b, ra * h, rb * h, person.bag_rgb, OTHER)

    if person.bag == "backpack":
        add(up(0, 0.22, -0.1), up(0, 0.09, -0.1), 0.075, 0.08)
        for k in (-1.0, 1.0):
            add(
                up(k * 0.07 * w, 0.285, 0.025 * g), up(k * 0.075 * w, 0.15, 0.065 * g), 0.013, 0.013
            )
    elif person.bag == "bag":
        add(up(-0.06, 0.295, 0.02), up(0.07, 0.1, 0.068 * g), 0.011, 0.011)
        for y in (0.03, -0.02):
            add(up(0.11 * person.hips, y, 0.03), up(0.12 * person.hips, y, -0.04), 0.042, 0.042)


def _scarf(detail: Detail, body: Body) -> None:
    """A ring around the neck, and an end of another color that hangs from it."""
    if not detail.scarf_rgb:
        return
    up, h = body.from_pelvis, body.height
    around = np.arange(8) * np.pi / 4
    ring = [up(0.05 * np.cos(a), 0.3, 0.012 + 0.045 * np.sin(a)) for a in around]
    for start, stop in pairwise([*ring, ring[0]]):
        body.cones.add(start, stop, 0.022 * h, 0.022 * h, detail.scarf_rgb, OTHER)
    middle = up(0.035, 0.22, 0.082)
    for start, stop, rgb in (
        (up(0.025, 0.3, 0.06), middle, detail.scarf_rgb),
        (middle, up(0.04, 0.15, 0.086), detail.scarf_end_rgb),
    ):
        body.cones.add(start, stop, 0.021 * h, 0.024 * h, rgb, OTHER)


def _tattoo(detail: Detail, person: Identity, body: Body) -> None:
    """Rings and dots of ink on the left forearm, unless a sleeve covers it."""
    if not detail.tattoo_seed or _SLEEVES.get(person.top, 2.0) > 1:
        return
    rng = np.random.default_rng(detail.tattoo_seed)
    elbow, wrist = body.joints["elbow_l"], body.joints["wrist_l"]
    ink = np.array(person.skin_rgb) * 0.3 + rng.uniform(0, 0.25, 3)
    r, rgb = person.height * person.build, (float(ink[0]), float(ink[1]), float(ink[2]))
    for start in rng.uniform(0.05, 0.9, int(rng.integers(1, 4))):
        stop = start + rng.uniform(0.02, 0.12)
        (a, ra), (b, rb) = (
            (elbow + (wrist - elbow) * along, (0.0288 - 0.007 * along) * r)
            for along in (start, stop)
        )
        body.cones.add(a, b, ra, rb, rgb, SKIN)
