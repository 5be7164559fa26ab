"""What containers say of a video, and what is missing or wrong in them."""

import os
import resource
import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.media import container, output, video
from animateanywhere.media.mp4_boxes import impossible_count
from animateanywhere.media.sound import Sound, read_sound
from animateanywhere.media.source import Part
from animateanywhere.media.try_codecs import same_priority
from tests.media.clips import (
    encode,
    error,
    moving_square,
    with_alpha_webm,
    with_display_matrix,
    with_edit_list,
)

EVEN = {"sc_threshold": "0", "bf": "0"}  # key frames at even distances, no frame ahead of time
SHARP = {"crf": "8", "preset": "ultrafast"}


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_an_edit_list_shows_exactly_its_frames(codec: str, tmp_path: Path) -> None:
    frames = moving_square(40, width=160)
    path = encode(tmp_path / "a.mp4", frames, codec, options={"bf": "2", "crf": "8"})
    with_edit_list(path, 15, 20, 30)
    clip = video.read(path)
    assert len(clip.frames) == 20  # and not refused as truncated
    assert not [finding for finding in clip.findings if "truncated" in finding.text]
    best = [int(np.argmin([error(shown, frame) for frame in frames])) for shown in clip.frames]
    assert best == list(range(15, 35))
    assert np.allclose(video.frame_times(clip), np.arange(20) / 30)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda f: f),
        ((-1, 0, 0, 1), lambda f: f[:, ::-1]),
        ((1, 0, 0, -1), lambda f: f[::-1]),
        ((-1, 0, 0, -1), lambda f: f[::-1, ::-1]),
        ((0, 1, -1, 0), lambda f: np.rot90(f, -1)),
        ((0, -1, 1, 0), lambda f: np.rot90(f)),
        ((0, 1, 1, 0), lambda f: f.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda f: np.rot90(f, 2).transpose(1, 0, 2)),
    ],
)
def test_all_eight_orientations(matrix: tuple[int, ...], shown, tmp_path: Path) -> None:
    frames = moving_square(3)
    path = encode(tmp_path / "a.mp4", frames, options=SHARP)
    with_display_matrix(path, *matrix)
    read = video.read(path).frames[1]
    assert read.shape == shown(frames[1]).shape
    assert error(read, shown(frames[1])) < 4


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_of_webm(codec: str, tmp_path: Path) -> None:
    frames = np.concatenate([moving_square(6), np.zeros((6, 64, 96, 1), np.uint8)], -1)
    frames[:, 16:48, 32:64, 3] = 255
    clip = video.read(with_alpha_webm(tmp_path / "a.webm", frames, codec))
    assert clip.alpha is not None and clip.alpha.shape == (6, 64, 96)
    assert error(clip.alpha, frames[..., 3]) < 3
    assert error(clip.frames[:, 20:44, 36:60], frames[:, 20:44, 36:60, :3]) < 8
    assert np.abs(clip.frames[:, :8].astype(int) - 128).max() <= 2


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [("prores_ks", "mov", "yuva444p10le"), ("png", "mov", "rgba"), ("qtrle", "mov", "argb")],
)
def test_alpha_of_editors(codec: str, suffix: str, pix_fmt: str, tmp_path: Path) -> None:
    frames = np.concatenate([moving_square(3), np.zeros((3, 64, 96, 1), np.uint8)], -1)
    frames[:, 16:48, 32:64, 3] = 255
    path = encode(tmp_path / f"a.{suffix}", frames, codec, pix_fmt, source="rgba")
    clip = video.read(path)
    assert clip.alpha is not None and error(clip.alpha, frames[..., 3]) < 2


def test_opaque_alpha_is_none(tmp_path: Path) -> None:
    frames = np.concatenate([moving_square(3), np.full((3, 64, 96, 1), 255, np.uint8)], -1)
    path = encode(tmp_path / "a.mov", frames, "png", "rgba", source="rgba")
    assert video.read(path).alpha is None


