from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.media import video
from animateanywhere.media.source import TRANSPARENT_GRAY


def moving_bar(frames=12, height=48, width=64):
    """A white bar that goes right, 4 pixels a frame, over a slope of gray."""
    out = np.zeros((frames, height, width, 3), np.uint8)
    out[:] = np.linspace(20, 120, height).astype(np.uint8)[None, :, None, None]
    for index in range(frames):
        out[index, :, 4 * index : 4 * index + 4] = 240
    return out


def encode(path, frames, codec="libx264", pix_fmt="yuv420p", times=None, source="rgb24"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format=source)
            frame.time_base = Fraction(1, 1000)
            frame.pts = times[index] if times else index * 100
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_write_then_read_gives_the_same_frames_and_rate(tmp_path):
    frames = moving_bar()
    video.write(tmp_path / "a.mp4", frames, 8)
    back = video.read(tmp_path / "a.mp4")
    assert back.fps == 8
    assert back.frames.shape == frames.shape
    assert np.abs(back.frames.astype(int) - frames).mean() < 3


def test_same_frames_same_bytes_and_a_path_with_spaces_and_umlauts(tmp_path):
    paths = tmp_path / "a.mp4", tmp_path / "mein schönes Vidéo: 1.mp4"
    for path in paths:
        video.write(path, moving_bar(), 8)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(video.read(paths[1]).frames) == 12


def test_odd_sizes_are_padded_by_the_edge(tmp_path):
    frames = moving_bar(4, 47, 63)
    video.write(tmp_path / "a.mp4", frames, 8)
    back = video.read(tmp_path / "a.mp4").frames
    assert back.shape == (4, 48, 64, 3)
    assert np.abs(back[:, :47, :63].astype(int) - frames).mean() < 4


def test_nothing_is_left_when_writing_fails(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        video.write(tmp_path / "a.mp4", moving_bar().astype(float), 8)
    assert list(tmp_path.iterdir()) == []


def test_rotation_flag_is_applied(tmp_path):
    frames = np.zeros((6, 48, 64, 3), np.uint8)
    frames[:, :24] = 200  # upper half white
    encode(tmp_path / "a.mp4", frames)
    data = (tmp_path / "a.mp4").read_bytes()
    unit = b"\x00\x01\x00\x00"
    identity = unit + bytes(4) * 3 + unit + bytes(4) * 3 + b"\x40\x00\x00\x00"
    quarter = bytes(4) + unit + bytes(4) + b"\xff\xff\x00\x00" + bytes(4) * 4 + b"\x40\x00\x00\x00"
    # the track's matrix, the last of its kind in the file, turned by 90 degrees clockwise
    place = data.rindex(identity)
    (tmp_path / "b.mp4").write_bytes(data[:place] + quarter + data[place + 36 :])
    turned = video.read(tmp_path / "b.mp4").frames
    assert turned.shape[1:] == (64, 48, 3)
    assert turned[:, :, 30:].mean() > 180  # top goes to the right
    assert turned[:, :, :18].mean() < 20


def test_variable_rate_is_resampled_by_timestamps(tmp_path):
    # frames at 0, 100, 200, then one long wait until 900, 1000 ms
    frames = moving_bar(5)
    encode(tmp_path / "a.mp4", frames, times=[0, 100, 200, 900, 1000])
    out = video.read(tmp_path / "a.mp4", fps=10).frames
    shown = out[:, 24].mean(-1).argmax(1) // 4
    assert list(shown[:11]) == [0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4]


def test_max_frames_and_size(tmp_path):
    video.write(tmp_path / "a.mp4", moving_bar(12, 90, 160), 24)
    out = video.read(tmp_path / "a.mp4", max_frames=3, fps=8, size=80).frames
    assert out.shape == (3, 45, 80, 3)


def test_transparency_is_blended_with_gray(tmp_path):
    frames = np.zeros((3, 32, 32, 4), np.uint8)
    frames[:, :, 16:] = (250, 0, 0, 255)
    encode(tmp_path / "a.mov", frames, codec="qtrle", pix_fmt="argb", source="rgba")
    out = video.read(tmp_path / "a.mov").frames
    assert (out[:, :, :16] == TRANSPARENT_GRAY).all()
    assert (out[:, :, 16:] == (250, 0, 0)).all()


def test_4k_is_scaled_while_decoding(tmp_path):
    encode(tmp_path / "a.mp4", moving_bar(2, 2160, 3840), codec="mpeg4")
    assert video.read(tmp_path / "a.mp4", size=320).frames.shape[1:] == (180, 320, 3)


def test_hevc(tmp_path):
    if "libx265" not in av.codecs_available:
        pytest.skip("this PyAV has no HEVC encoder")
    frames = moving_bar(4)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx265", rate=10, options={"x265-params": "log-level=0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    back = video.read(tmp_path / "a.mp4").frames
    assert np.abs(back.astype(int) - frames).mean() < 8


def test_folder_of_pictures(tmp_path):
    for name, level in (("b.png", 200), ("a.png", 10)):
        Image.new("RGB", (20, 30), (level,) * 3).save(tmp_path / name)
    out = video.read(tmp_path).frames
    assert out.shape == (2, 30, 20, 3)
    assert out[0, 0, 0, 0] == 10


def audio_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def truncated(path):
    video.write(path, moving_bar(40), 8)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])  # the index is in front, so it opens


def headless(path):
    encode(path, moving_bar(40))  # the index is at the end
    path.write_bytes(path.read_bytes()[:600])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.touch(), "empty"),
        (lambda path: path.write_text("not a video\n" * 50), "text file|cannot be read"),
        (lambda path: path.write_bytes(bytes(range(256)) * 40), "cannot be read|no video"),
        (lambda path: path.mkdir(), "folder without pictures"),
        (audio_only, "only sound"),
        (truncated, "truncated"),
        (headless, "truncated"),
    ],
)
def test_bad_files_are_one_line_errors(tmp_path, make, words):
    path = tmp_path / "ä b.mp4"
    make(path)
    with pytest.raises(UsageError, match=words) as error:
        video.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_contact_sheet_shows_its_rows(tmp_path):
    rows = [("dark", np.zeros((3, 10, 20, 3), np.uint8)), ("red", moving_bar(20) * 0 + 99)]
    video.contact_sheet(tmp_path / "a.png", rows, columns=4, cell=50)
    sheet = np.array(Image.open(tmp_path / "a.png"))
    assert sheet.shape[0] == 2 * (50 + 26)
    assert (sheet[40, 20] == 0).all()
    assert (sheet[76 + 40, 20] == 99).all()


@pytest.mark.parametrize(
    ("name", "shape"),
    [("AnyCharV/dance1.mp4", (4, 756, 426, 3)), ("AnyCharV/surf.mp4", (4, 512, 288, 3))],
)
def test_real_clips(name, shape):
    path = Path(__file__).parents[3] / "shared" / "real" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: real clips are not part of the project")
    assert video.read(path, max_frames=4, fps=8).frames.shape == shape


def test_the_same_frames_give_the_same_bytes(tmp_path):
    """Also tiny ones, where x264 with its defaults gave others now and then."""
    frames = video.read(EXAMPLES / "reference.mp4", max_frames=16, size=32).frames
    written, between = set(), []
    for index in range(80):
        video.write(tmp_path / "a.mp4", frames, 8)
        written.add((tmp_path / "a.mp4").read_bytes())
        between.append(np.full(index * 777 % 50_000, index, np.uint8))  # other memory each time
    assert len(written) == 1
