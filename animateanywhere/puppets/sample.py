"""Random specs from a seed; the two splits never share an appearance."""

from dataclasses import replace

import numpy as np

from animateanywhere.puppets.detail import sample_detail
from animateanywhere.puppets.spec import (
    COLORS,
    HAIR_COLORS,
    HAIR_STYLES,
    OBJECTS,
    OCCLUDERS,
    PATTERNS,
    RGB,
    SCENES,
    SKINS,
    SPLITS,
    Camera,
    Identity,
    Motion,
    Occluder,
    Scene,
    Spec,
    Thing,
)


def is_held_out(identity: Identity) -> bool:
    """Whether this appearance belongs to the held-out split (a rule on combinations)."""
    key = (
        list(COLORS).index(identity.top_color) * 5
        + list(COLORS).index(identity.bottom_color) * 3
        + HAIR_STYLES.index(identity.hair_style) * 7
        + list(HAIR_COLORS).index(identity.hair_color) * 2
        + PATTERNS.index(identity.pattern)
    )
    return key % 11 == 4


def _jitter(rng: np.random.Generator, rgb: RGB, amount: float = 0.04) -> RGB:
    out = np.clip(
        np.asarray(rgb) * (1 + rng.normal(0, amount)) + rng.normal(0, amount / 2, 3), 0.04, 1
    )
    return float(out[0]), float(out[1]), float(out[2])


def _color(rng: np.random.Generator, avoid: str = "") -> tuple[str, RGB]:
    name = str(rng.choice([c for c in COLORS if c != avoid]))
    return name, _jitter(rng, COLORS[name])


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    p = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=p / p.sum()))


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw the appearance of one person, of either split."""
    woman = bool(rng.random() < 0.5)
    age = _pick(rng, {"adult": 0.7, "young": 0.15, "old": 0.15})
    skin = int(rng.integers(len(SKINS)))
    if woman:
        hair = _pick(rng, {"short": 1, "long": 3, "bun": 1.6, "curly": 1.5, "ponytail": 2})
        top = _pick(
            rng, {"t-shirt": 2, "shirt": 1.5, "jacket": 1.3, "sweater": 1.4, "vest": 1, "dress": 2}
        )
        bottom = _pick(rng, {"trousers": 1.5, "jeans": 1.5, "shorts": 1.2, "skirt": 2})
    else:
        hair = _pick(rng, {"short": 4, "long": 0.7, "bun": 0.4, "curly": 1.6, "bald": 1.2})
        top = _pick(rng, {"t-shirt": 3, "shirt": 2, "jacket": 1.7, "sweater": 1.6, "vest": 1})
        bottom = _pick(rng, {"trousers": 2, "jeans": 2, "shorts": 1.6})
    hair_color = (
        "gray"
        if age == "old" and rng.random() < 0.8
        else _pick(rng, {"black": 2, "brown": 2, "blond": 1.6, "red": 1, "gray": 0.2})
    )
    top_color, top_rgb = _color(rng)
    accent_color, accent_rgb = _color(rng, top_color)
    contrast = np.abs(np.subtract(COLORS[top_color], COLORS[accent_color])).sum()
    if contrast < 0.7:  # an invisible pattern would make the caption wrong
        dark = sum(top_rgb) < 1.5
        accent_color = "white" if dark else "black"
        accent_rgb = _jitter(rng, COLORS[accent_color])
    pattern = _pick(
        rng,
        {"plain": 4, "striped": 2, "pinstriped": 1.2, "dotted": 1.2, "checked": 1.2, "logo": 1.6},
    )
    if top == "jacket" and pattern == "logo":  # a jacket opens where the logo would be
        pattern = "plain"
    bottom_color, bottom_rgb = _color(rng, top_color if rng.random() < 0.7 else "")
    if bottom == "jeans":
        bottom_color = _pick(rng, {"blue": 4, "black": 1, "gray": 1, "white": 0.4})
        bottom_rgb = _jitter(
            rng, (0.22, 0.36, 0.60) if bottom_color == "blue" else COLORS[bottom_color]
        )
    if top == "dress":
        bottom, bottom_color, bottom_rgb = "skirt", top_color, top_rgb
    shoe_color = _pick(rng, {"black": 3, "white": 3, "brown": 2, "red": 1, "blue": 1, "gray": 1})
    hat_color, hat_rgb = _color(rng)
    bag_color, bag_rgb = _color(rng, top_color)
    return Identity(
        gender="woman" if woman else "man",
        age=age,
        height=float(np.clip(rng.normal(0.975 if woman else 1.02, 0.03), 0.9, 1.1)),
        build=float(np.clip(rng.normal(0.95 if woman else 1.05, 0.1), 0.8, 1.35)),
        shoulders=float(rng.normal(0.92 if woman else 1.06, 0.04)),
        hips=float(rng.normal(1.08 if woman else 0.96, 0.04)),
        head=float(rng.normal(1.05, 0.04)),
        skin=skin,
        skin_rgb=_jitter(rng, SKINS[skin], 0.02),
        hair_style=hair,
        hair_color=hair_color,
        hair_rgb=_jitter(rng, HAIR_COLORS[hair_color], 0.05),
        beard=bool(not woman and rng.random() < 0.35),
        glasses=bool(rng.random() < 0.2),
        top=top,
        top_color=top_color,
        top_rgb=top_rgb,
        pattern=pattern,
        accent_color=accent_color,
        accent_rgb=accent_rgb,
        bottom=bottom,
        bottom_color=bottom_color,
        bottom_rgb=bottom_rgb,
        shoe_color=shoe_color,
        shoe_rgb=_jitter(rng, COLORS[shoe_color]),
        hat=_pick(rng, {"none": 7, "cap": 1.2, "beanie": 1, "hat": 1}),
        hat_color=hat_color,
        hat_rgb=hat_rgb,
        bag=_pick(rng, {"none": 8, "backpack": 1.2, "bag": 1}),
        bag_color=bag_color,
        bag_rgb=bag_rgb,
    )


def sample_motion(rng: np.random.Generator) -> Motion:
    """Draw a motion with random tempo, amplitude, phase and direction."""
    name = _pick(
        rng,
        {
            "walk": 2.4,
            "wave": 1.4,
            "dance": 1.8,
            "jump": 1,
            "squat": 1,
            "turn": 1.3,
            "sit": 0.8,
            "run": 1.2,
            "raise": 1,
            "kick": 1,
            "idle": 1,
        },
    )
    yaw = float(rng.normal(0, 0.5))
    if rng.random() < 0.3:
        yaw = float(rng.uniform(-np.pi, np.pi))
    travel = float(rng.uniform(0.15, 0.38)) if rng.random() < 0.6 else 0.0
    return Motion(
        name=name,
        tempo=float(rng.uniform(0.8, 1.25)),
        amplitude=float(rng.uniform(0.75, 1.2)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        yaw=yaw,
        travel=travel,
        lead=int(rng.choice([-1, 1])),
        wobble=float(rng.uniform(0, 2 * np.pi)),
    )


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene and the seed of its layout."""
    return Scene(str(rng.choice(SCENES)), int(rng.integers(2**31)), float(rng.choice([-1.0, 1.0])))


