"""Objects in the hand or near the person: the arms' pose to hold them, and their cones."""

import numpy as np

from animateanywhere.puppets.body import OTHER, Body, Cones
from animateanywhere.puppets.motion import Pose
from animateanywhere.puppets.spec import Thing

HELD = ("ball", "umbrella", "surfboard", "guitar", "balloon", "book")


def hold(thing: Thing, pose: Pose) -> Pose:
    """The pose with the arms adapted to hold the object; the rest is unchanged."""

    def arm(side: str, flex: float, spread: float, rot: float, elbow: float) -> None:
        sway = 0.3 * (pose["abd_" + side] - pose["abd_" + side].mean())
        for key, value in (("arm_", flex), ("abd_", spread), ("rot_", rot), ("elbow_", elbow)):
            pose[key + side] = value + np.clip(sway, -0.2, 0.2) * (key == "arm_")

    pose = dict(pose)
    if thing.name == "ball":
        arm("l", 0.35, 0.3, -0.1, 1.15)
    elif thing.name == "umbrella":
        arm("l", 0.45, 0.3, 0.1, 1.75)
    elif thing.name == "balloon":
        arm("l", 0.5, 0.55, 0.2, 1.3)
    elif thing.name == "surfboard":
        arm("l", 0.1, 0.42, -0.2, 0.5)
    elif thing.name == "guitar":
        arm("l", 0.35, 0.55, -0.15, 1.45)
        arm("r", 0.1, 0.45, -1.0, 1.35)
    elif thing.name == "book":
        arm("l", 0.55, 0.15, -0.5, 1.5)
        arm("r", 0.55, 0.15, -0.5, 1.5)
    return pose


