"""Which frames of a clip a collage is made of."""

import numpy as np
import pytest

from animateanywhere.collage.frame_choice import best_frames
from tests.collage.test_limb_collage import pose


def test_one_frame_from_each_side_there_is() -> None:
    views = [1.0, 0.95, 0.05, -1.0, 0.9]
    assert best_frames(np.stack([pose(view) for view in views])) == [0, 2, 3]
    assert best_frames(np.stack([pose(-1.0)] * 3)) == [0]


@pytest.mark.parametrize("change", ["wrist", "short", "crossed"])
def test_a_frame_that_shows_more_is_better(change: str) -> None:
    worse = pose()
    if change == "wrist":
        worse[4, 2] = 0
    elif change == "short":  # the leg points at the camera
        worse[9:11, :2] = worse[8, :2] + [[0, 4], [0, 8]]
    else:  # a forearm in front of the trunk
        worse[3, :2], worse[4, :2] = worse[2, :2] + [0, 12], worse[1, :2] + [0, 12]
    assert best_frames(np.stack([worse, pose()])) == [1]
    assert best_frames(np.stack([pose(), worse])) == [0]


def test_without_a_trunk_there_is_none() -> None:
    hidden = pose()
    hidden[[8, 11], 2] = 0
    assert best_frames(np.stack([hidden, np.zeros_like(hidden)])) == []
    assert best_frames(np.zeros((0, 18, 3), np.float32)) == []
