"""The contents of a puppet clip as frozen, plain data."""

from dataclasses import dataclass

COLORS: dict[str, tuple[float, float, float]] = {
    "black": (0.10, 0.10, 0.11),
    "white": (0.93, 0.93, 0.92),
    "gray": (0.50, 0.51, 0.53),
    "red": (0.82, 0.12, 0.13),
    "orange": (0.95, 0.50, 0.10),
    "yellow": (0.96, 0.84, 0.18),
    "green": (0.16, 0.55, 0.22),
    "teal": (0.10, 0.58, 0.58),
    "blue": (0.14, 0.30, 0.80),
    "purple": (0.48, 0.20, 0.66),
    "pink": (0.95, 0.52, 0.68),
    "brown": (0.45, 0.28, 0.15),
    "beige": (0.84, 0.75, 0.58),
}
HAIR_COLORS: dict[str, tuple[float, float, float]] = {
    "black": (0.07, 0.06, 0.07),
    "brown": (0.33, 0.19, 0.10),
    "blond": (0.86, 0.68, 0.34),
    "red": (0.66, 0.26, 0.10),
    "gray": (0.66, 0.66, 0.68),
}
SKINS = (
    (0.98, 0.82, 0.71),
    (0.92, 0.72, 0.57),
    (0.80, 0.58, 0.42),
    (0.60, 0.40, 0.27),
    (0.42, 0.27, 0.18),
)
HAIR_STYLES = ("short", "long", "bun", "curly", "ponytail", "bald")
TOPS = ("t-shirt", "shirt", "jacket", "sweater", "vest", "dress")
BOTTOMS = ("trousers", "jeans", "shorts", "skirt")
PATTERNS = ("plain", "striped", "pinstriped", "dotted", "checked", "logo")
HATS = ("none", "cap", "beanie", "hat")
BAGS = ("none", "backpack", "bag")
SCENES = (
    "beach",
    "forest",
    "street",
    "mountains",
    "room",
    "stage",
    "desert",
    "city",
    "park",
    "kitchen",
)
OBJECTS = ("none", "ball", "umbrella", "surfboard", "guitar", "balloon", "book", "dog", "suitcase")
OCCLUDERS = ("post", "hedge", "table", "fence")
MOTIONS = ("walk", "wave", "dance", "jump", "squat", "turn", "sit", "run", "raise", "kick", "idle")
PARTS = ("background", "hair", "face", "top", "bottom", "shoes", "skin", "other")
SPLITS = ("train", "held-out")

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Detail:
    """Details of a person that captions name coarsely or not at all: the print on the top, the
    face, and what makes hair and clothes unlike those of others.

    Lengths are in head-local units, as in `faces`. print_seed: seed of the print, 0 for none.
    freckles, stubble: strength, 0..1. fringe: slope of the hairline. square: 2 for round glasses,
    more for square ones. face_width, jaw: factors of the skull and of its lower end. hair_side:
    shift of a bun or ponytail to one side, or how much longer long hair is there, -1..1. lens:
    darkness of glasses, 0..1. Colors that are None are those of people without details.
    """

    print_seed: int
    eye_gap: float
    eye_width: float
    eye_height: float
    brow_height: float
    brow_tilt: float
    brow_width: float
    mouth_width: float
    mouth_height: float
    mouth_place: float
    nose: float
    freckles: float
    stubble: float
    hairline: float
    fringe: float
    square: float
    iris_rgb: RGB
    lip_rgb: RGB
    face_width: float = 1.0
    jaw: float = 1.0
    hair_side: float = 0.0
    streak_rgb: RGB | None = None  # a dyed strand of hair
    glasses_rgb: RGB = (0.06, 0.06, 0.06)
    lens: float = 0.0
    sleeve_rgb: RGB | None = None  # of both sleeves
    leg_rgb: RGB | None = None  # of the left leg of trousers or shorts
    scarf_rgb: RGB | None = None  # no scarf without it
    scarf_end_rgb: RGB = (0.5, 0.5, 0.5)
    tattoo_seed: int = 0  # of the left arm; 0 for none


@dataclass(frozen=True)
class Identity:
    """Everything that belongs to the person; colors are RGB in 0..1, names as in COLORS."""

    gender: str
    age: str
    height: float  # world units, about 1
    build: float  # girth factor, about 1
    shoulders: float
    hips: float
    head: float
    skin: int
    skin_rgb: RGB
    hair_style: str
    hair_color: str
    hair_rgb: RGB
    beard: bool
    glasses: bool
    top: str
    top_color: str
    top_rgb: RGB
    pattern: str
    accent_color: str
    accent_rgb: RGB
    bottom: str
    bottom_color: str
    bottom_rgb: RGB
    shoe_color: str
    shoe_rgb: RGB
    hat: str
    hat_color: str
    hat_rgb: RGB
    bag: str
    bag_color: str
    bag_rgb: RGB
    legs: float = 1.0  # factor of thighs and shins; 1 for all sampled identities
    arms: float = 1.0
    detail: Detail | None = None


@dataclass(frozen=True)
class Motion:
    """A named motion; phase in radians, yaw in radians (0 faces the camera)."""

    name: str
    tempo: float
    amplitude: float
    phase: float
    yaw: float
    travel: float
    lead: int  # -1 or 1: the leading side
    wobble: float


@dataclass(frozen=True)
class Scene:
    """A named scene; `seed` determines its layout, `side` (-1 or 1) is the side of the light."""

    name: str
    seed: int
    side: float


@dataclass(frozen=True)
class Thing:
    """An object in the hand or near the person; "none": no object."""

    name: str
    color: str
    rgb: RGB
    accent_rgb: RGB
    size: float


@dataclass(frozen=True)
class Occluder:
    """Something in front of the person. x: place, in shares of the person's height from the middle;
    size: factor, about 1."""

    name: str
    rgb: RGB
    x: float
    size: float


@dataclass(frozen=True)
class Camera:
    """Person height as a share of the frame, foot line (0 top, 1 bottom), horizontal offset and
    pan (shares of the frame), and pitch in radians."""

    scale: float
    ground: float
    x: float
    pitch: float
    pan: float


@dataclass(frozen=True)
class Spec:
    """One clip: person, motion, scene, object, camera, and perhaps an occluder."""

    identity: Identity
    motion: Motion
    scene: Scene
    object: Thing
    camera: Camera
    seed: int
    occluder: Occluder | None = None
