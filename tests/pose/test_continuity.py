"""Left and right, jumps and the posture of rendered people's motions."""

import re
from itertools import product

import numpy as np
import pytest

from animateanywhere import puppets
from animateanywhere.pose.continuity import LIMBS, body_size, exchange_limbs, hide_doubled, jumps
from animateanywhere.preprocessing.quality.upright import rotation_findings

FRAMES = 24


@pytest.fixture(scope="module")
def motions():
    """Keypoints (20, F, 18, 3) of people in motion, with the noise of a detector."""
    noise = np.random.default_rng(0).normal(0, 0.4, (20, FRAMES, 18, 2))
    found = [puppets.render(puppets.sample_spec(seed, split="held-out"), frames=FRAMES, size=64)
             for seed in range(20)]  # fmt: skip
    points = np.stack([clip.keypoints for clip in found])
    points[..., :2] += noise
    return points


def test_true_motions_are_left_as_they_are(motions):
    exchanged = [exchange_limbs(points)[1] for points in motions]
    wrong = sum(int(frames.sum()) for found in exchanged for frames in found.values())
    assert wrong <= 0.01 * motions.shape[0] * FRAMES * 2


def test_exchanged_limbs_are_exchanged_back(motions):
    """For two frames the detector takes left for right: where the limbs are apart, it is found."""
    right = count = 0
    for points, where in product(motions, ([5, 6], [10, 11], [16])):
        mistaken = points.copy()
        for pair in LIMBS.values():
            here, there = (np.ix_(where, side) for side in pair)
            mistaken[here], mistaken[there] = points[there], points[here]
        repaired, found = exchange_limbs(mistaken)
        for name, (one, other) in LIMBS.items():
            both = (points[:, one + other, 2] > 0.3).all(1)
            ends = points[:, [one[-1], other[-1]], :2]
            apart = np.hypot(*(ends[:, 0] - ends[:, 1]).T) > 0.15 * body_size(points)
            clear = [f for f in where if (both & apart)[f - 2 : f + 3].all()]
            count += len(clear)
            right += found[name][clear].sum()
            for f in clear:
                if found[name][f]:
                    assert np.array_equal(repaired[f, one], points[f, one])
    assert count >= 40
    assert right >= 0.75 * count


def test_limbs_on_the_limb_of_the_other_side_are_hidden(motions):
    hidden = expected = wrong = 0
    for points in motions:
        wrong += sum(int(frames.sum()) for frames in hide_doubled(points)[1].values())
        ends = np.hypot(*(points[:, 4, :2] - points[:, 7, :2]).T) > 0.4 * body_size(points)
        shown = (points[:, [3, 4, 6, 7], 2] > 0.3).all(1)
        if not (ends & shown)[8:12].all():
            continue
        doubled = points.copy()
        doubled[9:11, [3, 4]] = doubled[9:11, [6, 7]]
        out, found = hide_doubled(doubled)
        expected += 2
        hidden += found["arms"].sum()
        where = np.flatnonzero(found["arms"])
        assert not out[where][:, [3, 4], 2].any() and out[where][:, [6, 7], 2].all()
    assert expected >= 8
    assert hidden >= 0.7 * expected
    assert wrong <= 2


def test_hidden_limbs_say_nothing(motions):
    points = motions[0].copy()
    points[:, [3, 4, 6, 7, 9, 10, 12, 13], 2] = 0
    assert not any(frames.any() for frames in exchange_limbs(points)[1].values())


def test_jumps_to_another_person_are_found(motions):
    assert not any(len(jumps(points, 8.0)) for points in motions)
    points = motions[3].copy()
    points[14:, :, 0] += 1.2 * body_size(points)
    assert jumps(points, 8.0).tolist() == [14]
    moving = motions[3].copy()
    moving[..., 0] += 0.5 * body_size(moving) * np.arange(FRAMES)[:, None]  # on a bicycle
    assert not len(jumps(moving, 8.0))


@pytest.mark.parametrize(
    ("turned", "words"),
    [
        (lambda x, y: (64 - x, 64 - y), "head is below the hips in 24 of 24.*180 degrees"),
        (lambda x, y: (x, 64 - y), "head is below the hips in 24 of 24"),
        (lambda x, y: (y, 64 - x), "head to the left.*90 degrees clockwise"),
        (lambda x, y: (64 - y, x), "head to the right.*counterclockwise"),
    ],
)
def test_rotated_clips_are_reported(motions, turned, words):
    whole = (motions[:, :, [0, 1, 8, 11], 2] > 0.3).all((1, 2))
    points = motions[int(np.flatnonzero(whole)[0])].copy()
    assert not rotation_findings(points)
    points[..., 0], points[..., 1] = turned(points[..., 0].copy(), points[..., 1].copy())
    [finding] = rotation_findings(points)
    assert finding.level == "warning"
    assert re.search(words, finding.text)
    points[..., 2] = np.where(np.isin(np.arange(18), [8, 9, 10, 11, 12, 13]), 0, points[..., 2])
    assert rotation_findings(points)  # by the head alone


def test_upright_people_are_not_reported(motions):
    assert sum(bool(rotation_findings(points)) for points in motions) == 0
