"""Forward kinematics from joint angles to 3D joints, and the rounded cones of the body."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from animateanywhere.puppets.motion import Pose
from animateanywhere.puppets.spec import RGB, Identity

Array = np.ndarray
# How a cone is colored: one color, the clothed torso, the head with its face, a two-part limb
PLAIN, TORSO, HEAD, LIMB = 0, 1, 2, 3
BACKGROUND, HAIR, FACE, TOP, BOTTOM, SHOES, SKIN, OTHER = range(8)


def turn(axis: str, angle: Array) -> Array:
    """Rotation matrices (F, 3, 3) about x, y or z by `angle` (F,) radians."""
    c, s, o, i = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = {
        "x": (i, o, o, o, c, -s, o, s, c),
        "y": (c, o, s, o, i, o, -s, o, c),
        "z": (c, -s, o, s, c, o, o, o, i),
    }[axis]
    return np.stack(rows, -1).reshape(-1, 3, 3)


@dataclass
class Cones:
    """Rounded cones of F frames; each list entry is one cone in all frames."""

    a: list[Array] = field(default_factory=list)  # (F, 3)
    b: list[Array] = field(default_factory=list)  # (F, 3)
    radii: list[tuple[float, float]] = field(default_factory=list)
    rgb: list[tuple[RGB, RGB]] = field(default_factory=list)
    kind: list[tuple[int, int, int, float]] = field(default_factory=list)  # kind, part, part 2, cut

    def add(
        self, a: Array, b: Array, ra: float, rb: float, rgb: RGB, part: int, kind: int = PLAIN,
        beyond: tuple[RGB, int, float] | None = None,
    ) -> None:  # fmt: skip
        """Add a cone from `a` to `b`, each (F, 3), with radii `ra` and `rb`.

        beyond: color and part of a two-part cone beyond a share of its length, and this share.
        """
        rgb2, part2, cut = beyond or (rgb, part, 1.0)
        self.a.append(a)
        self.b.append(b)
        self.radii.append((ra, rb))
        self.rgb.append((rgb, rgb2))
        self.kind.append((kind, part, part2, cut))

    def __add__(self, other: Cones) -> Cones:
        return Cones(
            self.a + other.a,
            self.b + other.b,
            self.radii + other.radii,
            self.rgb + other.rgb,
            self.kind + other.kind,
        )


@dataclass
class Body:
    """A posed body: joints (F, 3) by name in world units, coordinate frames, and its cones."""

    joints: dict[str, Array]
    torso: Array  # (F, 3, 3) columns are the torso's axes
    head: Array  # (F, 3, 3)
    root: Array  # (F, 3, 3)
    height: float  # world units
    head_size: float  # world units; 1 is that of a head of a person of height 1
    cones: Cones = field(default_factory=Cones)

    def from_pelvis(self, x: float, y: float, z: float) -> Array:
        """The point (F, 3) at an offset along the torso's axes, in heights of the person."""
        return self.joints["pelvis"] + self.torso @ np.array([x, y, z]) * self.height

    def from_skull(self, x: float, y: float, z: float) -> Array:
        """The point (F, 3) at an offset along the head's axes, in sizes of the head."""
        return self.joints["skull"] + self.head @ np.array([x, y, z]) * self.head_size


def pose_body(person: Identity, pose: Pose) -> Body:
    """Compute the joints of a person for F poses (world: y up, floor at 0, camera at +z)."""
    h = person.height
    frames = len(pose["yaw"])

    def at(matrix: Array, x: float, y: float, z: float) -> Array:
        return matrix @ np.array([x, y, z]) * h

    root = turn("y", pose["yaw"])
    torso = root @ turn("z", pose["bend"]) @ turn("y", pose["twist"]) @ turn("x", pose["lean"])
    head = torso @ turn("y", pose["head_yaw"]) @ turn("x", pose["head_pitch"] - pose["lean"] * 0.6)
    j: dict[str, Array] = {"pelvis": np.zeros((frames, 3))}
    j["neck"] = at(torso, 0, 0.285, -0.005)
    j["skull"] = j["neck"] + at(head, 0, 0.05 + 0.068 * person.head, 0.012)
    for s, k in (("r", -1.0), ("l", 1.0)):
        j["shoulder_" + s] = at(torso, k * 0.112 * person.shoulders, 0.272, -0.008)
        arm = (
            torso
            @ turn("z", k * pose["abd_" + s])
            @ turn("x", -pose["arm_" + s])
            @ turn("y", k * pose["rot_" + s])
        )
        fore = arm @ turn("x", -pose["elbow_" + s])
        j["elbow_" + s] = j["shoulder_" + s] + at(arm, 0, -0.16 * person.arms, 0)
        j["wrist_" + s] = j["elbow_" + s] + at(fore, 0, -0.145 * person.arms, 0)
        j["hand_" + s] = j["wrist_" + s] + at(fore, 0, -0.052, 0.006)
        j["thumb_" + s] = j["wrist_" + s] + at(fore, -k * 0.022, -0.034, 0.014)
        j["hip_" + s] = at(root, k * 0.052 * person.hips, -0.015, 0)
        thigh = root @ turn("z", k * pose["spread_" + s]) @ turn("x", -pose["hip_" + s])
        shin = thigh @ turn("x", pose["knee_" + s])
        j["knee_" + s] = j["hip_" + s] + at(thigh, 0, -0.245 * person.legs, 0)
        j["ankle_" + s] = j["knee_" + s] + at(shin, 0, -0.24 * person.legs, 0)
        flat = 0.75 * (root @ turn("y", np.full(frames, k * 0.15))) + 0.25 * shin
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        j["heel_" + s] = j["ankle_" + s] + at(flat, 0, -0.03, -0.022)
        j["toe_" + s] = j["ankle_" + s] + at(flat, 0, -0.034, 0.088)
    low = np.min([j[n + s][:, 1] for n in ("heel_", "toe_") for s in "rl"], axis=0) - 0.026 * h
    shift = np.stack([pose["x"], pose["jump"] * h - low, pose["z"]], -1)
    j = {name: p + shift for name, p in j.items()}
    return Body(j, torso, head, root, h, h * person.head)