def object_cones(thing: Thing, body: Body, seat: bool) -> Cones:
    """The cones of the object, and of a stool if the person sits (`seat`)."""
    out = Cones()
    j, root, torso, k = body.joints, body.root, body.torso, thing.size

    def add(a: np.ndarray, b: np.ndarray, ra: float, rb: float, second: bool = False) -> None:
        out.add(a, b, ra * k, rb * k, thing.accent_rgb if second else thing.rgb, OTHER)

    def from_(
        base: np.ndarray, x: float, y: float, z: float, frame: np.ndarray | None = None
    ) -> np.ndarray:
        v = np.array([x, y, z]) * k
        return base + (v if frame is None else frame @ v)

    hand = j["hand_l"]
    if thing.name == "ball":
        c = from_(hand, 0, 0.045, 0.03, root)
        add(c, c, 0.085, 0.085)
        add(from_(c, 0, 0.035, 0.03), from_(c, 0, 0.036, 0.03), 0.044, 0.044, True)
    elif thing.name == "umbrella":
        top = from_(hand, -0.03, 0.34, 0.0, root)
        out.add(from_(hand, 0, -0.05, 0.0, root), top, 0.008, 0.008, (0.2, 0.2, 0.22), OTHER)
        for i in range(12):
            a = i * np.pi / 6 + 0.3
            rim = from_(top, 0.195 * np.cos(a), -0.085, 0.195 * np.sin(a), root)
            mid = from_(top, 0.12 * np.cos(a), -0.022, 0.12 * np.sin(a), root)
            add(top, mid, 0.02, 0.045, bool(i % 2))
            add(mid, rim, 0.045, 0.04, bool(i % 2))
    elif thing.name == "balloon":
        c = from_(hand, 0.02, 0.42, 0.0)
        out.add(hand, from_(c, 0, -0.09, 0), 0.004, 0.004, (0.85, 0.85, 0.85), OTHER)
        add(from_(c, 0, 0.02, 0), from_(c, 0, -0.05, 0), 0.092, 0.055)
    elif thing.name == "surfboard":
        c = from_(hand, 0.03, 0.14, 0.0, root)
        for y0, y1, r0, r1, second in (
            (0.0, 0.17, 0.06, 0.053, False),
            (0.17, 0.28, 0.053, 0.034, False),
            (0.28, 0.35, 0.034, 0.006, False),
            (0.0, -0.17, 0.06, 0.053, False),
            (-0.17, -0.27, 0.053, 0.034, False),
            (-0.27, -0.33, 0.034, 0.01, False),
            (0.1, 0.14, 0.0605, 0.0595, True),
        ):
            add(from_(c, 0, y0, 0, root), from_(c, 0, y1, 0, root), r0, r1, second)
    elif thing.name == "guitar":
        c = from_(j["pelvis"], -0.02, 0.1, 0.115, torso)
        neck = from_(c, 0.33, 0.14, 0.02, torso)
        add(from_(c, -0.075, -0.03, 0, torso), from_(c, -0.07, -0.028, 0, torso), 0.082, 0.082)
        add(from_(c, 0.01, 0.004, 0, torso), from_(c, 0.02, 0.008, 0, torso), 0.066, 0.064)
        out.add(
            from_(c, -0.03, -0.012, 0.056, torso),
            from_(c, -0.028, -0.012, 0.056, torso),
            0.026 * k,
            0.026 * k,
            (0.08, 0.06, 0.05),
            OTHER,
        )
        out.add(
            from_(c, 0.0, 0.0, 0.062, torso), neck, 0.014 * k, 0.012 * k, (0.2, 0.12, 0.07), OTHER
        )
        add(neck, from_(neck, 0.05, 0.022, 0, torso), 0.02, 0.02)
    elif thing.name == "book":
        c = from_((j["hand_l"] + j["hand_r"]) / 2, 0, 0.045, 0.02, root)
        for side in (-1, 1):
            for i in range(5):
                x = side * (0.012 + 0.016 * i)
                z = 0.012 * i
                add(from_(c, x, -0.05, z, root), from_(c, x, 0.06, z - 0.02, root), 0.011, 0.011)
        for side in (-1, 1):
            for i in range(4):
                x = side * (0.012 + 0.016 * i)
                z = 0.012 * i - 0.007
                out.add(
                    from_(c, x, -0.045, z, root),
                    from_(c, x, 0.055, z - 0.02, root),
                    0.011 * k,
                    0.011 * k,
                    (0.95, 0.94, 0.9),
                    OTHER,
                )
    elif thing.name in ("dog", "suitcase"):
        feet = j["pelvis"] * np.array([1.0, 0.0, 1.0])
        base = from_(feet, 0.27, 0.0, 0.05)
        if thing.name == "suitcase":
            for i in range(5):
                x = -0.07 + 0.035 * i
                add(from_(base, x, 0.05, 0), from_(base, x, 0.21, 0), 0.032, 0.032, i == 2)
            out.add(
                from_(base, -0.03, 0.24, 0),
                from_(base, -0.03, 0.29, 0),
                0.008,
                0.008,
                (0.15,) * 3,
                OTHER,
            )
            out.add(
                from_(base, 0.03, 0.24, 0),
                from_(base, 0.03, 0.29, 0),
                0.008,
                0.008,
                (0.15,) * 3,
                OTHER,
            )
            out.add(
                from_(base, -0.03, 0.29, 0),
                from_(base, 0.03, 0.29, 0),
                0.01,
                0.01,
                (0.15,) * 3,
                OTHER,
            )
        else:
            add(from_(base, -0.06, 0.15, 0), from_(base, 0.09, 0.15, 0), 0.048, 0.044)
            add(from_(base, -0.09, 0.19, 0), from_(base, -0.12, 0.235, 0.01), 0.034, 0.043)
            add(from_(base, -0.125, 0.228, 0.01), from_(base, -0.18, 0.215, 0.015), 0.028, 0.019)
            for z in (-0.02, 0.04):
                add(
                    from_(base, -0.105, 0.265, z), from_(base, -0.09, 0.235, z), 0.012, 0.017, False
                )
            for x in (-0.075, 0.095):
                for z in (-0.025, 0.025):
                    add(from_(base, x, 0.13, z), from_(base, x, 0.016, z), 0.022, 0.015)
            wag = 0.05 * np.sin(j["hand_r"][:, :1] * 40)
            tail = from_(base, 0.17, 0.25, 0) + np.concatenate([0 * wag, 0 * wag, wag], 1)
            add(from_(base, 0.12, 0.17, 0), tail, 0.014, 0.01)
            for x, y, z, r in ((-0.197, 0.218, 0.018, 0.011), (-0.14, 0.252, 0.048, 0.008)):
                out.add(from_(base, x, y, z), from_(base, x, y, z), r, r, (0.05, 0.04, 0.04), OTHER)
    if seat:
        c = j["pelvis"] + root @ np.array([0, -0.125, -0.02])
        for x in np.linspace(-0.085, 0.085, 5):
            out.add(
                c + root @ np.array([x, 0, -0.07]),
                c + root @ np.array([x, 0, 0.08]),
                0.024,
                0.024,
                (0.55, 0.37, 0.2),
                OTHER,
            )
        for x in (-0.08, 0.08):
            for z in (-0.07, 0.07):
                leg = c + root @ np.array([x, 0, z])
                out.add(
                    leg,
                    leg * np.array([1.0, 0.0, 1.0]) + np.array([0, 0.015, 0]),
                    0.016,
                    0.014,
                    (0.42, 0.27, 0.14),
                    OTHER,
                )
    return out
