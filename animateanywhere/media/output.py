"""Writing of a generated video in the format that its name asks for, at any frame rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from animateanywhere.core.files import folder_aside, write_alone
from animateanywhere.core.formats import format_of
from animateanywhere.media.provenance import Made, complete, complete_folder, png_texts
from animateanywhere.media.sound import Packets, Sound, add_sound
from animateanywhere.media.writing import VP9, encode, h264

Loop = Literal["circle", "forth and back"]  # how a video loops; see `commands.generate`
Beside = Callable[[list[str]], object]

WEBP_QUALITY = 90


def playback(count: int, fps: float, out_fps: float, loop: Loop | None = None) -> np.ndarray:
    """Indices (M,) of the generated frames that a video of `count` frames shows at `out_fps`: each
    as long as at `fps`, repeated or left out; forth and back, the middle ones once more in
    reverse."""
    order = np.arange(count)
    if loop == "forth and back":
        order = np.concatenate([order, order[-2:0:-1]])
    shown = max(round(len(order) * out_fps / fps), 1)
    # A small step forward, since 3 * (8 / 24) may be less than 1
    index = np.floor(np.arange(shown) * fps / out_fps + 1e-6).astype(int)
    return order[index.clip(0, len(order) - 1)]


def arranged(frames: Iterable[np.ndarray], order: np.ndarray) -> Iterator[np.ndarray]:
    """Frames in an order, indices (M,) as from `playback`; keeps those that are shown again."""
    last = {int(index): place for place, index in enumerate(order)}
    kept: dict[int, np.ndarray] = {}
    source = enumerate(frames)
    for place, index in enumerate(map(int, order)):
        while index not in kept:
            number, frame = next(source)
            if number in last:
                kept[number] = frame
        yield kept[index] if last[index] > place else kept.pop(index)
    for _ in source:  # to its end, where it may fail, before the last frame is written
        pass


def write(
    path: Path, frames: Iterable[np.ndarray], count: int, fps: float,
    sound: Sound | Packets | None = None, made: Made | None = None,
    beside: Beside = lambda said_in: None,
) -> list[str]:  # fmt: skip
    """Write `count` frames uint8 (H, W, 3), completely or not at all, in the format of the suffix
    (`core.formats`). sound: for .mp4 and .webm only. made: what the metadata says of the origin;
    returns where it was read again (`provenance.Origin.places`). beside: is called with that when
    all is on the disk, right before it gets its name, and writes the record of it."""
    suffix, said_in = format_of(path), list[str]()
    if suffix == "":
        with folder_aside(path, whole=lambda: beside(said_in)) as folder:
            for number, frame in enumerate(frames):
                _save_png(folder / f"{number:04}.png", frame, made)
            said_in += [] if made is None else complete_folder(folder, made)
        return said_in
    with write_alone(path, lambda: beside(said_in)) as aside:
        if suffix == ".gif":
            _save_gif(aside, frames, count, fps, made)
        elif suffix == ".webp":
            _save_webp(aside, frames, count, fps, made)
        elif sound is None:
            _encode(aside, frames, fps, made)
        else:
            silent = aside.with_name(f"{aside.stem}.silent{suffix}")
            try:
                _encode(silent, frames, fps, made)
                add_sound(silent, sound, aside)
            finally:
                silent.unlink(missing_ok=True)
        said_in += [] if made is None else complete(aside, made)
    return said_in


def write_picture(
    path: Path, picture: np.ndarray, made: Made, beside: Beside = lambda said_in: None
) -> list[str]:
    """Write one picture uint8 (H, W, 3) as PNG; made, beside, and what it returns: as `write`."""
    said_in = list[str]()
    with write_alone(path, lambda: beside(said_in)) as aside:
        _save_png(aside, picture, made)
        said_in += complete(aside, made)
    return said_in


def _encode(path: Path, frames: Iterable[np.ndarray], fps: float, made: Made | None) -> None:
    codec = VP9 if path.suffix.lower() == ".webm" else h264()
    encode(path, frames, fps, codec, "" if made is None else made.comment)


def _save_gif(
    path: Path, frames: Iterable[np.ndarray], count: int, fps: float, made: Made | None
) -> None:
    pictures = (Image.fromarray(frame).quantize(256, Image.Quantize.MEDIANCUT) for frame in frames)
    said = {} if made is None else {"comment": made.comment}
    # Times in a GIF are hundredths of a second
    next(pictures).save(path, format="GIF", save_all=True, append_images=pictures, loop=0,
                        duration=_durations(count, fps, 10), optimize=False, **said)  # fmt: skip


def _save_webp(
    path: Path, frames: Iterable[np.ndarray], count: int, fps: float, made: Made | None
) -> None:
    first, *others = (Image.fromarray(frame) for frame in frames)
    said = {} if made is None else {"xmp": made.packet}
    first.save(path, format="WEBP", save_all=True, append_images=others, loop=0,
               duration=_durations(count, fps, 1), quality=WEBP_QUALITY, **said)  # fmt: skip


def _save_png(path: Path, frame: np.ndarray, made: Made | None) -> None:
    Image.fromarray(frame).save(path, compress_level=3, pnginfo=png_texts(made))


def _durations(count: int, fps: float, unit: int) -> list[int]:
    """How long each frame is shown, in ms and multiples of `unit` ms, such that none is ever late
    by more than half a unit."""
    ends = np.round(np.arange(count + 1) * 1000 / fps / unit).astype(int) * unit
    return np.diff(ends).tolist()
