"""Identity retrieval on puppets: whether a generated person is nearest to their own identity.

Anybody can be rendered in a video's scene, motion and view, so the video is compared with the true
render of each candidate. All are of the person's class, which every prompt names: the class alone
leaves the chance of being first at one in the number of candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from animateanywhere.metrics import appearance_distance
from animateanywhere.puppets import Clip, Identity, render, sample_spec

MOMENTS = 4  # frames of a video that are compared, evenly spaced
FEW, MANY = 12, 100  # candidates


def others_of_class(person: Identity, count: int, first: int, detailed: bool) -> list[Identity]:
    """The first `count` held-out people of a person's class from seed `first` on, without the
    person. detailed: with a `Detail`."""
    found: list[Identity] = []
    seed = first
    while len(found) < count:
        other = sample_spec(seed, "held-out", detailed).identity
        if other.gender == person.gender and other != person:
            found.append(other)
        seed += 1
    return found


def line_up(
    truth: Clip, others: Sequence[Identity], chosen: range | None = None
) -> list[Clip]:  # fmt: skip
    """The true renders of the person of `truth` and of each of the others in their place: of some
    frames, by default `moments`. 5 s of one core for 100 people at 128 pixels."""
    chosen = moments(len(truth.frames)) if chosen is None else chosen
    size, fps = truth.frames.shape[1], truth.fps / chosen.step
    return [
        render(replace(truth.spec, identity=who), len(chosen), size, fps, truth.start)
        for who in (truth.spec.identity, *others)
    ]


def moments(frames: int) -> range:
    """Which of some frames are compared."""
    step = max((frames - 1) // (MOMENTS - 1), 1)
    return range(0, min(frames, MOMENTS * step), step)


def retrieval(generated: np.ndarray, candidates: Sequence[Clip]) -> dict[str, float]:
    """Whether a video, uint8 (F, H, W, 3), is nearest to the first of some candidates from
    `line_up` (`retrieval_N`, 0 or 1), and its rank (`retrieval_rank_N`, from 1 on), among the first
    N = 12 and 100 as far as there are so many, or else among all.

    Distances by `metrics.appearance_distance`; 1.5 s of one core for 100 people at 128 pixels.
    """
    chosen = generated[moments(len(generated))]
    distances = np.array([appearance_distance(chosen, one.frames, one.parts) for one in candidates])
    scores: dict[str, float] = {}
    for count in sizes(len(candidates)):
        rank = 1.0 + float((distances[1:count] < distances[0]).sum())
        scores |= {f"retrieval_{count}": float(rank == 1), f"retrieval_rank_{count}": rank}
    return scores


def sizes(candidates: int) -> list[int]:
    """Among how many of so many candidates a person is to be recognized."""
    return [n for n in (FEW, MANY) if n <= candidates] or [candidates]
