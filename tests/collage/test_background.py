"""What stands behind a person, as other frames show it."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from animateanywhere.collage.background import behind, filled_smoothly
from animateanywhere.methods.anycharv.stitch import cut_out

SIDE, FRAMES, WIDE = 48, 12, 20


def view(width: int = 160, height: int = 90, seed: int = 0) -> np.ndarray:
    """A background in which every shift shows: soft blobs of many colors."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (height // 6 + 2, width // 6 + 2, 3)).astype(np.float32)
    rows, columns = np.arange(height) / 6, np.arange(width) / 6
    out = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        lines = np.stack([np.interp(columns, np.arange(small.shape[1]), row)
                          for row in small[..., channel]])  # fmt: skip
        out[..., channel] = np.stack(
            [np.interp(rows, np.arange(len(small)), line) for line in lines.T], 1
        )
    return out.astype(np.uint8)


def walked(
    camera: np.ndarray, squares: np.ndarray, lefts: np.ndarray, wide: int = 160
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squares of a white person 10 pixels wide who walks before a view, which a camera films from
    `camera` (F, 2): with the person, without, and where the person is."""
    whole = view(wide)
    truth, shown, masks = [], [], []
    for (x, y), left in zip(camera, lefts, strict=True):
        frame = whole[y : y + 60, x : x + 120]
        mask = np.zeros(frame.shape[:2], bool)
        mask[12:44, left : left + 10] = True
        truth.append(frame)
        shown.append(np.where(mask[..., None], np.uint8(255), frame))
        masks.append((mask * 255).astype(np.uint8))
    scene, empty = cut_out(np.stack(shown), squares, SIDE), cut_out(np.stack(truth), squares, SIDE)
    return scene, empty, cut_out(np.stack(masks), squares, SIDE) > 0


SHAKE = np.random.default_rng(3).integers(-2, 3, (FRAMES, 2)) + 12


@pytest.mark.parametrize("camera", ["still", "shaken", "panned"])
@pytest.mark.parametrize("follows", [False, True])
def test_other_frames_show_what_stands_behind(camera: str, follows: bool) -> None:
    """Of still, shaken and panned cameras; in squares that stand still or follow the person."""
    steps = np.arange(FRAMES)
    moves = {"still": 0 * SHAKE + 12, "shaken": SHAKE,
             "panned": np.column_stack([2 * steps, 0 * steps + 9])}[camera]  # fmt: skip
    lefts = 20 + 3 * steps
    squares = np.column_stack([3 * steps * follows + 8, 0 * steps + 6, 0 * steps + SIDE])
    scene, empty, hidden = walked(moves, squares, lefts)
    found = behind(scene, squares, hidden)
    assert np.array_equal(found[~hidden], scene[~hidden])
    wrong = np.abs(found[hidden].astype(int) - empty[hidden]).mean()
    smooth = np.stack([filled_smoothly(*one) for one in zip(scene, hidden, strict=True)])
    assert wrong < 0.2 * np.abs(smooth[hidden].astype(int) - empty[hidden]).mean()


@pytest.mark.parametrize("pan", [0.25, 0.5, 0.8, 1.25])
def test_pans_of_less_than_a_pixel_do_not_add_up(pan: float) -> None:
    """The view is filmed at four times the size, so that it moves by parts of a pixel."""
    many, wide = 32, view(4 * 120, 4 * 70)
    scene, empty, hidden = [], [], np.zeros((many, SIDE, SIDE), bool)
    for n in range(many):
        x = round(4 * pan * n)
        part = wide[: 4 * SIDE, x : x + 4 * SIDE].reshape(SIDE, 4, SIDE, 4, 3).mean((1, 3))
        hidden[n, 10:40, 2 + n : 12 + n] = True
        empty.append(part.astype(np.uint8))
        scene.append(np.where(hidden[n][..., None], np.uint8(255), empty[-1]))
    squares = np.tile([0, 0, SIDE], (many, 1))
    found = behind(np.stack(scene), squares, hidden)
    wrong = np.abs(found[hidden].astype(int) - np.stack(empty)[hidden]).mean()
    smooth = np.stack([filled_smoothly(*one) for one in zip(scene, hidden, strict=True)])
    assert wrong < 0.6 * np.abs(smooth[hidden].astype(int) - np.stack(empty)[hidden]).mean()


@pytest.mark.parametrize("pan", [3, 5, 7])
def test_a_fast_pan_is_followed(pan: int) -> None:
    """By up to a seventh of the square from frame to frame, before somebody who walks as fast."""
    steps = np.arange(FRAMES)
    squares = np.tile([8, 6, SIDE], (FRAMES, 1))
    moves = np.column_stack([pan * steps, 0 * steps + 9])
    scene, empty, hidden = walked(moves, squares, 14 + 2 * steps, wide=220)
    wrong = np.abs(behind(scene, squares, hidden)[hidden].astype(int) - empty[hidden]).mean()
    smooth = np.stack([filled_smoothly(*one) for one in zip(scene, hidden, strict=True)])
    assert wrong < 0.35 * np.abs(smooth[hidden].astype(int) - empty[hidden]).mean()


def test_what_is_repeated_beyond_the_frame_is_no_background() -> None:
    """A square that leaves the frame by half, and an arm that moves at the edge."""
    squares = np.tile([-24, 6, SIDE], (FRAMES, 1))
    scene, empty, hidden = walked(0 * SHAKE + 12, squares, 2 + np.arange(FRAMES))
    beyond = np.zeros_like(hidden)
    beyond[:, :, :24] = True
    for n in range(FRAMES):  # not in a mask, and repeated to the left
        scene[n, 8 + 2 * n : 14 + 2 * n, :26] = 250
    seen = hidden & ~beyond
    apart = [
        np.abs(behind(scene, squares, hidden, edge)[seen].astype(int) - empty[seen]).mean()
        for edge in (None, beyond)
    ]
    assert apart[1] < 0.6 * apart[0] and apart[1] < 12


@pytest.mark.parametrize("least", [0.3, 0.6])
def test_a_light_that_fades_is_followed(least: float) -> None:
    steps = np.arange(FRAMES)
    squares = np.tile([8, 6, SIDE], (FRAMES, 1))
    scene, empty, hidden = walked(0 * SHAKE + 12, squares, 20 + 3 * steps)
    light = np.linspace(least, 1, FRAMES)[:, None, None, None]
    darker, truth = ((part * light).astype(np.uint8) for part in (scene, empty))
    apart = np.abs(behind(darker, squares, hidden).astype(int) - truth)
    for one, hole in zip(apart, hidden, strict=True):
        assert one[hole].mean() < 6


def test_exposure_that_drifts_leaves_no_ghost() -> None:
    steps = np.arange(FRAMES)
    squares = np.tile([8, 6, SIDE], (FRAMES, 1))
    scene, empty, hidden = walked(0 * SHAKE + 12, squares, 20 + 3 * steps)
    drift = (2 * steps - FRAMES)[:, None, None, None]
    darker, truth = ((part * 0.8 + 25 + drift).astype(np.uint8) for part in (scene, empty))
    apart = behind(darker, squares, hidden).astype(int) - truth
    for one, hole in zip(apart, hidden, strict=True):
        assert abs(one[hole].mean()) < 5


@pytest.mark.parametrize("top, bottom", [(0, SIDE), (8, 40)])
def test_pictures_need_not_be_square(top: int, bottom: int) -> None:
    steps = np.arange(FRAMES)
    places = np.column_stack([2 * steps + 8, 0 * steps + 6, 0 * steps + SIDE])
    moves = np.column_stack([steps, 0 * steps + 9])
    scene, empty, hidden = (part[:, top:bottom] for part in walked(moves, places, 20 + 3 * steps))
    places[:, 1] += top
    found = behind(scene, places, hidden)
    assert np.array_equal(found[~hidden], scene[~hidden])
    assert np.abs(found[hidden].astype(int) - empty[hidden]).mean() < 6


def test_another_scale_of_the_square_is_no_trouble() -> None:
    steps = np.arange(FRAMES)
    squares = np.column_stack([8 - steps // 3, 6 - steps // 4, SIDE + steps])
    scene, empty, hidden = walked(0 * SHAKE + 12, squares, 20 + 3 * steps)
    wrong = np.abs(behind(scene, squares, hidden)[hidden].astype(int) - empty[hidden])
    assert wrong.mean() < 12


@pytest.mark.parametrize("count", [2, FRAMES])
def test_where_frames_do_not_agree_the_colors_around_are_taken(count: int) -> None:
    """Each frame has another background, as in flashing light, or water; of two frames, each would
    be compared with itself."""
    squares = np.tile([8, 6, SIDE], (count, 1))
    scene = np.stack([cut_out(view(seed=n)[None], squares[:1], SIDE)[0] for n in range(count)])
    hidden = np.zeros((count, SIDE, SIDE), bool)
    for n in range(count):
        hidden[n, 10:40, 5 + 2 * n : 15 + 2 * n] = True
    found = behind(scene, squares, hidden)
    for one, frame, hole in zip(found, scene, hidden, strict=True):
        assert np.abs(one.astype(int) - filled_smoothly(frame, hole)).mean() < 0.5


@pytest.mark.parametrize("gray", [0, 255])
def test_what_few_frames_show_is_not_the_background(gray: int) -> None:
    """Somebody whom no mask holds stood there in two frames, dark or bright."""
    squares = np.tile([8, 6, SIDE], (FRAMES, 1))
    scene, empty, hidden = walked(0 * SHAKE + 12, squares, 20 + 3 * np.arange(FRAMES))
    passed = np.s_[:2, 14:30, 30:40]
    scene[passed][~hidden[passed]] = gray
    found = behind(scene, squares, hidden)
    later = np.s_[FRAMES // 2 :]
    wrong = np.abs(found[later].astype(int) - empty[later])[hidden[later]]
    assert wrong.mean() < 3


def test_who_never_moves_leaves_the_colors_around() -> None:
    squares = np.tile([8, 6, SIDE], (FRAMES, 1))
    scene = np.full((FRAMES, SIDE, SIDE, 3), 60, np.uint8)
    hidden = np.zeros((FRAMES, SIDE, SIDE), bool)
    hidden[:, 10:40, 15:30] = True
    scene[hidden] = 250
    assert (behind(scene, squares, hidden) == 60).all()
    assert behind(scene, squares, np.ones_like(hidden)).shape == scene.shape  # nothing is known
    assert np.array_equal(behind(scene, squares, hidden & False), scene)
    one = behind(scene[:1], squares[:1], hidden[:1])
    assert (one == 60).all()


def test_a_hole_gets_the_colors_around_it() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[:, :32], frame[:, 32:] = (200, 10, 10), (10, 10, 200)
    hole = np.zeros((64, 64), bool)
    hole[20:50, 10:54] = True
    shown = np.where(hole[..., None], np.uint8(77), frame)
    found = filled_smoothly(shown, hole)
    assert np.array_equal(found[~hole], frame[~hole])
    inside = found[hole].astype(int)
    assert (np.abs(inside[:, 1] - 10) <= 1).all()  # nothing of what was in the hole
    assert found[35, 12, 0] > 150 > 60 > found[35, 51, 0]
    assert np.array_equal(filled_smoothly(frame, ~hole & hole), frame)
    filled_smoothly(frame, np.ones_like(hole))  # nothing is known: no error


@pytest.mark.parametrize("last", [1.25, 0.8])
def test_a_zoom_is_followed(last: float) -> None:
    """Before somebody who stands there and waves."""
    wide, fine = Image.fromarray(view(90, 90)), 4 * SIDE
    scene, empty, hidden = [], [], np.zeros((FRAMES, SIDE, SIDE), bool)
    for n, zoom in enumerate(np.linspace(1, last, FRAMES)):
        half = SIDE / 2 / zoom
        box = (45 - half, 45 - half, 45 + half, 45 + half)
        part = wide.resize((fine, fine), Image.Resampling.BILINEAR, box=box)
        hidden[n, 10:40, 6 + 2 * n : 14 + 2 * n] = True
        empty.append(np.asarray(part.reduce(4)))
        scene.append(np.where(hidden[n][..., None], np.uint8(255), empty[-1]))
    hidden = binary_dilation(hidden, np.ones((1, 3, 3)))
    found = behind(np.stack(scene), np.tile([0, 0, SIDE], (FRAMES, 1)), hidden)
    assert np.abs(found.astype(int) - np.stack(empty))[hidden].mean() < 8


@pytest.mark.parametrize("late", ["cut", "damaged", "gray"])
def test_what_frames_show_late_does_not_change_the_early_ones(late: str) -> None:
    """Also where most frames are of another scene, noise, or show nothing."""
    scene, empty, hidden = walked(
        0 * SHAKE + 12, np.tile([8, 6, SIDE], (FRAMES, 1)), 12 + 4 * np.arange(FRAMES)
    )
    early, bad = np.s_[:8], np.s_[8:20]
    order = [*range(8), *[8] * 12, FRAMES - 1]
    scene, hidden, squares = scene[order], hidden[order], np.tile([8, 6, SIDE], (len(order), 1))
    scene[bad] = {
        "cut": view(SIDE, SIDE, seed=5)[None],
        "damaged": np.random.default_rng(0).integers(0, 255, scene[bad].shape),
        "gray": np.uint8(128),
    }[late]
    apart = [
        np.abs(behind(scene[some], squares[some], hidden[some])[early].astype(int) - empty[early])
        for some in (np.s_[:], early)
    ]
    wrong, alone = (one[hidden[early]].mean() for one in apart)
    assert wrong < alone + 1 < 6