def sample_thing(rng: np.random.Generator) -> Thing:
    """Draw an object; half of the clips have none."""
    name = "none" if rng.random() < 0.5 else str(rng.choice(OBJECTS[1:]))
    color, rgb = _color(rng)
    if name in ("dog", "guitar"):
        color = _pick(rng, {"brown": 2, "black": 1, "white": 1, "beige": 1})
        rgb = _jitter(rng, COLORS[color])
    _, accent = _color(rng, color)
    return Thing(name, color, rgb, accent, float(rng.uniform(0.9, 1.15)))


def sample_camera(rng: np.random.Generator) -> Camera:
    """Draw the framing: mostly the whole body, sometimes from the knees up."""
    pan = float(rng.uniform(-0.03, 0.03)) if rng.random() < 0.25 else 0.0
    x, pitch = float(rng.normal(0, 0.05)), float(rng.uniform(0.04, 0.16))
    if rng.random() < 0.14:
        scale = float(rng.uniform(1.0, 1.15))
        return Camera(scale, 0.13 + scale, x, pitch, pan)
    scale = float(rng.uniform(0.62, 0.82))
    return Camera(scale, float(rng.uniform(max(0.84, scale + 0.1), 0.955)), x, pitch, pan)


def sample_spec(seed: int, split: str = "train", detailed: bool = False) -> Spec:
    """Draw a clip from `seed`; "train" and "held-out" never share an identity.

    detailed: give the person a `Detail`, and one clip in sixteen an occluder; the rest of the spec
    is the same without. Raises ValueError for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    identity = sample_identity(rng)
    while is_held_out(identity) != (split == "held-out"):
        identity = sample_identity(rng)
    spec = Spec(
        identity,
        sample_motion(rng),
        sample_scene(rng),
        sample_thing(rng),
        sample_camera(rng),
        int(seed),
    )
    if not detailed:
        return spec
    identity = replace(identity, detail=sample_detail(rng, identity))
    occluder = sample_occluder(rng) if rng.random() < 1 / 16 else None
    return replace(spec, identity=identity, occluder=occluder)


def sample_occluder(rng: np.random.Generator) -> Occluder:
    """Draw something that stands in front of the person."""
    name = str(rng.choice(OCCLUDERS))
    rgb = _jitter(rng, COLORS["green"]) if name == "hedge" else _color(rng)[1]
    x = float(rng.uniform(-0.16, 0.16) if name == "post" else rng.uniform(-0.2, 0.2))
    return Occluder(name, rgb, x, float(rng.uniform(0.85, 1.2)))


def sample_portrait(seed: int, split: str = "train") -> Spec:
    """Draw the spec of a portrait: as `sample_spec`, but of a person with a `Detail`, who mostly
    faces the camera and is closer to it: a third from the knees up, a third from the waist up, a
    third head and shoulders."""
    spec = sample_spec(seed, split)
    rng = np.random.default_rng([seed, SPLITS.index(split), 24])
    identity = replace(spec.identity, detail=sample_detail(rng, spec.identity))
    low, high = ((0.9, 1.3), (1.4, 2.1), (2.2, 3.6))[rng.integers(3)]
    scale = float(rng.uniform(low, high))
    top = float(rng.uniform(0.04, 0.2))  # share of the frame above the head of a person who stands
    camera = replace(
        spec.camera, scale=scale, ground=top + 1.02 * identity.height * scale,
        x=float(rng.normal(0, 0.08)), pitch=float(rng.uniform(-0.02, 0.1)),
    )  # fmt: skip
    yaw = float(rng.normal(0, 0.45)) if rng.random() < 0.8 else spec.motion.yaw
    name = spec.motion.name
    if scale > 1.4 and name in ("sit", "squat", "jump", "run", "kick", "turn"):
        name = str(rng.choice(["idle", "walk", "wave", "dance", "raise"]))
    motion = replace(spec.motion, name=name, yaw=yaw, travel=0.0)
    return replace(spec, identity=identity, camera=camera, motion=motion)