def two_streams(path: Path, default: int | None, cover: bool = False) -> None:
    """A small dark stream and a large bright one, of which one may be the default."""
    with av.open(str(path), "w") as file:
        streams = []
        for number, side in enumerate((32, 64)):
            stream = file.add_stream("mpeg4", rate=10)
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            stream.disposition = av.stream.Disposition(0)
            if number == default:
                stream.disposition = av.stream.Disposition.default
            streams.append(stream)
        if cover:
            streams[0].disposition = av.stream.Disposition.attached_pic
        for number, stream in enumerate(streams):
            for _ in range(4):
                picture = np.full((stream.height, stream.width, 3), 40 + 160 * number, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            file.mux(stream.encode())


def test_the_default_stream_else_the_largest_is_read_and_named(tmp_path: Path) -> None:
    for default, side in ((0, 32), (1, 64), (None, 64)):
        two_streams(tmp_path / "a.mkv", default)
        clip = video.read(tmp_path / "a.mkv")
        assert clip.frames.shape[1] == side
        assert [f"number {1 if side == 32 else 2} is read" in f.text for f in clip.findings] == [
            True
        ]


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        sound = file.add_stream("aac", rate=44100)
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 44100
        file.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        file.mux(sound.encode(frame))
        for stream in (cover, sound):
            file.mux(stream.encode())
    with pytest.raises(UsageError, match="only sound"):
        video.read(tmp_path / "a.mp4")


def test_interlaced_video_is_deinterlaced_and_named(tmp_path: Path) -> None:
    """Each field shows another moment: a bar that moves 4 pixels a field."""
    moments = np.full((24, 64, 96, 3), 40, np.uint8)
    for index, moment in enumerate(moments):
        moment[:, 4 * index : 4 * index + 8] = 220
    woven = moments[::2].copy()
    woven[:, 1::2] = moments[1::2, 1::2]
    flags = av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
    path = encode(
        tmp_path / "a.mpg", woven, "mpeg2video", fps=25, options={"q:v": "2", "top": "1"},
        flags=int(flags), bit_rate=8_000_000,
    )  # fmt: skip
    clip = video.read(path)
    assert "interlaced video, deinterlaced" in [finding.text for finding in clip.findings]
    assert len(clip.frames) == 12
    # Combing: neighbor lines differ where one field has the bar and the other has not
    comb = [
        np.abs(np.diff(f[8:56, :, 1].astype(int), axis=0)).mean()
        for f in (woven[5], clip.frames[5])
    ]
    assert comb[1] < comb[0] / 5


def damaged_frame(path: Path, number: int) -> None:
    """Change bytes inside of one coded frame."""
    with av.open(str(path)) as file:
        entry = file.streams.video[0].index_entries[number]
        place, size = entry.pos, entry.size
    data = bytearray(path.read_bytes())
    middle = place + size // 3
    data[middle : middle + 24] = bytes(255 - byte for byte in data[middle : middle + 24])
    path.write_bytes(data)


def noisy(frames: int) -> np.ndarray:
    """Frames that need many bytes each."""
    rng = np.random.default_rng(0)
    return (moving_square(frames) // 2 + rng.integers(0, 90, (frames, 64, 96, 3))).astype(np.uint8)


def test_damaged_frames_and_what_is_predicted_from_them_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = encode(tmp_path / "a.mp4", noisy(40), options={"crf": "20", "g": "10"} | EVEN)
    whole = video.read(path)
    damaged_frame(path, 22)  # in the third of four groups of ten
    clip = video.read(path)
    kept = np.round(clip.times * 30).astype(int)
    assert 30 <= len(kept) < 40 and set(range(20)) | set(range(30, 40)) <= set(kept)
    assert 22 not in kept
    assert error(clip.frames, whole.frames[kept]) < 0.5  # nothing of it is left
    count = 40 - len(kept)
    assert f"{count} of 40 frames are damaged and left out" in capsys.readouterr().err


def test_a_damaged_beginning_hides_neither_size_nor_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = encode(tmp_path / "a.mp4", noisy(40), options={"crf": "20", "g": "10"} | EVEN)
    damaged_frame(path, 0)
    with pytest.raises(UsageError, match="damaged"):
        video.read(path, max_frames=1)
    first = video.read_first(path)
    assert first.frames.shape[1:] == (64, 96, 3) and first.source_fps == pytest.approx(30)
    assert not capsys.readouterr().err


def test_of_a_video_that_is_mostly_damaged_the_rest_is_used(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", noisy(40), options={"crf": "20", "g": "40"} | EVEN)
    whole = video.read(path)
    damaged_frame(path, 10)
    clip = video.read(path)
    assert len(clip.frames) == 10 and error(clip.frames, whole.frames[:10]) < 0.5
    assert "30 of 40 frames are damaged and left out" in [f.text for f in clip.findings]
    damaged_frame(path, 0)
    with pytest.raises(
        UsageError, match="40 of 40 frames are damaged, or predicted from damaged ones"
    ):
        video.read(path)


@pytest.mark.parametrize(("number", "left"), [(13, 37), (32, 32)])  # lost inside, lost at the end
def test_damaged_frames_of_vp9_are_left_out_and_nothing_stands_in_for_them(
    number: int, left: int, tmp_path: Path
) -> None:
    options = {"crf": "30", "b": "0", "cpu-used": "8", "deadline": "realtime", "lag-in-frames": "0"}
    path = encode(tmp_path / "a.mkv", noisy(40), "libvpx-vp9", options=options, gop_size=16)
    whole = video.read(path)
    with av.open(str(path)) as file:
        packets = [p for p in file.demux(video=0) if p.size]
        keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        place, size = packets[number].pos, packets[number].size
    assert keys == [0, 16, 32]
    data = bytearray(path.read_bytes())
    middle = place + size // 3
    data[middle : middle + 24] = bytes(255 - byte for byte in data[middle : middle + 24])
    path.write_bytes(data)
    clip = video.read(path)
    kept = np.round(clip.times * 30).astype(int)
    assert len(kept) == left and number not in kept
    assert error(clip.frames, whole.frames[kept]) < 0.5
    assert f"{40 - left} of 40 frames are damaged and left out" in [f.text for f in clip.findings]


def test_vp9_keeps_its_rotation_and_its_colors(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_square(3), "libvpx-vp9")
    with_display_matrix(path, 0, 1, -1, 0)
    assert video.read(path).frames.shape == (3, 96, 64, 3)
    path = encode(tmp_path / "a.webm", moving_square(3), "libvpx-vp9", colors=(9, 9, 16, 1))
    assert "HDR video (PQ), tone-mapped to BT.709" in [f.text for f in video.read(path).findings]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_the_rest_of_a_truncated_file_is_read_and_the_loss_said_first(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "mp4":
        video.write(path, noisy(40), 10)  # its index is in front
    else:
        encode(path, noisy(40), options={"g": "5"}, fps=10)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    clip = video.read(path)
    assert 15 <= len(clip.frames) <= 27
    first = capsys.readouterr().err.splitlines()[0]
    assert "truncated: 40% of the file is missing" in first


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", noisy(10))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UsageError, match="truncated, and the index at its end is missing"):
        video.read(path)


def test_pipes_are_refused_and_a_redirected_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="a pipe or device, which can be read only once"):
        video.read(tmp_path / "pipe")
    path = encode(tmp_path / "ein schönes Video.mp4", moving_square(4))
    with open(path) as file:
        assert len(video.read(f"/dev/fd/{file.fileno()}").frames) == 4
    (tmp_path / "link").symlink_to(path)
    assert len(video.read(tmp_path / "link").frames) == 4


def test_start_and_frames_choose_the_part(tmp_path: Path) -> None:
    frames = moving_square(24)
    path = encode(tmp_path / "a.mp4", frames.repeat(15, 0), fps=30, options=SHARP)  # 12 s
    for start in (1.0, 11.0):  # decoded from the beginning, and from a key frame before it
        clip = video.read(path, fps=2, part=Part(start, 2))
        assert len(clip.frames) == 2
        assert np.allclose(clip.times, [start, start + 0.5])
        assert error(clip.frames[0], frames[int(start * 2)]) < 4
    assert clip.more is False and video.read(path, fps=2, part=Part(9, 2)).more
    assert clip.length == pytest.approx(12)
    with pytest.raises(UsageError, match="nothing is left after 13 s; it lasts 12.0 s"):
        video.read(path, part=Part(13))


def test_the_rate_of_the_input_can_be_stated(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_square(24), fps=24)
    assert len(video.read(path, fps=8, part=Part(fps=12)).frames) == 16


def test_a_jump_of_the_timestamps_is_closed_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for index, picture in enumerate(moving_square(20)):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = index + (1_000_000 if index >= 10 else 0)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    clip = video.read(path, fps=10)
    assert len(clip.frames) == 20
    assert any("timestamps jump at 0.9 s" in finding.text for finding in clip.findings)


def test_frames_of_several_sizes_are_scaled_to_the_first_and_named(tmp_path: Path) -> None:
    """Two recordings in a row, as of a camera that was turned."""
    sizes = ((64, 96), (96, 64))
    parts = [
        encode(tmp_path / f"{number}.ts", moving_square(12, *size), "mpeg2video", fps=25)
        for number, size in enumerate(sizes)
    ]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = video.read(tmp_path / "a.ts")
    assert clip.frames.shape[1:3] == (64, 96) and len(clip.frames) >= 20
    assert any("several sizes, all scaled to 96 x 64" in f.text for f in clip.findings)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for picture in moving_square(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())
    assert video.read(path).frames.shape == (3, 64, 128, 3)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size"),
    [
        ("libx265", "yuv420p10le", (64, 96)),
        ("libsvtav1", "yuv420p10le", (64, 96)),
        ("libx264", "yuv422p10le", (96, 64)),
        ("ffv1", "yuv444p12le", (64, 96)),
        ("ffv1", "yuv420p", (63, 95)),
        ("libx264", "gray", (64, 96)),
    ],
)
def test_codecs_and_depths(codec: str, pix_fmt: str, size: tuple[int, int], tmp_path: Path) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    frames = moving_square(4, *size)
    quiet = {"libx265": {"x265-params": "log-level=0"}, "libsvtav1": {"preset": "10"}}
    with same_priority():
        path = encode(tmp_path / "a.mkv", frames, codec, pix_fmt, options=quiet.get(codec))
    shown = video.read(path).frames
    truth = frames if pix_fmt != "gray" else frames @ np.array([0.299, 0.587, 0.114])[:, None]
    assert shown.shape == frames.shape
    assert error(shown, truth) < 9


def test_extreme_sizes_in_a_header_are_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", moving_square(2), "mjpeg", "yuvj420p")
    data = path.read_bytes()
    start = data.index(b"\xff\xc0") + 5  # of a JPEG's frame
    shape, huge = data[start : start + 4], struct.pack(">HH", 16_000, 16_000)
    assert shape == struct.pack(">HH", 64, 96)
    data = data.replace(b"\x08" + shape, b"\x08" + huge)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError):
        video.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_playlist_reads_no_network(tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    with pytest.raises(UsageError):
        video.read(path)


def test_bytes_that_a_container_announces(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv", "webm", "avi", "mov"):
        codec = "libvpx" if suffix == "webm" else "mpeg4"
        path = encode(tmp_path / f"a.{suffix}", moving_square(3), codec)
        assert container.missing_bytes(path) == 0
        data = path.read_bytes()
        path.write_bytes(data[:-7])
        assert container.missing_bytes(path) == 7


def test_a_fragment_that_announces_more_frames_than_it_holds_is_refused(tmp_path: Path) -> None:
    """FFmpeg would take memory for all of them, gigabytes for a file of kilobytes."""
    path = encode(
        tmp_path / "clip.mp4", moving_square(6), options={"g": "6"},
        of_file={"movflags": "frag_keyframe+empty_moov"},
    )  # fmt: skip
    assert impossible_count(path) is None and len(video.read(path).frames)
    data = bytearray(path.read_bytes())
    place = data.index(b"trun") + 8
    assert int.from_bytes(data[place : place + 4], "big") == 6
    data[place : place + 4] = (2**31).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(UsageError, match="a fragment announces 2147483648 frames"):
        video.read(path)
    assert read_sound(path, 1.0) is None


def unknown_codec(path: Path) -> None:
    """Give the AAC sound of an MP4 file a kind that no decoder knows."""
    data = bytearray(path.read_bytes().replace(b"mp4a", b"zzzz"))
    data[data.index(b"\x04\x80\x80\x80", data.index(b"esds")) + 5] = 0xEE  # the kind of codec
    path.write_bytes(data)


def test_sound_of_an_unknown_kind_is_none(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    wave = np.zeros((1, 48000), np.float32)
    output.write(path, iter(moving_square(8)), 8, 8.0, Sound(wave))
    assert read_sound(path, 1.0) is not None
    unknown_codec(path)
    assert read_sound(path, 1.0) is None and len(video.read(path).frames) == 8


def test_times_end_where_a_container_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the frames do; the error is of FFmpeg, in the middle of the file."""
    path = encode(tmp_path / "clip.mp4", moving_square(8))
    clip, real = video.read(path), container.open_container

    class Broken:
        def __init__(self, file: Any) -> None:
            self.file, self.format, self.streams = file, file.format, file.streams

        def __enter__(self) -> "Broken":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def demux(self, stream: object) -> Iterator[object]:
            yield from islice(self.file.demux(stream), 4)
            raise av.error.MemoryError(12, "Cannot allocate memory")

    monkeypatch.setattr(container, "open_container", lambda path: Broken(real(path)))
    assert len(video.frame_times(clip)) == 4
