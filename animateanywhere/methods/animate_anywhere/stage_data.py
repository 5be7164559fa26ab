"""The data of the stages of one-shot learning, as far as a recipe's stages use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from animateanywhere.backbones.base import Base
from animateanywhere.backbones.low_memory import room_for_vae
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.background_augmentation import augment_backgrounds
from animateanywhere.methods.animate_anywhere.prior_preservation import (
    PriorData,
    clip_frames,
    prior_data,
)
from animateanywhere.methods.animate_anywhere.settings import Recipe
from animateanywhere.methods.animate_anywhere.subject_data import (
    Clips,
    SubjectData,
    encode_subject,
)


@dataclass(frozen=True)
class StageData:
    """The data of a stage."""

    subject: SubjectData | Clips
    prior: PriorData | None  # None: no stage of its kind has regularization rows
    augmented: Clips | None = None  # the subject in front of synthetic backgrounds


def make_data(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int, out: Path
) -> tuple[dict[str, StageData], int | None]:
    """Encode a subject, and generate regularization data and synthetic backgrounds, for the kinds
    of stages that a recipe has; add the token to the base.

    out: folder of the run. Returns the data by kind of stage, and the row of the token in the text
    encoder's embedding (None if the base does not learn tokens).
    """
    length = clip_frames(model, settings)
    with room_for_vae(model):
        rows = encode_subject(model, subject, token, settings, length)
    data = {}
    for kind in dict.fromkeys(stage.kind for stage in settings.personal_stages):
        video, augmented, prior = kind == "motion", None, None
        if settings.extras.background_augmentation:
            frames = length if video else 1
            augmented = augment_backgrounds(model, subject, token, settings, seed, frames, out)
        if settings.uses_prior(kind):
            prior = prior_data(model, subject.class_word, settings, seed, video)
        clip = rows.clips if video and rows.clips else rows
        data[str(kind)] = StageData(clip, prior, augmented)
    return data, rows.token_index
