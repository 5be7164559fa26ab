"""A background that trembles is steadied; what moves is not frozen."""

import numpy as np
from scipy.ndimage import zoom

from animateanywhere.collage.steady_background import steady_background
from animateanywhere.metrics.motion import flicker
from animateanywhere.puppets import render, sample_spec

FRAMES, SIDE = 16, 96
NOBODY = np.zeros((FRAMES, SIDE, SIDE), bool)


def trembling(frames: np.ndarray, amount: float = 10.0) -> np.ndarray:
    """Frames with blots of their own in each, of 4 pixels."""
    blots = np.random.default_rng(0).normal(0, amount, (FRAMES, SIDE // 4, SIDE // 4, 3))
    return (frames + zoom(blots, (1, 4, 4, 1), order=0)).clip(0, 255).astype(np.uint8)


def street(wide: int = SIDE) -> np.ndarray:
    return render(sample_spec(7), 1, wide, 8.0, person=False).frames[0]


def error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_a_trembling_background_stands_still_and_keeps_its_colors() -> None:
    clean = np.repeat(street()[None], FRAMES, 0)
    drawn = trembling(clean)
    steady = steady_background(drawn, NOBODY)
    assert steady.dtype == np.uint8
    assert flicker(steady, NOBODY) < 0.2 * flicker(drawn, NOBODY)
    assert error(steady, clean) < 0.5 * error(drawn, clean)


def test_who_is_hidden_stays_as_is_and_is_nowhere_else() -> None:
    clean = np.repeat(street()[None], FRAMES, 0)
    hidden = NOBODY.copy()
    for n in range(FRAMES):
        hidden[n, 20:80, 20 + 2 * n : 50 + 2 * n] = True
    drawn = trembling(clean)
    drawn[hidden] = np.random.default_rng(1).integers(0, 256, (hidden.sum(), 3))
    steady = steady_background(drawn, hidden)
    assert (steady[hidden] == drawn[hidden]).all()
    assert error(steady[~hidden], clean[~hidden]) < 0.6 * error(drawn[~hidden], clean[~hidden])
    assert (steady_background(drawn, ~NOBODY) == drawn).all()
    assert (steady_background(drawn[:1], hidden[:1]) == drawn[:1]).all()


def test_a_camera_that_pans_goes_on() -> None:
    wide = np.concatenate([street(), street()[:, ::-1]], 1)
    clean = np.stack([wide[:, n // 2 : n // 2 + SIDE] for n in range(FRAMES)])
    drawn = trembling(clean)
    frozen = np.repeat(np.median(drawn, 0)[None], FRAMES, 0)
    steady = steady_background(drawn, NOBODY)
    assert error(steady, clean) < 0.9 * error(drawn, clean)
    assert error(steady, clean) < 0.6 * error(frozen, clean)


def test_a_thing_that_passes_is_not_lost() -> None:
    row, column = np.mgrid[:SIDE, :SIDE]
    for speed in (1, 3, 6):  # pixels a frame
        ball = np.stack([(column - 10 - speed * n) ** 2 + (row - 30) ** 2 < 64
                         for n in range(FRAMES)])  # fmt: skip
        clean = np.where(ball[..., None], [230, 30, 30], street()).astype(np.uint8)
        lost = error(np.repeat(street()[None], FRAMES, 0)[ball], clean[ball])
        steady = steady_background(trembling(clean), NOBODY)
        assert error(steady[ball], clean[ball]) < 0.3 * lost
        rest = error(trembling(clean)[~ball], clean[~ball])
        assert error(steady[~ball], clean[~ball]) < 0.7 * rest
