"""Joint angles over time: smooth periodic functions, one per motion name."""

from collections.abc import Callable

import numpy as np

from animateanywhere.puppets.spec import Motion

ANGLES = (
    "x", "z", "jump", "yaw", "lean", "twist", "bend", "head_yaw", "head_pitch",
    *(name + side for side in ("_r", "_l") for name in ("arm", "abd", "rot", "elbow")),
    *(name + side for side in ("_r", "_l") for name in ("hip", "spread", "knee")),
)  # fmt: skip

Pose = dict[str, np.ndarray]


SIDES = (("r", 1.0), ("l", -1.0))


def angles(m: Motion, times: np.ndarray) -> Pose:
    """Joint angles in radians (and root offsets in body heights) at `times` (F,) seconds.

    Returns one float64 (F,) array for each of `ANGLES`.
    """
    t = np.asarray(times, dtype=np.float64)
    rate, move = _MOTIONS[m.name]
    u = 2 * np.pi * rate * m.tempo * t + m.phase
    slow = 2 * np.pi * 0.25 * t + m.wobble
    pose: Pose = {k: np.zeros_like(t) for k in ANGLES}
    pose["yaw"] = m.yaw + 0.06 * np.sin(slow)
    pose["head_yaw"], pose["head_pitch"] = 0.25 * np.sin(slow), 0.06 * np.sin(slow * 1.7)
    for s in "rl":
        pose["abd_" + s] = 0.16 + 0.02 * np.sin(slow)
        pose["elbow_" + s] = np.full_like(t, 0.25)
        pose["spread_" + s] = np.full_like(t, 0.07)
        pose["knee_" + s] = np.full_like(t, 0.04)
    move(pose, m, u, slow)
    return pose


# Each function turns a standing pose into its motion; `u` is its phase, `slow` that of the sway.


