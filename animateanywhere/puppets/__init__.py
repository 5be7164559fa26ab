"""Puppets: rendered 3D people with ground truth, for the corpus, the tests and the benchmark."""

from animateanywhere.puppets.caption import caption, describe_identity
from animateanywhere.puppets.clips import write_clips, write_sheet
from animateanywhere.puppets.render import Clip, render, render_batch
from animateanywhere.puppets.sample import is_held_out, sample_portrait, sample_spec
from animateanywhere.puppets.spec import (
    MOTIONS,
    OBJECTS,
    PARTS,
    SCENES,
    Camera,
    Detail,
    Identity,
    Motion,
    Occluder,
    Scene,
    Spec,
    Thing,
)

__all__ = [
    "MOTIONS",
    "OBJECTS",
    "PARTS",
    "SCENES",
    "Camera",
    "Clip",
    "Detail",
    "Identity",
    "Motion",
    "Occluder",
    "Scene",
    "Spec",
    "Thing",
    "caption",
    "describe_identity",
    "is_held_out",
    "render",
    "render_batch",
    "sample_portrait",
    "sample_spec",
    "write_clips",
    "write_sheet",
]
