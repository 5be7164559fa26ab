"""Whether the limbs of pictures are laid over what a network draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.markup import escape

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.loading import Loaded
from animateanywhere.backbones.personal_weights import mentions
from animateanywhere.backbones.prompt_weights import plain
from animateanywhere.collage.frame_choice import best_frames, held
from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.collage.views import shows_torso
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say, warn
from animateanywhere.datasets.subject import Subject, read_subject
from animateanywhere.preprocessing.captions.appearance import items
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.quality.clip import frames_in_words


class Limbs(NamedTuple):
    """The limbs of a learned person, the frames of the clip that they are of, and the SHA-256 of
    their poses, which may be corrected."""

    collage: Collage
    frames: list[int]
    poses: str


def collage_of(base: Base, known: Sequence[Character], asked: bool | None) -> Collage | None:
    """The limbs of the pictures, if they are laid: as asked for, or by the base's default. Says
    whether they are."""
    if not _wanted(base, asked):
        return None
    found = Collage([Cutout(one.pixels, one.mask, one.keypoints) for one in known])
    if not found:
        warn(
            "no limbs are laid over what the network draws, as no picture has a pose with a torso: "
            "give one that shows shoulders and hips, or correct its pose (--whole reads none)"
        )
        return None
    if asked is None:
        say(
            "the picture's own limbs are laid over what the network draws "
            "(--no-collage leaves them out)"
        )
    return found


def limbs_of_run(
    loaded: Loaded, prompt: str, asked: bool | None, mixed: bool, appearance: str | None
) -> Limbs | None:
    """The limbs of the person that weights were learned of, from the clip in their run's folder, if
    they are laid: as asked for, or by the base's default. Says why they are not.

    mixed: whether other weights are added. appearance: as for `full_prompt`. Raises UsageError
    where they are asked for and there are none.
    """
    if not _wanted(loaded.base, asked):
        return None
    found = _limbs(loaded, prompt, mixed, appearance)
    if isinstance(found, str):
        _without(asked, found)
        return None
    return found


def laid_on(limbs: Limbs, poses: np.ndarray | None, asked: bool | None) -> Limbs | None:
    """The limbs, if they can be laid on a motion's poses, as for `no_limbs_on`; says which or why
    none are. asked: as for `limbs_of_run`, as which it raises."""
    if why := no_limbs_on(poses):
        _without(asked, why)
        return None
    say(
        f"the person's own limbs, of {frames_in_words(sorted(limbs.frames))} of the clip, "
        "are laid over what the network draws"
        + (" (--no-collage leaves them out)" if asked is None else "")
    )
    return limbs


def warn_of_clothes(prompt: str, learned: dict[str, str]) -> None:
    """Warn where a prompt names hair or clothes that are not known of the learned person, whose own
    limbs are laid all the same. learned: metadata of the personal weights."""
    known = learned.get("appearance", "").lower()
    others = [item for item in items(plain(prompt)) if item not in known]
    if others:
        warn(escape(
            f'the prompt says "{others[0]}": hair and clothes are those of the clip, whose limbs '
            "are laid; --no-collage leaves them out, and so do such words in --appearance"
        ))  # fmt: skip


def no_limbs_on(poses: np.ndarray | None) -> str:
    """Why no limbs can be laid on a motion's poses (F, 18, 3), None for one without joints; "" if
    they can."""
    if poses is None:
        return "the motion has no joints"
    return "" if shows_torso(poses) else "the motion shows no torso, from the neck to the hips"


def check_steadied(collage: bool | None, steady: bool | None) -> None:
    """Raise UsageError where a steadied background is asked for, and no limbs."""
    if steady and collage is False:
        raise UsageError("--steady-background: it needs the person's limbs: leave out --no-collage")


def is_steadied(base: Base, laid: bool, asked: bool | None) -> bool:
    """Whether the background is steadied: as asked for, or by the base's default. laid: whether
    limbs are. Raises UsageError where it is asked for without limbs, whose outline says what the
    background is."""
    if asked and not laid:
        raise UsageError("--steady-background: it needs the person's limbs, and none are laid")
    return laid and _wanted(base, asked)


def _without(asked: bool | None, why: str) -> None:
    """Say why no limbs are laid. Raises UsageError where they are asked for."""
    if asked:
        raise UsageError(f"--collage: {why}")
    say(escape(f"no limbs are laid over what the network draws: {why}"))


def _wanted(base: Base, asked: bool | None) -> bool:
    return bool(base.config.get("collage", False)) if asked is None else asked


def _limbs(loaded: Loaded, prompt: str, mixed: bool, appearance: str | None) -> Limbs | str:
    """The limbs of the learned person, or why there are none."""
    learned = loaded.learned
    if loaded.weights is None:
        return "no person was learned, so the base draws somebody"
    if mixed:
        return "several weights make another person"
    if not mentions(prompt, learned["token"]):
        return f"the prompt does not name {learned['token']}"
    wanted = (appearance or "").strip()
    if wanted and wanted != learned.get("appearance", ""):
        return "--appearance asks for another one"
    place = loaded.weights.parent / "subject"
    if not place.is_dir():
        return f"{place}, the clip that the weights were learned from, is not there"
    try:
        subject = read_subject(place)
    except UsageError as error:
        return f"the clip that the weights were learned from cannot be used: {error}"
    if subject.digest() != learned.get("subject"):
        return (
            f"{place} is another clip than the weights were learned from, or its masks were "
            "changed since: learn it again"
        )
    return _of_clip(subject)


def _of_clip(subject: Subject) -> Limbs | str:
    """The limbs of a clip, of the frames whose masks hold the person, or why there are none."""
    if not best_frames(subject.keypoints):
        return f"no frame of {subject.folder} shows shoulders and hips"
    poses = held(subject.keypoints, subject.masks)
    frames = best_frames(poses)
    if not frames:
        return (
            f"no mask of {subject.folder} holds the trunk of its frame's pose, and little else: "
            "correct the masks, and learn the person again"
        )
    collage = Collage([Cutout(subject.frames[n], subject.masks[n], poses[n]) for n in frames])
    return Limbs(collage, frames, hashlib.sha256(poses[frames].tobytes()).hexdigest())
