"""A base for generation: loaded, with personal weights and other tools' LoRA applied."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.markup import escape
from torch import nn

from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.external_lora import add_lora
from animateanywhere.backbones.low_memory import room_for_vae, to_device
from animateanywhere.backbones.personal_weights import (
    base_of,
    find_weights,
    load_personal,
    mentions,
    read_metadata,
    unfinished,
)
from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say, warn
from animateanywhere.core.naming import unlearned_token
from animateanywhere.core.paths import RUNS

Scaled = tuple[Path, float]  # a file of weights, and the factor on its changes


class Loaded(NamedTuple):
    """A base with all weights applied, on its device."""

    base: Base
    untouched: Base | None  # the base without personal weights, with `late_only`
    learned: dict[str, str]  # metadata of the personal weights, {} without any
    weights: Path | None
    autocast: AbstractContextManager[None]  # for forward passes

    def room_for_vae(self, *networks: nn.Module) -> AbstractContextManager[None]:
        """As `low_memory.room_for_vae`, for all denoisers."""
        waiting: list[Any] = [] if self.untouched is None else [self.untouched.denoiser]
        return room_for_vae(self.base, *networks, *waiting)


def load_with_weights(
    base: str | Path | None,
    weights: Path | None,
    learned: dict[str, str],
    scale: float = 1.0,
    others: Sequence[Scaled] = (),
    lora: Sequence[Scaled] = (),
    late_only: bool = False,
) -> Loaded:
    """Load a base, apply personal weights and LoRA files, and move it to its device.

    Args:
        base: name or folder; None for the one that the weights were learned on.
        weights, learned: personal weights and their metadata, as from `choose_weights`.
        scale: factor on the learned changes.
        others: further personal weights of the same base; the changes add up.
        lora: LoRA files of other tools (`external_lora`).
        late_only: keep a copy of the base without personal weights.

    Raises UsageError if there is no such base, and for weights that do not fit it.
    """
    model = load_base(base or base_of(learned, weights))
    files = [] if weights is None else [(weights, scale), *others]
    untouched = model.copy() if late_only and files else None
    first: dict[str, torch.Tensor] | None = {} if len(files) > 1 else None
    for file, share in files:
        load_personal(file, model, share, first)
    for file, share in lora:  # after full weights, which replace the base's
        for one in filter(None, (model, untouched)):
            add_lora(one, file, share)
    device = best_device()
    passes = to_device(model, device)
    if untouched is not None:
        to_device(untouched, device)
    return Loaded(model, untouched, learned, weights, passes)


def choose_weights(
    prompt: str, weights: Path | None, base: str | Path | None = None
) -> tuple[Path | None, dict[str, str]]:
    """The personal weights to use, if any, and their metadata; prints which.

    weights: None for the newest in runs/ whose token the prompt names.
    base: as the user gave it; None: the one that the weights were learned on.

    Raises UsageError for a prompt with a token that was not learned, unless a base is given.
    """
    if weights is not None:
        learned = read_metadata(weights)
        token, kind = learned["token"], learned["class_word"]
        if not mentions(prompt, token):
            warn(escape(f'the prompt does not name the person: use "{token} {kind}" in it'))
    else:
        found = find_weights(prompt, RUNS)
        if found is None:
            if base is None:
                _refuse_unlearned(prompt)
            say("no learned token in the prompt: generating with the base alone")
            return None, {}
        weights, token = found
        learned = read_metadata(weights)
    say(escape(f"weights of {token}: {weights}"))
    return weights, learned


def _refuse_unlearned(prompt: str) -> None:
    """Raise UsageError if a prompt has a token without weights: the base alone would spend minutes
    on somebody else."""
    otherwise = "give its weights with --weights, or add --base mini for the base alone"
    if token := unfinished(prompt, RUNS):
        raise UsageError(
            f'"{token}" has no usable weights in {RUNS}: run its `aa personalize` again to finish, '
            f"{otherwise}"
        )
    if token := unlearned_token(prompt):
        raise UsageError(
            f'"{token}" was not learned in {RUNS.absolute()}: '
            f"run `aa personalize my_video.mp4 --token {token}` first, {otherwise}"
        )
