"""Identity retrieval: the own person is nearest, also in a degraded or shifted video."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from animateanywhere.evaluation.retrieval import line_up, moments, others_of_class, retrieval
from animateanywhere.metrics import appearance_distance
from animateanywhere.puppets import Clip, is_held_out, render, sample_spec

SEED = 1000


@pytest.fixture(scope="module", params=[False, True])
def lineup(request: pytest.FixtureRequest) -> list[Clip]:
    """Five people of one class, plain or detailed, in one scene and motion."""
    spec = sample_spec(SEED, "held-out", detailed=request.param)
    spec = replace(spec, occluder=None)
    truth = render(spec, frames=8, start=1.0)
    candidates = line_up(truth, others_of_class(spec.identity, 4, SEED, request.param))
    np.testing.assert_array_equal(candidates[0].frames, truth.frames[moments(8)])
    return candidates


def test_candidates_are_held_out_and_of_the_same_class() -> None:
    me = sample_spec(SEED + 3, "held-out").identity
    others = others_of_class(me, 6, SEED, False)
    assert others == others_of_class(me, 8, SEED, False)[:6]
    assert me not in others and len(set(others)) == 6
    assert all(is_held_out(one) and one.gender == me.gender for one in others)
    detailed = sample_spec(SEED + 3, "held-out", detailed=True).identity
    assert all(one.detail is not None for one in others_of_class(detailed, 3, SEED, True))


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 8, 16, 33])
def test_moments_are_evenly_spaced_frames(frames: int) -> None:
    chosen = list(moments(frames))
    assert len(chosen) == min(frames, 4) and chosen[0] == 0 and chosen[-1] < frames
    assert frames < 4 or chosen[-1] >= 0.75 * (frames - 1)


def test_the_own_person_is_nearest_unless_another_is_shown(lineup: list[Clip]) -> None:
    own = lineup[0].frames
    noise = np.random.default_rng(0).normal(0, 12, own.shape)
    blurred = gaussian_filter(own.astype(float), (0, 1.5, 1.5, 0))
    videos = {
        "copy": own, "shifted": np.roll(own, (2, 2), (1, 2)),
        "degraded": (blurred + noise).clip(0, 255).astype(np.uint8),
    }  # fmt: skip
    for name, frames in videos.items():
        found = retrieval(frames, lineup)
        assert found == {"retrieval_5": 1.0, "retrieval_rank_5": 1.0}, name
    for other in lineup[1:]:
        found = retrieval(other.frames, lineup)
        assert found["retrieval_5"] == 0 and found["retrieval_rank_5"] > 1


def test_distance_of_a_copy_is_zero_also_shifted_and_knows_patterns() -> None:
    parts = np.zeros((1, 48, 48), np.uint8)
    parts[:, 8:40, 12:36] = 3
    across = np.indices((48, 48))[1]

    def striped(period: int, phase: int = 0) -> np.ndarray:
        frame = np.full((1, 48, 48, 3), 90, np.uint8)
        bright = ((across + phase) % period < period / 2)[None] & (parts > 0)
        frame[parts > 0] = (40, 40, 160)
        frame[bright] = (200, 200, 40)
        return frame

    def distance(frames: np.ndarray, reach: int = 3) -> float:
        return appearance_distance(frames, striped(8), parts, reach=reach)

    assert distance(striped(8)) == 0
    shifted = np.roll(striped(8), (2, -2), (1, 2))
    assert distance(shifted) < 0.05 * distance(shifted, reach=0)
    mean = striped(8)[parts > 0].mean(0)  # the pattern lost, its mean color kept
    lost = np.where((parts > 0)[..., None], mean, striped(8)).astype(np.uint8)
    assert distance(striped(8, phase=3)) < 0.2 * distance(lost)
    assert distance(striped(16)) > 0.2 * distance(lost)
    assert np.isnan(appearance_distance(lost, lost, np.zeros_like(parts)))


def test_each_part_counts_the_same() -> None:
    parts = np.zeros((1, 40, 40), np.uint8)
    parts[:, 4:30, 4:36], parts[:, 34:38, 10:20] = 3, 5
    frame = np.zeros((1, 40, 40, 3), np.uint8)
    for part in (3, 5):
        other = frame.copy()
        other[parts == part] = 255  # neighbors of the part are found again at its edge
        assert appearance_distance(other, frame, parts, reach=0) > 30
