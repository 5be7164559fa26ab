"""Masks of AnyCharV: boxes that hold the person, and fine masks that are never smaller."""

from dataclasses import replace

import numpy as np
import pytest

from animateanywhere import puppets
from animateanywhere.methods.anycharv.geometry import person_boxes
from animateanywhere.methods.anycharv.masks import (
    box_masks,
    boxes,
    fine_mask,
    grown,
    steady,
    to_latents,
)


def test_a_persons_box_holds_the_joints_that_a_mask_lacks() -> None:
    masks, points = np.zeros((3, 20, 20), np.float32), np.zeros((3, 18, 3), np.float32)
    masks[:2, 2:10, 4:8] = 1
    points[:, 10] = 70, 190, 1  # an ankle, in pixels of the scene
    points[:, 1] = 60, 40, 1
    points[0, 10, 2] = 0  # not seen
    squares = np.tile([0, 0, 200], (3, 1))
    found = person_boxes(masks, squares, points)
    assert found[:2].tolist() == [[40, 20, 80, 100], [40, 20, 80, 190]]
    assert found[2, 0] < 60 and found[2, 3] > 190  # of the joints alone, with a margin


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    return puppets.render(puppets.sample_spec(3), frames=6, size=64).masks


def test_a_box_is_tight_and_holds_the_person(masks: np.ndarray) -> None:
    found = boxes(masks)
    covered = box_masks(found, 64, 64)
    assert (covered[masks > 127] == 1).all()
    for row, (left, top, right, bottom) in enumerate(found):
        for smaller in ([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, -1]):
            cut = box_masks(np.array([[left, top, right, bottom]]) + smaller, 64, 64)[0]
            assert (cut[masks[row] > 127] == 0).any()
    assert np.isnan(boxes(np.zeros((1, 8, 8), bool))).all()
    assert not box_masks(boxes(np.zeros((1, 8, 8), bool)), 8, 8).any()


def test_a_grown_box_holds_another_person_on_the_same_skeleton() -> None:
    body = ("height", "shoulders", "hips", "head", "legs", "arms")
    for seed in range(6):
        spec = puppets.sample_spec(seed)
        kept = {name: getattr(spec.identity, name) for name in body}
        other = replace(spec, identity=replace(puppets.sample_spec(seed + 50).identity, **kept))
        old, new = (puppets.render(one, frames=1).masks for one in (spec, other))
        inside = box_masks(grown(boxes(old)), 128, 128) > 0
        assert (inside & (new > 127)).sum() > 0.97 * (new > 127).sum()


def test_a_box_grows_by_a_share_of_its_longer_side() -> None:
    np.testing.assert_allclose(grown(np.array([[10.0, 20, 30, 120]]), 0.1), [[0, 10, 40, 130]])


def test_a_missed_frame_in_between_does_not_shrink_the_box() -> None:
    found = np.tile([10.0, 10, 30, 50], (7, 1))
    found[3] = 10, 10, 30, 20  # legs missed
    assert (steady(found)[3] == found[0]).all()
    found = np.tile([10.0, 10, 30, 50], (7, 1))
    found[3:, 2] = 40  # an arm is raised, and stays
    assert steady(found)[2, 2] == 40 and steady(found)[1, 2] == 30
    found[5] = np.nan  # left the picture
    assert np.isnan(steady(found)[5]).all() and np.isfinite(steady(found)[[4, 6]]).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_fine_mask_is_irregular_and_never_smaller(masks: np.ndarray, seed: int) -> None:
    made = fine_mask(masks[0], np.random.default_rng(seed))
    assert (made >= masks[0] / 255 - 1e-6).all() and made.max() <= 1
    area = (masks[0] > 127).sum()
    assert 1.05 * area < (made > 0.5).sum() < 4 * area
    other = fine_mask(masks[0], np.random.default_rng(seed + 100))
    assert (made != other).any()
    np.testing.assert_array_equal(made, fine_mask(masks[0], np.random.default_rng(seed)))
    assert not fine_mask(np.zeros((8, 8), bool), np.random.default_rng(seed)).any()


def test_a_hand_does_not_vanish_in_latents() -> None:
    mask = np.zeros((1, 64, 64), np.float32)
    mask[0, 10:12, 10:12] = 1
    latents = to_latents(mask, 8, 8)
    assert latents.shape == (1, 1, 8, 8)
    assert float(latents.sum()) == pytest.approx(4 / 64)
