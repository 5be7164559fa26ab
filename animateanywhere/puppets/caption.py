"""Captions of puppet clips, from a small grammar with synonyms."""

import numpy as np

from animateanywhere.puppets.spec import Identity, Spec

Rng = np.random.Generator
MOTION_WORDS = {
    "walk": ("walks", "is walking", "strolls"),
    "wave": ("waves", "is waving", "waves a hand"),
    "dance": ("dances", "is dancing"),
    "jump": ("jumps", "is jumping", "jumps up and down"),
    "squat": ("squats", "is doing squats"),
    "turn": ("turns around", "is turning around", "spins"),
    "sit": ("sits", "is sitting", "sits on a stool"),
    "run": ("runs", "is running", "jogs"),
    "raise": ("raises both arms", "is lifting the arms", "stretches the arms"),
    "kick": ("kicks", "is kicking"),
    "idle": ("stands", "is standing", "poses"),
}
SCENE_WORDS = {
    "beach": ("on a beach", "on a sandy beach", "by the sea", "at the beach"),
    "forest": ("in a forest", "in the woods", "among trees in a forest"),
    "street": ("on a street", "in a street with houses", "on a road in a town"),
    "mountains": ("in snowy mountains", "in the snow", "on snow in the mountains"),
    "room": ("in a room", "in a living room", "at home in a room"),
    "stage": ("on a stage", "on stage under spotlights", "on a theater stage"),
    "desert": ("in a desert", "in the desert among dunes", "in a desert with a cactus"),
    "city": ("in a city at night", "in the city at night", "on a city street at night"),
    "park": ("in a park", "on grass in a park", "on a path in a park"),
    "kitchen": ("in a kitchen", "in the kitchen"),
}
THING_WORDS = {
    "ball": ("holding a {}ball", "with a {}ball"),
    "umbrella": ("holding a {}umbrella", "under a {}umbrella", "with a {}umbrella"),
    "surfboard": ("holding a {}surfboard", "with a {}surfboard"),
    "guitar": ("playing a {}guitar", "with a {}guitar"),
    "balloon": ("holding a {}balloon", "with a {}balloon"),
    "book": ("reading a {}book", "holding a {}book"),
    "dog": ("with a {}dog", "next to a {}dog", "beside a {}dog"),
    "suitcase": ("with a {}suitcase", "next to a {}suitcase"),
}
_STYLES = {
    "short": ("short {} hair",),
    "long": ("long {} hair",),
    "bun": ("{} hair in a bun", "a {} bun"),
    "curly": ("curly {} hair",),
    "ponytail": ("a {} ponytail",),
    "bald": ("a bald head", "no hair"),
}
_PATTERNS = {
    "plain": ("{c} {t}",),
    "striped": ("{c} and {a} striped {t}", "striped {c} and {a} {t}"),
    "pinstriped": ("{c} {t} with {a} pinstripes", "{c} and {a} pinstriped {t}"),
    "dotted": ("{c} {t} with {a} dots", "{c} dotted {t} with {a} dots"),
    "checked": ("{c} and {a} checked {t}", "checked {c} and {a} {t}"),
    "logo": ("{c} {t} with a {a} logo", "{c} {t} with a {a} circle"),
    # Of a `Detail`: what is on them is not said
    "print": ("{c} {t} with a print", "printed {c} {t}"),
    "patterned": ("patterned {c} {t}", "{c} {t} with a pattern"),
}
_OCCLUDERS = {
    "post": ("behind a post", "behind a pole"),
    "hedge": ("behind a hedge", "behind a low hedge"),
    "table": ("behind a table",),
    "fence": ("behind a fence",),
}
_TOPS = {
    "t-shirt": ("t-shirt", "tee"),
    "shirt": ("shirt",),
    "jacket": ("jacket", "coat"),
    "sweater": ("sweater", "pullover"),
    "vest": ("vest", "tank top"),
    "dress": ("dress",),
}
_BOTTOMS = {
    "trousers": ("{} trousers", "{} pants"),
    "jeans": ("{} jeans",),
    "shorts": ("{} shorts",),
    "skirt": ("a {} skirt",),
}


