"""Objects in the hand or near the person: the arms' pose to hold them, and their cones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from animateanywhere.puppets.body import OTHER, Array, Body, Cones
from animateanywhere.puppets.motion import Pose
from animateanywhere.puppets.spec import RGB, Occluder, Thing

# The arms that hold an object: flexion, spread, rotation, and flexion of the elbow, in radians
_ARMS = {
    "ball": {"l": (0.35, 0.3, -0.1, 1.15)},
    "umbrella": {"l": (0.45, 0.3, 0.1, 1.75)},
    "balloon": {"l": (0.5, 0.55, 0.2, 1.3)},
    "surfboard": {"l": (0.1, 0.42, -0.2, 0.5)},
    "guitar": {"l": (0.35, 0.55, -0.15, 1.45), "r": (0.1, 0.45, -1.0, 1.35)},
    "book": {"l": (0.55, 0.15, -0.5, 1.5), "r": (0.55, 0.15, -0.5, 1.5)},
}


def hold(thing: Thing, pose: Pose) -> Pose:
    """The pose with the arms adapted to hold the object; the rest is unchanged."""
    pose = dict(pose)
    for side, values in _ARMS.get(thing.name, {}).items():
        spread = pose["abd_" + side]
        sway = np.clip(0.3 * (spread - spread.mean()), -0.2, 0.2)
        for key, value in zip(("arm_", "abd_", "rot_", "elbow_"), values, strict=True):
            pose[key + side] = value + sway * (key == "arm_")
    return pose


def object_cones(thing: Thing, body: Body, seat: bool) -> Cones:
    """The cones of the object, and of a stool if the person sits (`seat`)."""
    cones = Cones()
    if thing.name in _MAKERS:
        _MAKERS[thing.name](_Maker(thing, body, cones))
    if seat:
        _stool(body, cones)
    return cones


@dataclass(frozen=True)
class _Maker:
    """An object under construction, its measures in units of its size."""

    thing: Thing
    body: Body
    cones: Cones

    def at(self, base: Array, x: float, y: float, z: float, axes: Array | None = None) -> Array:
        """The point (F, 3) at an offset from `base`, along `axes` (F, 3, 3) or the world's."""
        v = np.array([x, y, z]) * self.thing.size
        return base + (v if axes is None else axes @ v)

    def add(self, a: Array, b: Array, ra: float, rb: float, rgb: RGB | None = None) -> None:
        """A cone, of the object's color unless given."""
        k = self.thing.size
        self.cones.add(a, b, ra * k, rb * k, self.thing.rgb if rgb is None else rgb, OTHER)

    def thin(self, a: Array, b: Array, r: float, rgb: RGB) -> None:
        """A cylinder of a radius that does not grow with the object."""
        self.cones.add(a, b, r, r, rgb, OTHER)


def _ball(o: _Maker) -> None:
    c = o.at(o.body.joints["hand_l"], 0, 0.045, 0.03, o.body.root)
    o.add(c, c, 0.085, 0.085)
    o.add(o.at(c, 0, 0.035, 0.03), o.at(c, 0, 0.036, 0.03), 0.044, 0.044, o.thing.accent_rgb)


def _umbrella(o: _Maker) -> None:
    hand, root = o.body.joints["hand_l"], o.body.root
    top = o.at(hand, -0.03, 0.34, 0.0, root)
    o.thin(o.at(hand, 0, -0.05, 0.0, root), top, 0.008, (0.2, 0.2, 0.22))
    for i in range(12):
        a = i * np.pi / 6 + 0.3
        rim = o.at(top, 0.195 * np.cos(a), -0.085, 0.195 * np.sin(a), root)
        mid = o.at(top, 0.12 * np.cos(a), -0.022, 0.12 * np.sin(a), root)
        rgb = o.thing.accent_rgb if i % 2 else o.thing.rgb
        o.add(top, mid, 0.02, 0.045, rgb)
        o.add(mid, rim, 0.045, 0.04, rgb)


