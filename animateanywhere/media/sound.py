"""The sound of a video: read for a part of it, and put into another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.media.container import choose_stream, open_container

RATE = 48000  # samples per second: every encoder here takes it
FRAME = 960  # samples that are encoded at once: 20 ms, as Opus demands
ENCODERS = {".mp4": ("aac", "mp4", 160_000), ".webm": ("libopus", "webm", 128_000)}
# Seconds before the beginning from which packets are kept: the first ones only prepare a decoder
LEAD = {"mp4": 0.06, "webm": 0.0}
# Codecs whose packets a container holds as they are, and players know there
HELD = {".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus"}, ".webm": {"opus", "vorbis"}}


class Sound(NamedTuple):
    """Samples float32 (channels, N) in [-1, 1] at `RATE`, one channel or two."""

    samples: np.ndarray


class Packets(NamedTuple):
    """The sound of a video file, to be copied as it is encoded: from `start` seconds after its
    first picture on, for so many seconds, to the nearest packet (some 20 ms)."""

    path: Path
    start: float
    seconds: float


def sound_to_copy(path: Path, seconds: float, start: float, suffix: str) -> Packets | Sound | None:
    """The sound of a part of a video for a file with this suffix: copied if that can hold its
    codec, else decoded. None where there is none, or none that can be decoded."""
    if not path.is_file():
        return None
    try:
        with open_container(path) as container:
            choose_stream(container, path)
            stream = next(iter(container.streams.audio), None)
            codec = None if stream is None else stream.codec_context
            if codec is not None and codec.codec.canonical_name in HELD[suffix]:
                return Packets(path, start, seconds)
    except (av.error.FFmpegError, UsageError):
        return None
    return read_sound(path, seconds, start)


def has_sound(path: Path) -> bool:
    """Whether a video file has any sound, decodable or not."""
    try:
        with open_container(path) as container:
            return bool(container.streams.audio)
    except (av.error.FFmpegError, UsageError):
        return False


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


def add_sound(silent: Path, sound: Sound | Packets, out: Path) -> None:
    """Write the video in `silent` with a sound to `out`; both have the suffix .mp4 or .webm. The
    pictures are copied, not encoded again."""
    codec, form, bits = ENCODERS[out.suffix.lower()]
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if form == "mp4" else {})}
    with ExitStack() as stack:
        source = stack.enter_context(av.open(f"file:{silent}"))
        target = stack.enter_context(
            av.open(f"file:{out}", "w", format=form, container_options=options)
        )
        target.metadata.update(_said(source.metadata))
        pictures = target.add_stream_from_template(source.streams.video[0])
        shown = _packets(source, source.streams.video[0], pictures)
        if isinstance(sound, Packets):
            container = stack.enter_context(open_container(sound.path))
            stream: Any = target.add_stream_from_template(container.streams.audio[0])
            first = choose_stream(container, sound.path)
            begin = float((first.start_time or 0) * (first.time_base or 0)) + sound.start
            if sound.start:
                container.seek(max(int(begin * av.time_base), 0))
            span = (-LEAD[form], sound.seconds)
            heard = _packets(container, container.streams.audio[0], stream, begin, span)
        else:
            stream = target.add_stream(codec, rate=RATE)
            stream.layout = "mono" if len(sound.samples) == 1 else "stereo"
            stream.bit_rate = bits
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            heard = ((_time(packet), packet) for packet in _encoded(sound, stream))
        for _, packet in merge(shown, heard, key=lambda timed: timed[0]):
            target.mux(packet)


def _said(metadata: dict[str, str]) -> dict[str, str]:
    """What a file says of itself, without what its container says."""
    return {key: value for key, value in metadata.items() if key.lower() == "comment"}


def _packets(
    container: Any, stream: Any, target: Any, begin: float = 0.0,
    span: tuple[float, float] | None = None,
) -> Iterator[tuple[float, Any]]:  # fmt: skip
    """Packets of a stream for another container, with their times since `begin`; span: the first
    and the last time, without an end."""
    shift = round(begin / stream.time_base)
    for packet in container.demux(stream):
        if packet.dts is None or packet.pts is None:
            continue
        time = float((packet.pts - shift) * stream.time_base)
        if span is not None and time >= span[1]:
            break
        if span is None or time >= span[0]:
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = target
            yield _time(packet), packet


def _encoded(sound: Sound, stream: Any) -> Iterator[Any]:
    """The packets of samples."""
    fifo = av.AudioFifo()
    whole = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(sound.samples), "fltp", stream.layout.name
    )
    whole.sample_rate, whole.pts, whole.time_base = RATE, 0, Fraction(1, RATE)
    fifo.write(whole)
    size = stream.codec_context.frame_size or FRAME
    while (part := fifo.read(size, partial=True)) is not None:
        yield from stream.encode(part)
    yield from stream.encode(None)


def _time(packet: Any) -> float:
    return float(packet.dts * packet.time_base)
