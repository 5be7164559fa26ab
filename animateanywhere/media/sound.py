"""The sound of a video: read for a part of it, and put into another one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.media.container import choose_stream, open_container

RATE = 48000  # samples per second: every encoder here takes it
FRAME = 960  # samples that are encoded at once: 20 ms, as Opus demands
ENCODERS = {".mp4": ("aac", "mp4", 160_000), ".webm": ("libopus", "webm", 128_000)}


class Sound(NamedTuple):
    """Samples float32 (channels, N) in [-1, 1] at `RATE`, one channel or two."""

    samples: np.ndarray


def read_sound(path: Path, seconds: float, start: float = 0.0) -> Sound | None:
    """The sound of a video from `start` seconds after its first picture on, for so many seconds.

    Silence where there is none, before its beginning or after its end. None for a file without
    sound, and for one that is not a media file.
    """
    if not path.is_file():
        return None
    try:
        with open_container(path) as container:
            sounds = [one for one in container.streams.audio if one.codec_context is not None]
            if not sounds or not container.streams.video:
                return None
            pictures = choose_stream(container, path)
            # From where the times of its pictures count, see `decoding`
            first = float((pictures.start_time or 0) * (pictures.time_base or 0))
            return _samples(container, sounds[0], first + start, seconds)
    except (av.error.FFmpegError, UsageError):
        return None


def _samples(container: Any, stream: Any, begin: float, seconds: float) -> Sound | None:
    channels = 1 if stream.codec_context.channels == 1 else 2
    resampler = av.AudioResampler("fltp", "mono" if channels == 1 else "stereo", RATE)
    out = np.zeros((channels, round(seconds * RATE)), np.float32)
    heard = False
    for frame in container.decode(stream):
        time = frame.time or 0.0
        if time > begin + seconds:
            break
        for part in resampler.resample(frame):
            at = round(((part.time if part.time is not None else time) - begin) * RATE)
            samples = part.to_ndarray()[:, max(-at, 0) :]
            at = max(at, 0)
            room = out[:, at : at + samples.shape[1]]
            room[:] = samples[:, : room.shape[1]]
            heard |= room.size > 0
    return Sound(out) if heard else None


def add_sound(silent: Path, sound: Sound, out: Path) -> None:
    """Write the video in `silent` with a sound to `out`; both have the suffix .mp4 or .webm. The
    pictures are copied, not encoded again."""
    codec, form, bits = ENCODERS[out.suffix.lower()]
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if form == "mp4" else {})}
    with (
        av.open(f"file:{silent}") as source,
        av.open(f"file:{out}", "w", format=form, container_options=options) as target,
    ):
        pictures = target.add_stream_from_template(source.streams.video[0])
        stream: Any = target.add_stream(codec, rate=RATE)
        stream.layout = "mono" if len(sound.samples) == 1 else "stereo"
        stream.bit_rate = bits
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
        fifo = av.AudioFifo()
        whole = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound.samples), "fltp", stream.layout.name
        )
        whole.sample_rate, whole.pts, whole.time_base = RATE, 0, Fraction(1, RATE)
        fifo.write(whole)
        size = stream.codec_context.frame_size or FRAME
        while (part := fifo.read(size, partial=True)) is not None:
            target.mux(stream.encode(part))
        target.mux(stream.encode(None))
