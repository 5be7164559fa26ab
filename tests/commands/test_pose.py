"""Motions as files for other tools."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.cli.main import main
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.media import video
from animateanywhere.pose import openpose_drawing, skeleton, skeleton_video

POSES = EXAMPLES / "driving.poses.json"


def test_poses_become_a_video_and_pictures_and_come_back(place: Path) -> None:
    given = skeleton.read_poses(POSES)
    large = given._replace(keypoints=given.keypoints[:6] * (4, 4, 1), width=512, height=512)
    skeleton.write_poses(place / "large.json", large)
    assert main(["pose", "large.json", "--out", "a.mp4"]) == 0
    assert main(["pose", "large.json", "--out", "pictures"]) == 0
    assert main(["pose", "large.json", "--out", "pictures"]) == 2  # may be another program's
    assert main(["pose", "large.json", "--out", "pictures", "--overwrite"]) == 0
    clip = video.read(place / "a.mp4")
    assert clip.frames.shape == (6, 512, 512, 3) and clip.fps == pytest.approx(given.fps)
    assert skeleton_video.recognize(clip.frames) == "openpose18"
    pictures = sorted((place / "pictures").iterdir())
    assert len(pictures) == 6
    wanted = openpose_drawing.draw(large.keypoints, 512, 512)[2]
    assert np.array_equal(np.asarray(Image.open(pictures[2])), wanted)
    assert main(["pose", "a.mp4", "--out", "again.json"]) == 0
    again = skeleton.read_poses(place / "again.json")
    apart = np.hypot(*(again.keypoints - large.keypoints)[..., :2].T)
    assert (again.width, again.height) == (512, 512) and np.median(apart) < 3


def test_one_of_several_persons_and_a_part(place: Path) -> None:
    given = skeleton.read_poses(POSES)
    both = np.stack([given.keypoints, given.keypoints + np.array([60, 0, 0])], 1)
    crowd = {"format": "openpose18", "width": 2 * given.width, "height": given.height}
    crowd |= {"fps": given.fps, "keypoints": both.tolist()}
    (place / "crowd.json").write_text(json.dumps(crowd))
    flags = ("--person", "2", "--start", "0.5", "--frames", "6")
    assert main(["pose", "crowd.json", "--out", "one.json", *flags]) == 0
    one = skeleton.read_poses(place / "one.json")
    assert len(one.keypoints) == 6 and one.fps == given.fps
    first = round(0.5 * given.fps)
    apart = one.keypoints[:, 1, 0] - given.keypoints[first : first + 6, 1, 0]
    assert set(np.round(apart).tolist()) in ({0.0}, {60.0})


def test_unusable_outputs_are_refused(place: Path) -> None:
    (place / "own").mkdir()
    (place / "own" / "letter.txt").write_text("dear")
    (place / "mine.mp4").write_text("film")
    for out in ("own", "a.avi", "mine.mp4", str(POSES)):
        assert main(["pose", str(POSES), "--out", out]) == 2
    assert (place / "own" / "letter.txt").read_text() == "dear"
    assert (place / "mine.mp4").read_text() == "film"
