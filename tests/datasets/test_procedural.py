"""Procedural pictures: reproducible, and with the statistics of photographs."""

import numpy as np
import pytest

from animateanywhere.datasets.procedural import picture, power_noise


def test_a_seed_gives_the_same_picture_again() -> None:
    first = picture(7, 64)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, picture(7, 64))
    assert (first != picture(8, 64)).mean() > 0.5


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_spectrum_of_noise_falls_by_the_exponent(exponent: float) -> None:
    field = power_noise(np.random.default_rng(0), 128, exponent)
    assert field.std() == pytest.approx(1, rel=1e-3)
    spectrum = np.abs(np.fft.fft2(field))[0, 2:60]  # along one axis
    slope = np.polyfit(np.log(np.arange(2, 60)), np.log(spectrum), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_pictures_have_edges_and_flat_regions_as_photographs_have() -> None:
    """Differences of neighbors are mostly small and sometimes large: a kurtosis far above the 3 of
    Gaussian noise, about 10 to 40 in photographs."""
    grays = np.stack([picture(seed, 64).mean(-1) for seed in range(24)])
    steps = np.diff(grays, axis=2).ravel()
    assert (steps**4).mean() / (steps**2).mean() ** 2 > 6
    assert grays.std((1, 2)).mean() > 15  # and they have contrast
