"""The cones of skin, clothes and accessories."""

import numpy as np

from animateanywhere.puppets.body import BOTTOM, LIMB, OTHER, SHOES, SKIN, TOP, TORSO, Array, Body
from animateanywhere.puppets.head import cover_head
from animateanywhere.puppets.spec import Identity


def dress(person: Identity, body: Body) -> None:
    """Add the cones of skin, clothes, hair and accessories to `body`."""
    add, j, h, g = body.cones.add, body.joints, person.height, person.build
    skin, top = person.skin_rgb, person.top_rgb

    def up(x: float, y: float, z: float, frame: Array = body.torso, name: str = "pelvis") -> Array:
        return j[name] + frame @ np.array([x, y, z]) * h

    w, hip, r = person.shoulders, person.hips, h * g
    waist = 0.036 if person.gender == "woman" else 0.046
    for k in (-1.0, 1.0):
        chest = up(k * 0.056 * w, 0.215, 0.004)
        add(chest, up(k * waist * g, 0.08, 0.004), 0.062 * r, 0.053 * r, top, TOP, TORSO)
        add(
            up(k * waist * g, 0.08, 0.004),
            up(k * 0.044 * hip, -0.012, 0),
            0.053 * r,
            0.062 * r,
            top,
            TOP,
            TORSO,
        )
        add(
            up(k * 0.02, 0.275, -0.008),
            up(k * 0.098 * w, 0.262, -0.008),
            0.038 * r,
            0.038 * r,
            top,
            TOP,
            TORSO,
        )
        if person.gender == "woman":
            add(
                up(k * 0.034, 0.19, 0.034),
                up(k * 0.034, 0.185, 0.036),
                0.043 * r,
                0.043 * r,
                top,
                TOP,
                TORSO,
            )
    add(up(0, 0.21, 0.01), up(0, 0.02, 0.006), 0.064 * r, 0.062 * r, top, TOP, TORSO)
    neck = person.top == "sweater" or person.top == "jacket"
    add(
        up(0, 0.27, -0.01),
        j["neck"] + body.head @ np.array([0, 0.045, 0.0]) * h,
        0.034 * h,
        0.032 * h,
        top if neck else skin,
        TOP if neck else SKIN,
        LIMB,
        skin,
        SKIN,
        0.45,
    )
    sleeve = {"t-shirt": 0.62, "dress": 0.35, "vest": 0.0}.get(person.top, 2.0)
    lower = TOP if person.top == "dress" else BOTTOM
    leg = {"shorts": 0.85, "skirt": 0.68}.get(person.bottom, 2.0)
    thick = 1.22 if person.top == "jacket" else 1.12 if sleeve > 1 else 1.0
    for s in "rl":
        add(
            j["shoulder_" + s],
            j["elbow_" + s],
            0.037 * r * thick,
            0.029 * r * thick,
            top,
            TOP,
            LIMB,
            skin,
            SKIN,
            sleeve,
        )
        if 0 < sleeve < 1:  # a loose sleeve ends in a rim
            end = j["shoulder_" + s] + (j["elbow_" + s] - j["shoulder_" + s]) * sleeve
            add(j["shoulder_" + s], end, 0.038 * r, 0.038 * r, top, TOP, LIMB)
        add(
            j["elbow_" + s],
            j["wrist_" + s],
            0.028 * r * thick,
            0.021 * r * thick,
            top if sleeve > 1 else skin,
            TOP if sleeve > 1 else SKIN,
            LIMB,
        )
        add(j["wrist_" + s], j["hand_" + s], 0.02 * h, 0.017 * h, skin, SKIN)
        add(j["wrist_" + s], j["thumb_" + s], 0.011 * h, 0.009 * h, skin, SKIN)
        pants = person.bottom_rgb
        add(
            j["hip_" + s], j["knee_" + s], 0.064 * r, 0.043 * r, pants, lower, LIMB, skin, SKIN, leg
        )
        if leg == 0.85:
            end = j["hip_" + s] + (j["knee_" + s] - j["hip_" + s]) * 0.8
            add(j["hip_" + s], end, 0.067 * r, 0.053 * r, pants, BOTTOM)
        wide = 1.0 if leg < 1 else 1.18
        add(
            j["knee_" + s],
            j["ankle_" + s],
            0.042 * r * wide,
            0.026 * r * wide * wide,
            pants if leg > 1 else skin,
            BOTTOM if leg > 1 else SKIN,
            LIMB,
            rgb2=pants if leg > 1 else skin,
        )
        calf = j["knee_" + s] * 0.7 + j["ankle_" + s] * 0.3
        if leg < 1:
            add(calf, calf, 0.0385 * r, 0.0385 * r, skin, SKIN)
        add(j["heel_" + s], j["toe_" + s], 0.031 * h, 0.024 * h, person.shoe_rgb, SHOES)
        add(j["ankle_" + s], j["heel_" + s], 0.027 * h, 0.031 * h, person.shoe_rgb, SHOES)
    if person.bottom == "skirt":
        hem_r, hem_l = (j["hip_" + s] * 0.3 + j["knee_" + s] * 0.7 for s in "rl")
        middle, half = (hem_r + hem_l) / 2, (hem_l - hem_r) / 2
        for k in (-1.0, -0.5, 0.0, 0.5, 1.0):
            add(
                up(k * 0.04, 0.02, 0),
                middle + half * k * 1.35,
                0.064 * r,
                0.054 * r,
                person.bottom_rgb,
                lower,
                LIMB,
            )
    cover_head(person, body)
    if person.bag == "backpack":
        add(up(0, 0.22, -0.1), up(0, 0.09, -0.1), 0.075 * h, 0.08 * h, person.bag_rgb, OTHER)
        for k in (-1.0, 1.0):
            add(
                up(k * 0.07 * w, 0.285, 0.025 * g),
                up(k * 0.075 * w, 0.15, 0.065 * g),
                0.013 * h,
                0.013 * h,
                person.bag_rgb,
                OTHER,
            )
    elif person.bag == "bag":
        add(
            up(-0.06, 0.295, 0.02),
            up(0.07, 0.1, 0.068 * g),
            0.011 * h,
            0.011 * h,
            person.bag_rgb,
            OTHER,
        )
        for y in (0.03, -0.02):
            add(
                up(0.11 * hip, y, 0.03),
                up(0.12 * hip, y, -0.04),
                0.042 * h,
                0.042 * h,
                person.bag_rgb,
                OTHER,
            )
