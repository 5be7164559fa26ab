"""Videos in every format, with sound, at any frame rate."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.formats import format_of
from animateanywhere.media.output import arranged, playback, write
from animateanywhere.media.provenance import GENERATED
from animateanywhere.media.sound import RATE, Packets, Sound, read_sound, sound_to_copy
from animateanywhere.media.video import read


def clip(frames: int = 6, height: int = 48, width: int = 32) -> np.ndarray:
    """A red square that moves down on blue."""
    out = np.zeros((frames, height, width, 3), np.uint8)
    out[..., 2] = 160
    for index, frame in enumerate(out):
        frame[4 * index : 4 * index + 16, 8:24] = 200, 30, 30
    return out


def tone(seconds: float, begin: float = 0.0, channels: int = 1) -> Sound:
    """A beep of 1000 Hz from `begin` on."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.where(time >= begin, 0.5 * np.sin(2 * np.pi * 1000 * time), 0)
    return Sound(np.repeat(wave[None], channels, 0).astype(np.float32))


def onset(sound: Sound) -> float:
    """When a sound begins, in seconds."""
    return float(np.flatnonzero(np.abs(sound.samples[0]) > 0.1)[0] / RATE)


def durations(path: Path) -> list[int]:
    with Image.open(path) as picture:
        found = []
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            found.append(picture.info["duration"])
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_a_video_in_each_format(tmp_path: Path, suffix: str) -> None:
    frames, path = clip(), tmp_path / f"a{suffix}"
    write(path, frames, 6, 8.0)
    found = read(path)
    assert found.frames.shape == frames.shape and found.fps == pytest.approx(8.0, rel=0.05)
    assert np.abs(found.frames.astype(int) - frames).mean() < 8
    first = path.read_bytes()
    write(path, frames, 6, 8.0)
    assert path.read_bytes() == first
    assert sorted(tmp_path.iterdir()) == [path]


def test_animated_pictures_keep_the_time_and_loop(tmp_path: Path) -> None:
    for name in ("a.gif", "a.webp"):
        write(tmp_path / name, clip(), 6, 24.0)
        assert abs(sum(durations(tmp_path / name)) - 250) <= 5
        with Image.open(tmp_path / name) as picture:
            assert picture.info["loop"] == 0 and picture.n_frames == 6
            picture.seek(5)
            shown = np.asarray(picture.convert("RGB")).astype(int)
            assert np.abs(shown - clip()[5]).mean() < 8


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    write(tmp_path / "frames", clip(), 6, 8.0)
    write(tmp_path / "frames", clip()[:3], 3, 8.0)  # replaces its own
    assert [one.name for one in sorted((tmp_path / "frames").iterdir())] == [
        "0000.png", "0001.png", "0002.png"
    ]  # fmt: skip
    assert (np.asarray(Image.open(tmp_path / "frames/0002.png")) == clip()[2]).all()
    (tmp_path / "frames/letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds letter.txt"):
        write(tmp_path / "frames", clip(), 6, 8.0)


