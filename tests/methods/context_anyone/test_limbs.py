"""The picture's limbs over what the network of `aa cast` drew."""

import numpy as np

from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.methods.context_anyone.limbs import with_limbs
from animateanywhere.puppets import render, sample_spec

FRAMES, SIDE = 4, 96


def test_the_network_draws_the_scene_and_the_picture_gives_the_person() -> None:
    """A blurred gray person in the network's frames becomes that of the picture, who moves."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    scene = render(sample_spec(7), FRAMES, SIDE, 4.0, person=False).frames
    blob = np.where(clip.masks[..., None] > 127, np.uint8(128), scene)
    blob[:, 2:6, 2:6] = 7  # far from the person: stays
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    found = with_limbs(blob, clip.keypoints, Collage([one]))
    assert found.shape == blob.shape and found.dtype == np.uint8
    assert (found[:, 2:6, 2:6] == 7).all()
    person = clip.masks > 200
    apart = [np.abs(part.astype(int) - clip.frames)[person].mean() for part in (blob, found)]
    assert apart[1] < 0.5 * apart[0]


def test_beside_the_limbs_nothing_of_the_networks_person_is_left() -> None:
    """It drew the person wider than the picture shows."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    frames = np.full((FRAMES, SIDE, SIDE, 3), 200, np.uint8)
    wide = np.abs(np.arange(SIDE)[None, :] - clip.keypoints[:, 1, 0][:, None]) < 10
    torso = np.zeros((FRAMES, SIDE, SIDE), bool)
    for n in range(FRAMES):
        top, bottom = clip.keypoints[n, [1, 8], 1].astype(int)
        torso[n, top:bottom] = wide[n]
    frames[torso] = 20
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    found = with_limbs(frames, clip.keypoints, Collage([one]))
    beside = torso & (clip.masks == 0)
    assert (frames[beside] == 20).all() and (found[beside].mean(-1) > 120).mean() > 0.6
