"""The cones of the head: skull, nose, ears, hair, beard and hat; `shade` paints the face."""

import numpy as np

from animateanywhere.puppets.body import FACE, HAIR, HEAD, OTHER, SKIN, Array, Body
from animateanywhere.puppets.spec import Identity


def cover_head(person: Identity, body: Body) -> None:
    """Add the cones of the head to `body`."""
    add, h = body.cones.add, person.height
    s = h * person.head

    def on(x: float, y: float, z: float) -> Array:
        return body.joints["skull"] + body.head @ np.array([x, y, z]) * s

    add(
        on(0, 0.012, -0.004),
        on(0, -0.034, 0.012),
        0.066 * s,
        0.047 * s,
        person.skin_rgb,
        FACE,
        HEAD,
        person.hair_rgb,
        HAIR,
    )
    add(on(0, 0.004, 0.06), on(0, -0.018, 0.071), 0.007 * s, 0.011 * s, person.skin_rgb, FACE)
    for k in (-1.0, 1.0):
        add(
            on(k * 0.064, 0.004, -0.006),
            on(k * 0.064, -0.014, -0.003),
            0.013 * s,
            0.01 * s,
            person.skin_rgb,
            SKIN,
        )
    style, rgb = person.hair_style, person.hair_rgb
    cap = {"bald": 0.0, "short": 0.069, "curly": 0.072}.get(style, 0.0705)
    if cap:
        add(on(0, 0.022, -0.014), on(0, 0.0, -0.022), cap * s, (cap - 0.008) * s, rgb, HAIR)
    if style == "long":
        add(on(0, 0.0, -0.026), on(0, -0.135, -0.036), 0.064 * s, 0.058 * s, rgb, HAIR)
        for k in (-1.0, 1.0):
            add(
                on(k * 0.052, 0.02, 0.0),
                on(k * 0.062, -0.125, 0.0),
                0.026 * s,
                0.023 * s,
                rgb,
                HAIR,
            )
    elif style == "bun":
        add(on(0, 0.094, -0.036), on(0, 0.096, -0.04), 0.036 * s, 0.036 * s, rgb, HAIR)
    elif style == "ponytail":
        add(on(0, 0.04, -0.085), on(0, -0.02, -0.11), 0.026 * s, 0.03 * s, rgb, HAIR)
        add(on(0, -0.02, -0.11), on(0.0, -0.13, -0.09), 0.03 * s, 0.014 * s, rgb, HAIR)
    elif style == "curly":
        for x, y, z in (
            (-0.062, 0.03, 0.0),
            (0.062, 0.03, 0.0),
            (-0.036, 0.074, 0.012),
            (0.036, 0.074, 0.012),
            (0, 0.086, -0.01),
            (-0.064, -0.008, -0.03),
            (0.064, -0.008, -0.03),
            (-0.03, 0.06, -0.06),
            (0.03, 0.06, -0.06),
            (0, 0.01, -0.08),
        ):
            add(on(x, y, z), on(x, y, z), 0.033 * s, 0.033 * s, rgb, HAIR)
    if person.beard:
        add(on(-0.018, -0.052, 0.022), on(0.018, -0.052, 0.022), 0.034 * s, 0.034 * s, rgb, HAIR)
    if person.hat == "none":
        return
    hat = person.hat_rgb
    add(on(0, 0.046, -0.01), on(0, 0.052, -0.014), 0.071 * s, 0.066 * s, hat, OTHER)
    if person.hat == "cap":
        for k in (-1.0, 0.0, 1.0):
            add(
                on(k * 0.03, 0.046, 0.04),
                on(k * 0.034, 0.034, 0.105 - abs(k) * 0.012),
                0.017 * s,
                0.012 * s,
                hat,
                OTHER,
            )
    elif person.hat == "beanie":
        add(on(0, 0.122, -0.014), on(0, 0.122, -0.014), 0.024 * s, 0.024 * s, hat, OTHER)
    else:
        for angle in np.arange(14) * np.pi / 7:
            x, z = np.cos(angle), np.sin(angle)
            add(
                on(x * 0.045, 0.05, z * 0.045 - 0.01),
                on(x * 0.096, 0.042, z * 0.096 - 0.01),
                0.022 * s,
                0.02 * s,
                hat,
                OTHER,
            )
