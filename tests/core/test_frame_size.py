"""Sizes of frames for an aspect ratio."""

import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import (
    Size,
    bucket,
    nearest_size,
    parse_aspect,
    parse_size,
    ratio,
    square,
)


@pytest.mark.parametrize(("side", "stride"), [(64, 8), (128, 8), (512, 8), (512, 16)])
@pytest.mark.parametrize("aspect", [9 / 16, 16 / 9, 4 / 5, 3 / 4, 1.0, 2.0])
def test_a_bucket_has_the_aspect_the_stride_and_about_the_pixels(
    side: int, stride: int, aspect: float
) -> None:
    size = bucket(aspect, side, stride)
    assert size.width % stride == size.height % stride == 0
    assert size.aspect == pytest.approx(aspect, rel=0.05)
    assert size.side == pytest.approx(side, rel=0.07)


def test_an_almost_square_clip_is_square_and_a_panorama_is_limited() -> None:
    assert bucket(1.0, 96, 16) == bucket(1.015, 96, 16) == square(96)
    assert bucket(40.0, 128, 8) == bucket(3.0, 128, 8)


def test_sizes_and_aspects_are_read() -> None:
    assert parse_size("512x768") == Size(512, 768) and parse_size(None) is None
    assert parse_aspect("9:16") == 9 / 16 and parse_aspect("Source") == "source"
    assert ratio(Size(96, 168)) == "9:16" and ratio(Size(88, 104)) == "0.85:1"


@pytest.mark.parametrize("text", ["512", "0x64", "-8x8", "8x8x8", "wide", "8x512", "9000x9000"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="512x768|3:1|4096"):
        parse_size(text)


@pytest.mark.parametrize("text", ["16", "0:1", "9:160", "portrait", "9:-16"])
def test_wrong_aspects(text: str) -> None:
    with pytest.raises(UsageError, match="9:16|3:1"):
        parse_aspect(text)


def test_the_nearest_size_is_that_of_the_nearest_aspect_ratio() -> None:
    """As a factor: of 1.45 to 1, half of the width is nearer than all of the height."""
    sizes = [Size(64, 64), Size(48, 88), Size(88, 48), Size(90, 45)]
    for source, wanted in (((90, 100), 0), ((9, 16), 1), ((1920, 1080), 2), ((2000, 1000), 3)):
        assert nearest_size(Size(*source), sizes) == wanted
    assert nearest_size(Size(145, 100), [Size(64, 64), Size(128, 64)]) == 1