def _one(rng: Rng, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _articles(text: str) -> str:
    words = text.split()
    for i in range(len(words) - 1):
        if words[i] == "a" and words[i + 1][0] in "aeiou":
            words[i] = "an"
    return " ".join(words)


def _appearance(w: Identity, rng: Rng, full: bool) -> str:
    """The appearance in words, to follow the person's noun; `full` omits nothing."""

    def keep(share: float) -> bool:
        return full or bool(rng.random() < share)

    hair = _one(rng, _STYLES[w.hair_style]).format(w.hair_color)
    face = [hair] if keep(0.8) else []
    face += ["a beard"] if w.beard and keep(0.75) else []
    face += ["glasses"] if w.glasses and keep(0.75) else []
    clothes = "a " + _one(rng, _PATTERNS[_pattern(w)]).format(
        c=w.top_color, a=w.accent_color, t=_one(rng, _TOPS[w.top])
    )
    wear = [clothes]
    if w.top != "dress" and keep(0.9):
        wear.append(_one(rng, _BOTTOMS[w.bottom]).format(w.bottom_color))
    if keep(0.3):
        wear.append(f"{w.shoe_color} shoes")
    if w.hat != "none" and keep(0.9):
        wear.append(f"a {w.hat_color} {w.hat}")
    if w.bag != "none" and keep(0.8):
        wear.append(f"a {w.bag_color} {w.bag}")
    if w.detail is not None and w.detail.scarf_rgb and keep(0.8):
        wear.append("a scarf")

    def joined(items: list[str]) -> str:
        return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]

    out = "with " + joined(face) + " " if face else ""
    return out + _one(rng, ("in ", "wearing ")) + joined(wear)


def _pattern(w: Identity) -> str:
    """What a caption says of the top: coarsely, where a print covers its pattern."""
    if w.detail is None or not w.detail.print_seed:
        return w.pattern
    return "patterned" if w.detail.print_seed % 2 else "print"


def describe_identity(identity: Identity) -> str:
    """The full appearance in words, e.g. "a man with short brown hair in a red t-shirt and ..."."""
    noun = {"adult": "", "young": "young ", "old": "old "}[identity.age] + identity.gender
    return _articles(f"a {noun} " + _appearance(identity, np.random.default_rng(0), full=True))


def caption(
    spec: Spec,
    seed: int = 0,
    person: str | None = None,
    scene: bool = True,
    appearance: bool = True,
) -> str:
    """A natural caption of the clip, at most 40 words, varied by `seed`.

    person: replaces the noun phrase ("sks man"). scene, appearance: whether to name the place, and
    hair and clothes.
    """
    rng = np.random.default_rng([seed, 11])
    w = spec.identity
    plain = w.gender if rng.random() < 0.8 else "person"
    if person is None:
        age = f"{w.age} " if w.age != "adult" and rng.random() < 0.7 else ""
        person = f"a {age}{plain}"
    words = [person]
    if appearance:
        words.append(_appearance(w, rng, full=False))
    action = [_one(rng, MOTION_WORDS[spec.motion.name])]
    if spec.object.name != "none":
        color = f"{spec.object.color} " if rng.random() < 0.85 else ""
        action.append(_one(rng, THING_WORDS[spec.object.name]).format(color))
    where = [_one(rng, SCENE_WORDS[spec.scene.name])] if scene else []
    if spec.occluder is not None:
        action[0] += " " + _one(rng, _OCCLUDERS[spec.occluder.name])
    if len(action) == 2 and rng.random() < 0.5:
        words += [action[0], *where, action[1]]
    else:
        words += [*action, *where]
    return _articles(" ".join(words))
