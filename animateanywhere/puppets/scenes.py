"""The background behind the person, with a random layout from the scene's seed."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from animateanywhere.puppets import indoors, nature, town
from animateanywhere.puppets.paint import Canvas, Light, canvas
from animateanywhere.puppets.spec import Scene

PAINTERS: dict[str, Callable[[Canvas, np.random.Generator], Light]] = {
    "beach": nature.beach,
    "forest": nature.forest,
    "street": town.street,
    "mountains": nature.mountains,
    "room": indoors.room,
    "stage": indoors.stage,
    "desert": nature.desert,
    "city": town.city,
    "park": town.park,
    "kitchen": indoors.kitchen,
}


def paint(scene: Scene, size: int, margin: int, device: str = "cpu") -> tuple[Tensor, Light]:
    """Paint a scene: float32 (3, size, size + 2 * margin) in 0..1, and its light."""
    c = canvas(size, margin, device)
    light = PAINTERS[scene.name](c, np.random.default_rng([scene.seed, 7]))
    return c.image.clamp_(0, 1), light
