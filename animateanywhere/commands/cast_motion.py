"""The motion of a video of `aa cast`: that of `--pose`, or a rendered one for the prompt's verb."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from animateanywhere.backbones.base import Base
from animateanywhere.commands.cast_job import CastOptions
from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import warn_findings
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import say
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
TRUNK_AND_LEGS = (1, 2, 5, 8, 9, 10, 11, 12, 13)  # keypoints


def motion_of(
    base: Base, prompt: str, known: Sequence[Character], options: CastOptions, backends: Backends
) -> Motion | None:
    """The motion to follow, with the proportions of the person in the pictures; None: the network's
    own. Raises UsageError for a motion that the base cannot follow or that cannot be read."""
    vace = base.family.encode_reference is not None
    follows = vace or bool(base.denoiser.config.get("pose_channels"))
    own = bool(base.config.get("motions", False)) if options.motion is None else options.motion
    if options.pose is None and not own:
        return None
    if not follows:
        given = "--pose" if options.pose is not None else "--motion"
        raise UsageError(f"base {base.config['name']} follows no pose: leave out {given}")
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
        size = square(int(base.config["size"]))
        found = motion_findings(driving.keypoints, driving.size, None, size, fps)
        warn_findings(options.pose.name, found)
    return fitted(base, driving, np.stack([one.keypoints for one in known]))


def fitted(base: Base, driving: Driving, build: np.ndarray) -> Motion:
    """A motion with the proportions of a person, by the poses (K, 18, 3) of K pictures."""
    boxed = retarget.letterbox(driving.keypoints, driving.size, base.frame)
    return Motion(driving, retarget.fit_in_place(boxed, build), None, base.frame, base.family.draw)


def rendered_motion(prompt: str, seed: int, frames: int, fps: float) -> Driving:
    """A motion of the people that the base learned from, as the prompt says; says which."""
    name = verb_of(prompt)
    if name is None:
        known = ", ".join(words[0] for words in MOTION_WORDS.values())
        say(f"no motion is known for the prompt ({known}): the person stands")
    else:
        verb = MOTION_WORDS[name][0]
        say(f"motion: the person {verb}, as rendered people do; --pose gives another one")
    rng = np.random.default_rng(seed)
    spec = sample_spec(0)
    motion = replace(
        spec.motion, name=name or STILL, tempo=1.0, amplitude=1.0, travel=0.0,
        phase=float(rng.uniform(0, 2 * np.pi)), yaw=float(rng.normal(0, TURNED)),
        lead=int(rng.choice([-1, 1])), wobble=float(rng.uniform(0, 2 * np.pi)),
    )  # fmt: skip
    person = replace(spec.identity, height=1.0)
    alone = replace(spec, motion=motion, identity=person, camera=FRAMING, occluder=None,
                    object=replace(spec.object, name="none"))  # fmt: skip
    points = render(alone, frames, DRAWN, fps).keypoints.astype(np.float32)
    points[:, TRUNK_AND_LEGS, 2] = 1  # where they are is known, also behind a hand
    for elbow, wrist in ARMS.values():
        points[:, elbow, 2] = np.maximum(points[:, elbow, 2], points[:, wrist, 2])
    return Driving(points, DRAWN, DRAWN, "rendered")


def verb_of(prompt: str) -> str | None:
    """The motion whose verb comes first in a prompt, in any form; None if there is none."""
    words = [_stem(word) for word in re.findall(r"[a-z]+", prompt.lower())]
    places = {
        words.index(stem): name
        for name, phrases in MOTION_WORDS.items()
        for stem in map(_verb, phrases)
        if stem in words
    }
    return places[min(places)] if places else None


def _verb(phrase: str) -> str:
    """The stem of a phrase's verb: "squat" of "is doing squats"."""
    return next(_stem(word) for word in phrase.split() if word not in ("is", "doing"))


def _stem(word: str) -> str:
    """A verb without its ending: "walk" of "walks", "walking" and "walked"."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word