def _balloon(o: _Maker) -> None:
    hand = o.body.joints["hand_l"]
    c = o.at(hand, 0.02, 0.42, 0.0)
    o.thin(hand, o.at(c, 0, -0.09, 0), 0.004, (0.85, 0.85, 0.85))
    o.add(o.at(c, 0, 0.02, 0), o.at(c, 0, -0.05, 0), 0.092, 0.055)


def _surfboard(o: _Maker) -> None:
    root = o.body.root
    c = o.at(o.body.joints["hand_l"], 0.03, 0.14, 0.0, root)
    for y0, y1, r0, r1, rgb in (
        (0.0, 0.17, 0.06, 0.053, None),
        (0.17, 0.28, 0.053, 0.034, None),
        (0.28, 0.35, 0.034, 0.006, None),
        (0.0, -0.17, 0.06, 0.053, None),
        (-0.17, -0.27, 0.053, 0.034, None),
        (-0.27, -0.33, 0.034, 0.01, None),
        (0.1, 0.14, 0.0605, 0.0595, o.thing.accent_rgb),
    ):
        o.add(o.at(c, 0, y0, 0, root), o.at(c, 0, y1, 0, root), r0, r1, rgb)


def _guitar(o: _Maker) -> None:
    axes = o.body.torso
    c = o.at(o.body.joints["pelvis"], -0.02, 0.1, 0.115, axes)

    def on(x: float, y: float, z: float) -> Array:
        return o.at(c, x, y, z, axes)

    neck = on(0.33, 0.14, 0.02)
    o.add(on(-0.075, -0.03, 0), on(-0.07, -0.028, 0), 0.082, 0.082)
    o.add(on(0.01, 0.004, 0), on(0.02, 0.008, 0), 0.066, 0.064)
    hole = on(-0.03, -0.012, 0.056), on(-0.028, -0.012, 0.056)
    o.add(*hole, 0.026, 0.026, (0.08, 0.06, 0.05))
    o.add(on(0.0, 0.0, 0.062), neck, 0.014, 0.012, (0.2, 0.12, 0.07))
    o.add(neck, o.at(neck, 0.05, 0.022, 0, axes), 0.02, 0.02)


def _book(o: _Maker) -> None:
    j, root = o.body.joints, o.body.root
    c = o.at((j["hand_l"] + j["hand_r"]) / 2, 0, 0.045, 0.02, root)
    covers, pages = (5, -0.05, 0.06, 0.0, None), (4, -0.045, 0.055, 0.007, (0.95, 0.94, 0.9))
    for count, y0, y1, back, rgb in (covers, pages):
        for side in (-1, 1):
            for i in range(count):
                x, z = side * (0.012 + 0.016 * i), 0.012 * i - back
                a, b = o.at(c, x, y0, z, root), o.at(c, x, y1, z - 0.02, root)
                o.add(a, b, 0.011, 0.011, rgb)


def _beside(o: _Maker) -> Callable[[float, float, float], Array]:
    """Points from a place on the floor beside the person."""
    base = o.at(o.body.joints["pelvis"] * np.array([1.0, 0.0, 1.0]), 0.27, 0.0, 0.05)
    return lambda x, y, z: o.at(base, x, y, z)


def _suitcase(o: _Maker) -> None:
    on = _beside(o)
    for i in range(5):
        x = -0.07 + 0.035 * i
        rgb = o.thing.accent_rgb if i == 2 else None
        o.add(on(x, 0.05, 0), on(x, 0.21, 0), 0.032, 0.032, rgb)
    left, right = on(-0.03, 0.29, 0), on(0.03, 0.29, 0)
    o.thin(on(-0.03, 0.24, 0), left, 0.008, (0.15, 0.15, 0.15))
    o.thin(on(0.03, 0.24, 0), right, 0.008, (0.15, 0.15, 0.15))
    o.thin(left, right, 0.01, (0.15, 0.15, 0.15))