def _walk(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    run, a = m.name == "run", m.amplitude
    s, c = np.sin(u), np.cos(u)
    swing, knee = (0.7, 1.5) if run else (0.48, 0.85)
    for side, k in SIDES:
        pose["hip_" + side] = swing * a * k * s + (0.2 if run else 0.05)
        pose["knee_" + side] = (0.35 if run else 0.12) + knee * a * np.clip(k * c, 0, None) ** 1.5
        pose["arm_" + side] = -k * s * a * (0.8 if run else 0.5)
        pose["abd_" + side] = np.full_like(u, 0.16)
        pose["elbow_" + side] = (1.45 if run else 0.3) - 0.25 * k * s
    pose["lean"] += 0.2 if run else 0.03
    pose["twist"] = 0.14 * a * s
    pose["jump"] = 0.05 * np.abs(np.cos(u)) * a if run else 0 * u
    if m.travel > 0:  # back and forth across the frame, looking where it goes
        v = 0.2 * u + m.wobble
        pose["x"] = m.travel * np.sin(v)
        pose["yaw"] = 1.35 * np.tanh(4 * np.cos(v)) * np.ones_like(u)


def _wave(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    a, (side, _) = m.amplitude, _sides(m)
    pose["abd_" + side] = 2.0 + 0.25 * a * np.sin(u)
    pose["elbow_" + side] = 0.9 + 0.55 * a * np.sin(u + 0.6)
    pose["rot_" + side] = np.full_like(u, 1.57)
    pose["bend"] = 0.04 * np.sin(slow)


def _dance(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    a = m.amplitude
    for s, k in SIDES:
        pose["hip_" + s] = 0.3 * a * np.clip(k * np.sin(u), 0, None) + 0.2 * _half(2 * u)
        pose["knee_" + s] = 0.65 * a * np.clip(k * np.sin(u), 0, None) + 0.4 * _half(2 * u)
        pose["spread_" + s] = 0.16 + 0.05 * np.sin(u) * k
        pose["abd_" + s] = 1.0 + 0.85 * a * np.sin(u + k * 0.8 + m.wobble)
        pose["elbow_" + s] = 1.0 + 0.6 * np.sin(u * 2 + k)
        pose["rot_" + s] = 1.2 + 0.5 * np.sin(u + k * m.wobble)
    pose["bend"], pose["twist"] = 0.16 * a * np.sin(u), 0.3 * a * np.sin(u + 0.5)
    pose["x"] = 0.07 * a * np.sin(u)
    pose["yaw"] = pose["yaw"] + 0.5 * a * np.sin(u / 2)


def _jump(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    a, up, down = m.amplitude, np.clip(np.sin(u), 0, None), np.clip(-np.sin(u), 0, None)
    pose["jump"] = 0.17 * a * up
    for s in "rl":
        pose["hip_" + s], pose["knee_" + s] = 0.7 * down + 0.25 * up, 1.25 * down + 0.5 * up
        pose["abd_" + s] = 0.25 + 1.7 * a * _half(u + 0.6)
    pose["lean"] = 0.4 * down


def _squat(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    d = _half(u) * min(m.amplitude, 1.1)
    for s in "rl":
        pose["hip_" + s], pose["knee_" + s] = 1.5 * d, 2.0 * d + 0.04
        pose["spread_" + s] = 0.16 + 0.12 * d
        pose["arm_" + s], pose["elbow_" + s] = 1.4 * d, 0.25 - 0.1 * d
    pose["lean"] = 0.5 * d


def _turn(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    pose["yaw"] = u * m.lead
    for s, k in SIDES:
        pose["hip_" + s] = 0.22 * np.clip(k * np.sin(3 * u), 0, None)
        pose["knee_" + s] = 0.4 * np.clip(k * np.sin(3 * u), 0, None)
        pose["abd_" + s] = 0.3 + 0.2 * m.amplitude * np.sin(slow)


def _sit(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    a = m.amplitude
    for s, k in SIDES:
        pose["hip_" + s], pose["knee_" + s] = 1.5 + 0 * u, 1.5 + 0.12 * np.sin(u + k)
        pose["arm_" + s] = 0.55 + 0.3 * a * _half(u * 2 + k)
        pose["elbow_" + s] = 0.75 + 0.5 * a * _half(u * 2 + k + 1)
    pose["yaw"] = m.lead * (0.55 + 0.5 * abs(np.sin(m.yaw))) + 0.1 * np.sin(slow)
    pose["lean"] = 0.06 + 0.08 * np.sin(u)


def _raise(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    h = _half(u)
    for s in "rl":
        pose["abd_" + s] = 0.2 + (2.5 if m.travel > 0 else 1.35) * h * min(m.amplitude, 1.08)
        pose["elbow_" + s] = 0.15 + 0.15 * np.sin(u)
        pose["rot_" + s] = 1.57 * h


def _kick(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    side, other = _sides(m)
    k, back = np.clip(np.sin(u), 0, None) ** 1.5, np.clip(-np.sin(u), 0, None)
    pose["hip_" + side] = 1.35 * m.amplitude * k - 0.35 * back
    pose["knee_" + side] = 0.15 + 0.9 * back + 0.35 * (1 - k) * k
    pose["knee_" + other] = 0.15 + 0.1 * k
    pose["lean"] = -0.22 * k + 0.1 * back
    pose["arm_" + other], pose["arm_" + side] = 0.7 * k, -0.5 * k
    for s in "rl":
        pose["abd_" + s] = 0.3 + 0.3 * k


def _idle(pose: Pose, m: Motion, u: np.ndarray, slow: np.ndarray) -> None:
    akimbo, (side, _) = m.travel > 0, _sides(m)
    pose["bend"] = 0.05 * m.amplitude * np.sin(u)
    pose["twist"] = 0.12 * m.amplitude * np.sin(u + 1)
    pose["elbow_" + side] = (1.9 if akimbo else 0.4) + 0.1 * np.sin(u)
    pose["abd_" + side] = (0.55 if akimbo else 0.2) + 0.04 * np.sin(u)
    pose["rot_" + side] = np.full_like(u, 0.9 if akimbo else 0.0) * -1
    pose["spread_l"] += 0.05


# Cycles a second, and the motion
_MOTIONS: dict[str, tuple[float, Callable[[Pose, Motion, np.ndarray, np.ndarray], None]]] = {
    "walk": (1.0, _walk), "run": (1.5, _walk), "wave": (1.3, _wave), "dance": (0.85, _dance),
    "jump": (0.8, _jump), "squat": (0.6, _squat), "turn": (0.33, _turn), "sit": (0.35, _sit),
    "raise": (0.6, _raise), "kick": (0.7, _kick), "idle": (0.35, _idle),
}  # fmt: skip


def _half(x: np.ndarray) -> np.ndarray:
    """0..1 smooth wave of a phase."""
    return 0.5 - 0.5 * np.cos(x)


def _sides(m: Motion) -> tuple[str, str]:
    """The side that leads, and the other."""
    return ("r", "l") if m.lead > 0 else ("l", "r")
