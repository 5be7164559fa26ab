"""BlazePose's steps in numbers checked by hand, and the whole against MediaPipe's own."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animateanywhere.media import video
from animateanywhere.preprocessing import model_files
from animateanywhere.preprocessing.pose.blazepose import detector, frames, networks, region
from animateanywhere.preprocessing.pose.blazepose.detector import Detections
from animateanywhere.preprocessing.pose.blazepose.region import Region
from benchmarks.blazepose import agreement
from tests.conftest import needs_blazepose

REAL = Path(__file__).parents[3] / "shared" / "real"
CLIPS = ("AnyCharV/dance1.mp4", "Tune-A-Video/man-surfing.mp4", "finetrainers/hiker_tiny.mp4")


@pytest.fixture
def opened() -> networks.BlazePose:
    """Both networks, where their files are."""
    needs_blazepose()
    return networks.BlazePose(*model_files.require())


def real(name: str, count: int) -> np.ndarray:
    """Frames spread over a real clip."""
    if not (REAL / name).is_file():
        pytest.skip(f"{REAL / name} is not there: real clips are not part of the project")
    clip = video.read(REAL / name, max_frames=64, fps=8).frames
    return clip[np.linspace(0, len(clip) - 1, count).astype(int)]


def test_anchors_lie_in_the_middle_of_cells_row_by_row() -> None:
    anchors = detector.anchors()
    assert anchors.shape == (28 * 28 * 2 + 14 * 14 * 2 + 7 * 7 * 6, 2)
    assert anchors[[0, 1]] == pytest.approx(np.full((2, 2), 0.5 / 28))
    assert anchors[2] == pytest.approx([1.5 / 28, 0.5 / 28])  # x runs faster
    assert anchors[28 * 2] == pytest.approx([0.5 / 28, 1.5 / 28])
    assert anchors[28 * 28 * 2] == pytest.approx([0.5 / 14, 0.5 / 14])
    assert anchors[-7:-5] == pytest.approx(np.array([[5.5 / 7, 6.5 / 7], [6.5 / 7, 6.5 / 7]]))


def test_boxes_and_points_are_decoded_from_their_anchors() -> None:
    values, logits = np.zeros((2254, 12), np.float32), np.full(2254, -1e4, np.float32)
    values[1568] = 8, -8, 56, 112, 0, 0, 22.4, 0, 0, 22.4, -22.4, 0
    logits[1568], logits[3] = np.log(4), 1e4
    logits[5] = -0.01  # a score a little under one half
    found = detector.decode(values, logits)
    assert found.scores == pytest.approx([1, 0.8])
    x, y = 0.5 / 14, 0.5 / 14
    right, down = x + 8 / 224, y - 8 / 224
    assert found.boxes[1] == pytest.approx([right - 0.125, down - 0.25, right + 0.125, down + 0.25])
    assert found.points[1] == pytest.approx(
        np.array([[x, y], [x + 0.1, y], [x, y + 0.1], [x - 0.1, y]])
    )


def test_a_box_of_negative_size_is_no_person() -> None:
    values, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9, np.float32)
    values[0, 2:4] = -5, 5
    logits[0] = 3
    assert len(detector.decode(values, logits).scores) == 0


def test_overlapping_boxes_become_their_weighted_mean() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [30, 0, 40, 10], [9, 0, 19, 10]], float)
    points = np.arange(4)[:, None, None] * np.ones((4, 4, 2))
    merged = detector.merge_overlapping(Detections(boxes, points, np.array([0.9, 0.6, 0.55, 0.5])))
    assert merged.scores.tolist() == [0.9, 0.55, 0.5]
    assert merged.boxes[0] == pytest.approx(
        [0.8, 0, 10.8, 10]
    )  # 0.6 of the first, 0.4 of the second
    assert merged.points[0] == pytest.approx(np.full((4, 2), 0.4))
    assert merged.boxes[1:] == pytest.approx(boxes[[2, 3]])
    nothing = detector.merge_overlapping(Detections(boxes[:0], points[:0], np.zeros(0)))
    assert [len(part) for part in nothing] == [0, 0, 0]


def test_a_square_maps_to_the_frame_and_back() -> None:
    square = Region(50, 80, 40, 0.7)
    points = np.random.default_rng(0).random((5, 2))
    assert square.from_frame(square.to_frame(points)) == pytest.approx(points)
    assert square.to_frame(np.array([0.5, 0.5])) == pytest.approx([50, 80])
    assert Region(50, 80, 40).to_frame(np.array([[0, 0], [1, 1]])).tolist() == [[30, 60], [70, 100]]


@pytest.mark.parametrize("head", [(0, -20), (20, 0), (0, 20), (-12, 16)])
def test_a_person_stands_upright_in_the_square(head: tuple[float, float]) -> None:
    hips = np.array([100.0, 60.0])
    square = region.around_person(hips, hips + head)
    assert square.from_frame(hips) == pytest.approx([0.5, 0.5])
    assert square.from_frame(hips + head) == pytest.approx([0.5, 0.5 - 0.5 / region.BODY])


def test_a_crop_is_the_frame_itself_where_it_needs_no_samples_between_pixels() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert (region.crop(frame, Region(30, 20, 20), 20) == frame[10:30, 20:40]).all()
    between = region.crop(frame, Region(30.5, 20, 20), 20).astype(int)
    mean = (frame[10:30, 20:40].astype(int) + frame[10:30, 21:41]) / 2
    assert np.abs(between - mean).max() <= 0.5
    turned = region.crop(frame, Region(30, 20, 20, np.pi / 2), 20)  # its right is the frame's down
    assert (turned == np.rot90(frame[10:30, 21:41])).all()


def test_beyond_the_frame_its_edge_is_repeated_or_a_value_stands() -> None:
    frame = np.full((10, 20, 3), 200, np.uint8)
    frame[:, 0] = 100
    repeated = region.crop(frame, region.whole_frame(10, 20), 20)
    assert (repeated[:, 0] == 100).all() and (repeated[:, 1:] == 200).all()
    boxed = region.crop(frame, region.whole_frame(10, 20), 20, outside=0)
    assert (boxed[:5] == 0).all() and (boxed[15:] == 0).all()
    assert (boxed[5:15, 1:] == 200).all()


def test_a_mask_returns_to_its_place() -> None:
    y, x = np.mgrid[:90, :120]
    blob = np.exp(-((x - 70) ** 2 + (y - 40) ** 2) / 200)
    frame = np.repeat((blob * 255).round()[..., None], 3, -1).astype(np.uint8)
    for square in (Region(66, 44, 64), Region(66, 44, 70, 0.6), Region(72, 36, 90, -2.5)):
        mask = region.crop(frame, square, 256)[..., 0].astype(np.float32) / 255
        back = region.paste(mask, square, 90, 120)
        assert back.shape == (90, 120)
        assert np.abs(back - blob).max() < 0.02
    far = region.paste(np.ones((8, 8), np.float32), Region(20, 20, 16), 90, 120)
    assert far[20, 20] == 1 and far[60:].max() == 0 and far[:, 40:].max() == 0


def test_landmarks_move_to_the_middle_of_their_heat() -> None:
    heat = np.full((64, 64, 4), -20, np.float32)
    heat[30, 33, 0] = 5
    heat[[30, 30], [33, 35], 1] = 5
    heat[30, 40, 2] = 5  # out of the window
    heat[30, 33, 3] = -1  # too cool
    points = np.full((4, 2), 0.5)
    out = networks.refine(points, heat)
    assert out[0] == pytest.approx([33 / 64, 30 / 64], abs=1e-4)
    assert out[1] == pytest.approx([34 / 64, 30 / 64], abs=1e-4)
    assert (out[2:] == 0.5).all()
    assert (networks.refine(points + 0.6, heat) == points + 0.6).all()  # out of the square
    assert networks.refine(np.full((1, 2), 0.99), np.full((64, 64, 1), 9.0))[0].max() < 1


def test_persons_far_smaller_than_the_largest_are_left_out_and_counted() -> None:
    middle = np.array([[50, 50], [90, 60], [20, 80], [20, 81], [80, 10]], float)
    rims = middle - [[0, 40], [0, 30], [0, 8], [0, 8], [0, 6]]  # two of one, and one uncertain
    certain = np.array([0.9, 0.9, 0.9, 0.85, 0.6])
    points = np.stack([middle, rims, middle, rims], axis=1)

    class Networks:
        def detect(self, frame: np.ndarray) -> Detections:
            return Detections(np.zeros((5, 4)), points, certain)

    networks: Any = Networks()
    places, scores, smaller = frames._in_windows(networks, np.zeros((100, 100, 3), np.uint8))
    assert places[:, 0].tolist() == middle[:2].tolist() and len(scores) == 2
    assert smaller == 1


def test_noise_shows_nobody(opened: networks.BlazePose) -> None:
    noise = np.random.default_rng(0).integers(90, 160, (96, 128, 3), np.uint8)
    assert len(opened.detect(noise).scores) == 0
    assert opened.landmarks(noise, Region(64, 48, 90)) is None
    found = frames.all_persons(noise[None])[0]
    assert found["points"].shape == (0, 33, 4) and found["masks"].shape == (0, 96, 128)


def test_both_persons_of_a_picture_are_found(opened: networks.BlazePose) -> None:
    one = real("AnyCharV/dance1.mp4", 1)[0]
    alone = frames.all_persons(one[None])[0]
    both = frames.all_persons(np.concatenate([one, one[:, ::-1]], axis=1)[None])[0]
    assert len(alone["points"]) == 1 and len(both["points"]) == 2
    width = one.shape[1]
    hips = sorted(both["circles"][:, 0])
    assert hips[0] + hips[1] == pytest.approx(2 * width, abs=0.03 * width)  # mirrored
    first = both["masks"][np.argmin(both["circles"][:, 0])]
    assert first[:, :width].mean() > 20 * first[:, width:].mean()


def test_it_agrees_with_mediapipe_on_real_clips(opened: networks.BlazePose) -> None:
    """MEDIAPIPE_PYTHON may name a Python with MediaPipe 0.10.21, which newer ones cannot have."""
    python = sys.executable if find_spec("mediapipe") else os.environ.get("MEDIAPIPE_PYTHON")
    if not python:
        pytest.skip("mediapipe is not installed here, and MEDIAPIPE_PYTHON names no Python with it")
    clips = {str(index): real(name, 4) for index, name in enumerate(CLIPS)}
    for one in agreement(python, clips).values():
        assert one.frames_of_one_only == 0 and len(one.ious) == 4
        assert np.median(one.distances) < 0.02 and one.distances.max() < 0.5  # pixels
        assert one.visibilities.max() < 0.01
        assert one.ious.min() > 0.997


def test_a_thin_strip_is_not_searched_in_thousands_of_windows():
    assert len(frames._windows(1, 1280)) == len(frames._windows(1280, 15)) == 1
    assert len(frames._windows(16, 1280)) > 1
