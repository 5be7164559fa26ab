"""Posing and projection of a spec: cones, keypoints and coordinate frames in samples."""

from dataclasses import dataclass

import numpy as np

from animateanywhere.puppets.body import pose_body
from animateanywhere.puppets.motion import angles
from animateanywhere.puppets.objects import hold, object_cones, occluder_cones
from animateanywhere.puppets.outfit import dress
from animateanywhere.puppets.spec import Spec

# How far (world units) a joint may be behind the surface in front of it and still be visible
_DEPTH = {
    "nose": 0.03, "eye": 0.03, "ear": 0.03, "neck": 0.09, "shoulder": 0.085, "elbow": 0.06,
    "wrist": 0.05, "hip": 0.11, "knee": 0.08, "ankle": 0.06,
}  # fmt: skip
_NAMES = (
    "nose", "neck", "shoulder_r", "elbow_r", "wrist_r", "shoulder_l", "elbow_l", "wrist_l",
    "hip_r", "knee_r", "ankle_r", "hip_l", "knee_l", "ankle_l", "eye_r", "eye_l", "ear_r", "ear_l",
)  # fmt: skip
_FACE = {
    "nose": (0, -0.016, 0.078),
    "eye_r": (-0.026, 0.003, 0.055),
    "eye_l": (0.026, 0.003, 0.055),
    "ear_r": (-0.068, -0.004, -0.004),
    "ear_l": (0.068, -0.004, -0.004),
}


@dataclass(frozen=True)
class Posed:
    """One spec at its times, in samples: the input of ray casting and shading."""

    cones: np.ndarray  # (F, P, 8)
    rgb: np.ndarray  # (P, 2, 3)
    kinds: np.ndarray  # (P, 4)
    person: int  # the first cones are the person's
    keypoints: np.ndarray  # (F, 18, 3) x, y, depth
    local: np.ndarray  # (F, 2, 3, 4) torso and head frames
    shadows: np.ndarray  # (F, 3, 4) x, y, radius, strength
    pan: np.ndarray  # (F,) share of the frame


def pose_and_project(spec: Spec, times: np.ndarray, size: int, show: bool = True) -> Posed:
    """Pose, dress and project `spec` at `times` (F,) in seconds for a picture of `size` samples.

    show: False leaves out the person's cones and shadow.
    """
    person, cam = spec.identity, spec.camera
    pose = hold(spec.object, angles(spec.motion, times))
    body = pose_body(person, pose)
    if show:
        dress(person, body)
    things = object_cones(spec.object, body, seat=spec.motion.name == "sit")
    if spec.occluder is not None:
        things = things + occluder_cones(spec.occluder, len(times))
    scale = size * cam.scale
    pan = cam.pan * np.sin(np.asarray(times) * 2 * np.pi * 0.3 + spec.motion.wobble)
    cp, sp = np.cos(cam.pitch), np.sin(cam.pitch)
    view = np.array([[1, 0, 0], [0, -cp, sp], [0, sp, cp]]) * scale
    origin = np.stack(
        [size * (0.5 + cam.x + pan), np.full(len(times), size * cam.ground), np.zeros(len(times))],
        -1,
    )

    def project(points: np.ndarray) -> np.ndarray:
        return points @ view.T + origin

    cones = body.cones + things
    ends = (np.array(e).reshape(-1, len(times), 3) for e in (cones.a, cones.b))
    a, b = (project(end).transpose(1, 0, 2) for end in ends)
    widths = np.array(cones.radii).reshape(-1, 2) * scale
    radii = np.broadcast_to(widths, (len(times), len(widths), 2))
    j = body.joints
    points = j | {name: body.from_skull(*offset) for name, offset in _FACE.items()}
    points["neck"] = (j["shoulder_r"] + j["shoulder_l"]) / 2
    local = []
    for frame, at, s in (
        (body.torso, j["pelvis"], body.height),
        (body.head, j["skull"], body.head_size),
    ):
        m = frame.transpose(0, 2, 1) @ (view.T / scale**2) / s
        local.append(np.concatenate([m, -(m @ project(at)[:, :, None])], -1))
    shadows = []
    for p, r, k in (
        (j["pelvis"], 0.2, 0.75),
        (j["ankle_r"], 0.085, 0.8),
        (j["ankle_l"], 0.085, 0.8),
    ):
        floor = project(p * np.array([1.0, 0.0, 1.0]))
        lift = np.clip(p[:, 1] - (0.5 if r > 0.1 else 0.06), 0, None)
        shadows.append(
            np.stack(
                [floor[:, 0], floor[:, 1], r * scale * (1 + lift), show * k * np.exp(-4 * lift)], -1
            )
        )
    return Posed(
        np.concatenate([a, b, radii], -1),
        np.array(cones.rgb).reshape(-1, 2, 3),
        np.array(cones.kind).reshape(-1, 4),
        len(body.cones.a),
        project(np.stack([points[n] for n in _NAMES])).transpose(1, 0, 2),
        np.stack(local, 1),
        np.stack(shadows, 1),
        pan,
    )


def keypoints(posed: list[Posed], specs: list[Spec], depth: np.ndarray, side: int) -> np.ndarray:
    """Keypoints float32 (F, 18, 3) in samples: visible if the person's surface is just in front.

    depth: (F, S, S) of the person, 1e9 where an object covers it, -1e9 without either.
    """
    xyz = np.concatenate([p.keypoints for p in posed])
    scale = np.concatenate(
        [np.full(len(p.pan), side * sp.camera.scale) for p, sp in zip(posed, specs, strict=True)]
    )
    inside = ((xyz[..., :2] >= 0) & (xyz[..., :2] < side)).all(-1)
    ix, iy = (np.clip(xyz[..., k].astype(np.int64), 0, side - 1) for k in (0, 1))
    f = np.arange(len(xyz))[:, None]
    slack = np.array([_DEPTH[n.split("_")[0]] for n in _NAMES]) * scale[:, None]
    surface = depth[f, iy, ix]
    visible = inside & (surface > -1e8) & (surface - xyz[..., 2] < slack)
    return np.concatenate([xyz[..., :2], visible[..., None]], -1).astype(np.float32)
