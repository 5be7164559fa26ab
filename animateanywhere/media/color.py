"""From a decoded frame in any color space to RGB of BT.709, standard dynamic range.

The code points are those of ITU-T H.273: matrix coefficients, color primaries, transfer.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

RGB, BT709, UNKNOWN = 0, 1, 2  # common to H.273's three tables, RGB for matrices only
BT601, BT2020 = 6, 9
LINEAR, PQ, HLG = 8, 16, 18
# H.273 matrices to those that swscale can undo
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
# x and y of red, green and blue; the white of all is D65
PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # BT.601, 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # BT.601, 525 lines
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
D65 = (0.3127, 0.3290)
# Video that is shown by its values: power laws near that of BT.709
ORDINARY = {1, UNKNOWN, 4, 5, 6, 7, 11, 12, 13, 14, 15}
GAMMA = 2.4  # of a display, BT.1886
WHITE = 203.0  # cd/m2 of diffuse white in HDR, BT.2408
PEAK = 1000.0  # cd/m2 of the display that HLG is graded for, BT.2100
KNEE = 0.8  # share of white up to which tone mapping changes nothing
HD = (1280, 576)  # a longer long side or short side is that of HD
# For more than 8 bits, where swscale's fast paths are off by up to 5 of 255. For 8 bits they are
# within 3, and repeat chroma: interpolated, the thin lines of skeleton drawings would lose color
EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class Colors(NamedTuple):
    """Code points of H.273."""

    matrix: int
    primaries: int
    transfer: int


def colors_of(frame: av.VideoFrame) -> Colors:
    """The colors that a frame is tagged with; an untagged matrix as players assume it: that of the
    primaries, else BT.709 for HD and BT.601 for smaller frames."""
    matrix, primaries, transfer = frame.colorspace, frame.color_primaries, frame.color_trc
    if frame.format.is_rgb or frame.format.name == "pal8":
        matrix = RGB
    elif matrix in (RGB, UNKNOWN):
        sides = sorted((frame.width, frame.height))
        size = BT709 if sides[1] >= HD[0] or sides[0] > HD[1] else BT601
        known = {1: BT709, 5: BT601, 6: BT601, 7: 7, 9: BT2020}
        matrix = known.get(primaries, BT2020 if transfer in (PQ, HLG) else size)
    if primaries == UNKNOWN and transfer in (PQ, HLG):
        primaries = BT2020
    if primaries == 11:  # DCI's P3 with another white; files that say so mostly mean Display P3
        primaries = 12
    return Colors(matrix, primaries, transfer)


def describe(colors: Colors) -> str | None:
    """What is done to these colors, or cannot be done, in a few words; None for nothing."""
    unknown = [
        f"{what} {code}"
        for what, code, known in (
            ("matrix", colors.matrix, {RGB, *MATRICES}),
            ("primaries", colors.primaries, {UNKNOWN, *PRIMARIES}),
            ("transfer", colors.transfer, {LINEAR, PQ, HLG, *ORDINARY}),
        )
        if code not in known
    ]
    if unknown:
        return f"colors with {' and '.join(unknown)} of ITU-T H.273 are not converted: check them"
    if colors.transfer in (PQ, HLG):
        name = "PQ" if colors.transfer == PQ else "HLG"
        return f"HDR video ({name}), tone-mapped to BT.709"
    if colors.primaries in (BT2020, 12):
        name = "BT.2020" if colors.primaries == BT2020 else "P3"
        return f"wide colors ({name}), converted to BT.709"
    return None


def to_rgb(frame: av.VideoFrame, width: int, height: int, by: VideoReformatter) -> np.ndarray:
    """Scale a frame and convert it to BT.709: uint8 (height, width, 3), or 4 with alpha.

    by: one for all frames of a video: with one for each, this takes 1.5 to 2.5 times as long.
    """
    colors = colors_of(frame)
    clear = frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)
    convert = colors.transfer in (LINEAR, PQ, HLG) or (
        colors.primaries in PRIMARIES and colors.primaries != BT709
    )
    deep = ("gbrap16le" if clear else "gbrp16le") if convert else ("rgba" if clear else "rgb24")
    # Planar: swscale overflows in packed RGB of 16 bits from video of 8 bits
    bits = max(part.bits for part in frame.format.components)
    exact = bits > 8 or convert
    picture = by.reformat(
        frame, width, height, deep, interpolation=EXACT if exact else Interpolation.AREA,
        src_colorspace=None if colors.matrix == RGB else MATRICES.get(colors.matrix),
    )  # fmt: skip
    pixels: np.ndarray = picture.to_ndarray()
    if not convert:
        return pixels
    out = np.empty(pixels.shape, np.uint8)
    out[..., :3] = to_bt709(pixels[..., :3], colors.primaries, colors.transfer)
    out[..., 3:] = pixels[..., 3:] >> 8
    return out


def to_bt709(signal: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """RGB uint16 (..., 3) of any known primaries and transfer to uint8 of BT.709.

    HDR is mapped as BT.2408 says: diffuse white of 203 cd/m2 becomes white, darker colors keep
    their light, highlights are compressed.
    """
    linear = to_light(transfer)[signal]  # (..., 3), 1: white
    if transfer == HLG:  # BT.2100: the display's light depends on the luminance of the scene
        luminance = linear @ rgb_matrix(BT2020)[1, :, None].astype(np.float32)
        linear = linear * (np.float32(PEAK / WHITE) * luminance ** np.float32(0.2))
    if primaries in PRIMARIES and primaries != BT709:
        change = np.linalg.solve(rgb_matrix(BT709), rgb_matrix(primaries))
        linear = linear @ change.T.astype(np.float32)
    if transfer in (LINEAR, PQ, HLG):
        brightest = linear.max(-1, keepdims=True)
        over = np.maximum(brightest - KNEE, 0) / (1 - KNEE)
        mapped = np.minimum(brightest, KNEE) + (1 - KNEE) * -np.expm1(-over)
        linear = linear * (mapped / np.maximum(brightest, 1e-6))
    shown = linear.clip(0, 1) ** np.float32(1 / GAMMA)
    return (shown * 255 + 0.5).astype(np.uint8)


@cache
def to_light(transfer: int) -> np.ndarray:
    """Table float32 (65536,) from a signal to light, where 1 is diffuse white; of HLG the light of
    the scene, where 1 is the brightest."""
    x = np.arange(65536) / 65535
    if transfer == PQ:  # SMPTE ST 2084
        power = x ** (1 / 78.84375)
        light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        out = light ** (1 / 0.1593017578125) * 10_000 / WHITE
    elif transfer == HLG:  # ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        out = np.where(x <= 0.5, x**2 / 3, (np.exp((x - c) / a) + b) / 12)
    else:
        out = x if transfer == LINEAR else x**GAMMA
    return out.astype(np.float32)


@cache
def rgb_matrix(primaries: int) -> np.ndarray:
    """Matrix float (3, 3) from linear RGB of these primaries to CIE XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    x, y = D65
    return columns * np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y]))
