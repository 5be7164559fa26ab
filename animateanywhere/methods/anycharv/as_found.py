"""The people and scenes of `aa evaluate --bench swap` with poses and masks as a detector finds
them, in place of the renderer's."""

from __future__ import annotations

from dataclasses import replace

from animateanywhere.datasets.subject import masks_to_uint8
from animateanywhere.evaluation.perception import Perception, perceive
from animateanywhere.methods.anycharv.held_out import Case, Guest
from animateanywhere.puppets import Clip


def as_found(net: Perception, one: Guest) -> Guest:
    """A person and the cases with masks and poses that the perception network finds in the picture
    and in the scenes; the true videos stay as they are."""
    cases = [replace(case, scene=_found(net, case.scene)) for case in one.cases]
    return replace(one, picture=_found(net, one.picture), cases=cases)


def shows_nobody(one: Guest, case: Case) -> bool:
    """Whether nobody was found in the picture or in any frame of the scene: `aa swap` would refuse
    them."""
    return not all((clip.masks > 127).any() for clip in (one.picture, case.scene))


def _found(net: Perception, clip: Clip) -> Clip:
    seen = perceive(net, clip.frames)
    return replace(clip, masks=masks_to_uint8(seen["masks"]), keypoints=seen["keypoints"])