@pytest.mark.parametrize("name", ["a.mov", "a.mpg4", "a.png"])
def test_other_formats_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.mp4 \(.*\.webm .*\.gif .*\.webp .*without a suffix"):
        format_of(tmp_path / name)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_stays_in_time(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, clip(16), 16, 8.0, tone(2.0, 0.75, channels))
    assert len(read(path).frames) == 16
    found = read_sound(path, 2.0)
    assert found is not None and len(found.samples) == channels
    assert onset(found) == pytest.approx(0.75, abs=0.012)
    later = read_sound(path, 1.0, start=0.5)
    assert later is not None and later.samples.shape[1] == RATE
    assert onset(later) == pytest.approx(0.25, abs=0.012)
    longer = read_sound(path, 3.0)  # silent at the end
    assert longer is not None and not longer.samples[:, round(2.2 * RATE) :].any()
    with av.open(str(path)) as container:
        length = [float(s.duration * s.time_base) for s in container.streams if s.duration]
    assert all(abs(seconds - 2.0) < 0.06 for seconds in length)


@pytest.mark.parametrize("preview", [False, True])
def test_sound_counts_from_the_first_picture(tmp_path: Path, preview: bool) -> None:
    """Pictures that begin half a second after the sound, as some recorders write them; also beside
    a small preview, which is not the stream that is read."""
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        small = container.add_stream("libx264", rate=8) if preview else None
        if small is not None:
            small.width, small.height, small.pix_fmt = 16, 24, "yuv420p"
            small.disposition = av.stream.Disposition(0)
        pictures = container.add_stream("libx264", rate=8)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 48, "yuv420p"
        pictures.disposition = av.stream.Disposition.default
        audio = container.add_stream("pcm_s16le", rate=RATE)
        audio.layout = "mono"
        if small is not None:
            one = av.VideoFrame.from_ndarray(clip(1, 24, 16)[0], format="rgb24")
            one.pts, one.time_base = 0, Fraction(1, 8)
            container.mux([*small.encode(one), *small.encode(None)])
        for number, frame in enumerate(clip(8)):
            one = av.VideoFrame.from_ndarray(frame, format="rgb24")
            one.pts, one.time_base = number + 4, Fraction(1, 8)
            container.mux(pictures.encode(one))
        wave = (tone(1.5, 1.0).samples * 32767).astype(np.int16)
        one = av.AudioFrame.from_ndarray(wave, "s16", "mono")
        one.sample_rate, one.pts, one.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(audio.encode(one))
        for stream in (pictures, audio):
            container.mux(stream.encode(None))
    found = read_sound(path, 1.0)
    assert found is not None and onset(found) == pytest.approx(0.5, abs=0.012)


def test_files_without_sound_have_none(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", clip(), 6, 8.0)
    (tmp_path / "a.json").write_text("{}")
    assert read_sound(tmp_path / "a.mp4", 1.0) is None
    assert read_sound(tmp_path / "a.json", 1.0) is None
    assert read_sound(tmp_path, 1.0) is None


def test_frames_are_repeated_or_left_out_for_another_rate() -> None:
    assert playback(3, 8, 8).tolist() == [0, 1, 2]
    assert playback(3, 8, 24).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert playback(4, 8, 4).tolist() == [0, 2]
    assert playback(2, 8, 30).tolist() == [0] * 4 + [1] * 4
    assert playback(4, 8, 8, "forth and back").tolist() == [0, 1, 2, 3, 2, 1]
    assert playback(4, 8, 8, "circle").tolist() == [0, 1, 2, 3]
    assert playback(1, 8, 8, "forth and back").tolist() == [0]


def test_frames_are_kept_only_as_long_as_they_are_shown_again() -> None:
    frames = [np.full((1, 1, 3), number, np.uint8) for number in range(5)]
    order = playback(5, 8, 16, "forth and back")
    assert [int(frame[0, 0, 0]) for frame in arranged(iter(frames), order)] == order.tolist()
    assert [int(f[0, 0, 0]) for f in arranged(iter(frames), np.array([0, 2, 4]))] == [0, 2, 4]


@pytest.mark.parametrize("codec, suffix", [("aac", ".mp4"), ("libmp3lame", ".mp4"),
                                           ("libopus", ".webm")])  # fmt: skip
def test_sound_is_copied_as_it_is_encoded(tmp_path: Path, codec: str, suffix: str) -> None:
    """Also from the middle of a file whose pictures begin after its sound."""
    source = with_sound(tmp_path / "scene.mkv", codec, tone(3.0, 1.25), pictures=0.5)
    for start in (0.0, 0.5):
        sound = sound_to_copy(source, 1.5, start, suffix)
        assert isinstance(sound, Packets)
        out = tmp_path / f"out{suffix}"
        write(out, clip(12), 12, 8.0, sound, GENERATED)
        with av.open(str(out)) as file:
            said = {key.lower(): value for key, value in file.metadata.items()}
            assert said["comment"] == GENERATED.comment
            kept = {bytes(packet) for packet in file.demux(file.streams.audio[0]) if packet.size}
        with av.open(str(source)) as file:
            own = {bytes(packet) for packet in file.demux(file.streams.audio[0]) if packet.size}
        assert kept and kept <= own
        heard = read_sound(out, 1.5)
        assert heard is not None
        assert onset(heard) == pytest.approx(1.25 - 0.5 - start, abs=0.001 if suffix == ".mp4"
                                             else 0.01)  # fmt: skip
        first = out.read_bytes()
        write(out, clip(12), 12, 8.0, sound, GENERATED)
        assert out.read_bytes() == first


def test_sound_that_a_file_cannot_hold_is_encoded(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "scene.mkv", "pcm_s16le", tone(3.0, 1.0))
    sound = sound_to_copy(source, 1.5, 0.25, ".mp4")
    assert isinstance(sound, Sound)
    write(tmp_path / "out.mp4", clip(12), 12, 8.0, sound)
    heard = read_sound(tmp_path / "out.mp4", 1.5)
    assert heard is not None and onset(heard) == pytest.approx(0.75, abs=0.03)
    assert sound_to_copy(tmp_path, 1, 0, ".mp4") is None


def with_sound(path: Path, codec: str, sound: Sound, pictures: float = 0.0) -> Path:
    """A video of 3 s with a sound; its pictures begin after so many seconds."""
    with av.open(str(path), "w") as file:
        shown = file.add_stream("libx264", rate=8)
        shown.width, shown.height, shown.pix_fmt = 32, 48, "yuv420p"
        heard = file.add_stream(codec, rate=RATE, layout="mono")
        for index, picture in enumerate(clip(24)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index + round(8 * pictures), Fraction(1, 8)
            file.mux(shown.encode(frame))
        file.mux(shown.encode())
        samples = sound.samples if codec != "pcm_s16le" else sound.samples * 32767
        kind = {"pcm_s16le": "s16", "libmp3lame": "fltp", "libopus": "flt"}.get(codec, "fltp")
        dtype = np.int16 if kind == "s16" else np.float32
        size = heard.codec_context.frame_size or 960
        for start in range(0, samples.shape[1] - size + 1, size):
            some = np.ascontiguousarray(samples[:, start : start + size].astype(dtype))
            part = av.AudioFrame.from_ndarray(some, kind, "mono")
            part.sample_rate, part.pts, part.time_base = RATE, start, Fraction(1, RATE)
            file.mux(heard.encode(part))
        file.mux(heard.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ""])
def test_what_a_killed_process_left_of_a_result_goes_with_the_next(
    tmp_path: Path, suffix: str
) -> None:
    left = tmp_path / f".x{suffix}.0123abcd.part"
    left.mkdir()
    (left / f"x{suffix or '.png'}").write_bytes(b"half")
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    write(tmp_path / f"x{suffix}", iter(frames), 2, 8.0)
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]
