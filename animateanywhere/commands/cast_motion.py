"""The motion of a video of `aa cast`: that of `--pose`, or a rendered one for the prompt's verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from animateanywhere.backbones.base import Base
from animateanywhere.commands.cast_job import CastOptions, by_vace
from animateanywhere.commands.prompt_verbs import VERBS, verbs_of
from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import warn_findings
from animateanywhere.core.messages import progress, say
from animateanywhere.methods.animate_anywhere.driving_motion import Motion
from animateanywhere.pose import retarget
from animateanywhere.pose.outline import ARMS
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.driving import Driving, read_driving
from animateanywhere.preprocessing.quality.motion import motion_findings
from animateanywhere.puppets import Camera, render
from animateanywhere.puppets.caption import MOTION_WORDS
from animateanywhere.puppets.sample import sample_spec

DRAWN = 128  # pixels of the frames that the rendered motion is taken from
FRAMING = Camera(0.74, 0.93, 0.0, 0.1, 0.0)  # the whole person, in the middle
TURNED = 0.3  # radians, the deviation with which a person does not quite face the camera
STILL = "idle"
SLICE = 16  # frames that are rendered at once
TRUNK_AND_LEGS = (1, 2, 5, 8, 9, 10, 11, 12, 13)  # keypoints


def motion_of(
    base: Base, prompt: str, known: Sequence[Character], options: CastOptions, backends: Backends
) -> Motion | None:
    """The motion to follow, with the proportions of the person in the pictures; None: the network's
    own. Raises UsageError for a motion that the base cannot follow or that cannot be read."""
    asked, name = options.prompt_motion, base.config["name"]
    follows = by_vace(base) or bool(base.denoiser.config.get("pose_channels"))
    if options.pose is not None and asked is not None:
        raise UsageError("--pose gives the motion: leave out --prompt-motion and its opposite")
    if not follows and (options.pose is not None or asked):
        given = "--prompt-motion" if asked else "--pose"
        raise UsageError(f"base {name} follows no pose: leave out {given}")
    usual = follows and bool(base.config.get("prompt_motion", False))
    if options.pose is None and not (usual if asked is None else asked):
        return None
    build = np.stack([one.keypoints for one in known])
    fps, frame = float(base.config["fps"]), base.frame
    if options.pose is None:
        frames = options.frames or int(base.config["frames"])
        driving = rendered_motion(prompt, options.seed, frames, fps)
    else:
        driving = read_driving(
            options.pose, fps, options.frames, backends, options.pose_person, options.part,
            "--pose-person",
        )  # fmt: skip
        if driving.pictures is not None:
            return Motion(driving, None, retarget.pad(driving.pictures, frame), frame)
        found = motion_findings(driving.keypoints, driving.size, build, fps=fps)
        warn_findings(options.pose.name, found)
    return fitted(base, driving, build)


def fitted(base: Base, driving: Driving, build: np.ndarray) -> Motion:
    """A motion with the proportions of a person, by the poses (K, 18, 3) of K pictures."""
    boxed = retarget.letterbox(driving.keypoints, driving.size, base.frame)
    return Motion(driving, retarget.fit_in_place(boxed, build), None, base.frame, base.family.draw)


def rendered_motion(prompt: str, seed: int, frames: int, fps: float) -> Driving:
    """A motion of the people that the base learned from, as the prompt says; says which."""
    name = _told_motion(prompt)
    rng = np.random.default_rng(seed)
    spec = sample_spec(0)
    motion = replace(
        spec.motion, name=name or STILL, tempo=1.0, amplitude=1.0, travel=0.0,
        phase=float(rng.uniform(0, 2 * np.pi)), yaw=float(rng.normal(0, TURNED)),
        lead=int(rng.choice([-1, 1])), wobble=float(rng.uniform(0, 2 * np.pi)),
    )  # fmt: skip
    average = replace(
        spec.identity, height=1.0, build=1.0, shoulders=1.0, hips=1.0, head=1.0, bag="none"
    )
    alone = replace(spec, motion=motion, identity=average, camera=FRAMING, occluder=None,
                    object=replace(spec.object, name="none"))  # fmt: skip
    parts = []
    with progress("moving the person", total=frames) as bar:  # rendered: that tells what is seen
        for first in range(0, frames, SLICE):
            count = min(SLICE, frames - first)
            parts.append(render(alone, count, DRAWN, fps, first / fps).keypoints)
            bar.advance(count)
    points = np.concatenate(parts).astype(np.float32)
    points[:, TRUNK_AND_LEGS, 2] = 1  # where they are is known, also behind a hand
    for elbow, wrist in ARMS.values():
        points[:, elbow, 2] = np.maximum(points[:, elbow, 2], points[:, wrist, 2])
    return Driving(points, DRAWN, DRAWN, "rendered")


def _told_motion(prompt: str) -> str | None:
    """The motion that a prompt asks for; None if it asks for none that is known. Says which it is,
    and which it is not."""
    verbs = verbs_of(prompt)
    known = [verb for verb in verbs if verb.motion]
    words = ", ".join(f'"{verb.word}"' for verb in verbs if not verb.motion)
    if not known:
        missing = f"no motion is there for {words}" if words else "the prompt names no motion"
        there = ", ".join(names[0] for names in VERBS.values())
        say(f"{missing} (there is one for {there}): the person stands; --pose gives one")
        return None
    name = known[0].motion
    more = f"; none is there for {words}" if words else ""
    if later := [verb.word for verb in known if verb.motion != name]:
        more += f'; "{later[0]}" comes later in the prompt, and is left out'
    verb = MOTION_WORDS[str(name)][0]
    say(f"motion: the person {verb}, as rendered people do{more}; --pose gives another one")
    return name