def _dog(o: _Maker) -> None:
    on = _beside(o)
    o.add(on(-0.06, 0.15, 0), on(0.09, 0.15, 0), 0.048, 0.044)
    o.add(on(-0.09, 0.19, 0), on(-0.12, 0.235, 0.01), 0.034, 0.043)
    o.add(on(-0.125, 0.228, 0.01), on(-0.18, 0.215, 0.015), 0.028, 0.019)
    for z in (-0.02, 0.04):
        o.add(on(-0.105, 0.265, z), on(-0.09, 0.235, z), 0.012, 0.017)
    for x in (-0.075, 0.095):
        for z in (-0.025, 0.025):
            o.add(on(x, 0.13, z), on(x, 0.016, z), 0.022, 0.015)
    wag = 0.05 * np.sin(o.body.joints["hand_r"][:, :1] * 40)
    tail = on(0.17, 0.25, 0) + np.concatenate([0 * wag, 0 * wag, wag], 1)
    o.add(on(0.12, 0.17, 0), tail, 0.014, 0.01)
    nose, eye = on(-0.197, 0.218, 0.018), on(-0.14, 0.252, 0.048)
    o.thin(nose, nose, 0.011, (0.05, 0.04, 0.04))
    o.thin(eye, eye, 0.008, (0.05, 0.04, 0.04))


_MAKERS: dict[str, Callable[[_Maker], None]] = {
    "ball": _ball, "umbrella": _umbrella, "surfboard": _surfboard, "guitar": _guitar,
    "balloon": _balloon, "book": _book, "dog": _dog, "suitcase": _suitcase,
}  # fmt: skip


def _stool(body: Body, cones: Cones) -> None:
    root = body.root
    c = body.joints["pelvis"] + root @ np.array([0, -0.125, -0.02])
    for x in np.linspace(-0.085, 0.085, 5):
        front, back = (c + root @ np.array([x, 0, z]) for z in (-0.07, 0.08))
        cones.add(front, back, 0.024, 0.024, (0.55, 0.37, 0.2), OTHER)
    for x in (-0.08, 0.08):
        for z in (-0.07, 0.07):
            leg = c + root @ np.array([x, 0, z])
            floor = leg * np.array([1.0, 0.0, 1.0]) + np.array([0, 0.015, 0])
            cones.add(leg, floor, 0.016, 0.014, (0.42, 0.27, 0.14), OTHER)


def occluder_cones(thing: Occluder, frames: int) -> Cones:
    """The cones of something that stands in front of the person, in F frames."""
    cones, (r, g, b) = Cones(), thing.rgb
    darker = 0.6 * r, 0.6 * g, 0.6 * b

    def add(a: tuple[float, float], b: tuple[float, float], r: float, rgb: RGB) -> None:
        start, stop = (
            np.tile([thing.x + x * thing.size, y * thing.size, 0.5], (frames, 1)) for x, y in (a, b)
        )
        cones.add(start, stop, r * thing.size, r * thing.size, rgb, OTHER)

    if thing.name == "post":
        add((0, 0), (0, 1.6), 0.05, thing.rgb)
        add((0, 0), (0, 0.1), 0.08, darker)
    elif thing.name == "hedge":
        for k in range(9):
            x, y = -0.48 + 0.12 * k, 0.2 + 0.05 * np.sin(5.0 * k)
            add((x, 0.05), (x, y), 0.09, thing.rgb if k % 2 else darker)
    elif thing.name == "table":
        add((-0.34, 0.34), (0.34, 0.34), 0.035, thing.rgb)
        for x in (-0.3, 0.3):
            add((x, 0.0), (x, 0.32), 0.022, darker)
    else:  # a fence
        for k in range(9):
            add((-0.56 + 0.14 * k, 0), (-0.56 + 0.14 * k, 0.42), 0.016, thing.rgb)
        for y in (0.16, 0.36):
            add((-0.6, y), (0.6, y), 0.013, darker)
    return cones
