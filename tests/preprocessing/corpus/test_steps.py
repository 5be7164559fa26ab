"""The steps of building a corpus, each by itself: shots, person filter, quality filter, the row."""

import errno
import json
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from animateanywhere import puppets
from animateanywhere.core.frame_size import Size, nearest_size
from animateanywhere.media import video
from animateanywhere.media.source import WHOLE
from animateanywhere.preprocessing.corpus import quality, shots
from animateanywhere.preprocessing.corpus.clip import Preprocessor, boxes_around, largest_box
from animateanywhere.preprocessing.corpus.person import find_person
from animateanywhere.preprocessing.corpus.row import Row, to_sample
from animateanywhere.preprocessing.corpus.shots import equal_parts, find_shots
from animateanywhere.preprocessing.corpus.source import (
    Piece,
    Rejection,
    Settings,
    Source,
    Unfit,
    frames_of,
)
from animateanywhere.preprocessing.reference_clip import Chosen
from animateanywhere.preprocessing.weights import HUB
from tests.conftest import needs_blazepose
from tests.preprocessing.crowd import walker

FRAMES = frames_of(64, 8.0, 8, (1.0, 9 / 16, 16 / 9))
DETECTED = Chosen("mediapipe", "mediapipe", None, None, "", "")


@pytest.fixture(scope="module")
def clip() -> puppets.Clip:
    return walker(3, 16)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shots of 12 and 40 frames, 5 black frames, and a shot of 4 frames."""
    path = tmp_path_factory.mktemp("film") / "é.mp4"
    parts = [puppets.render(puppets.sample_spec(seed), count, 64).frames
             for seed, count in ((1, 12), (2, 40), (5, 4))]  # fmt: skip
    black = np.zeros((5, 64, 64, 3), np.uint8)
    video.write(path, np.concatenate([*parts[:2], black, parts[2]]), 8)
    return path


def test_shots_are_cut_at_cuts_and_black_frames(film: Path) -> None:
    found = find_shots(Source(film.name, film), FRAMES)
    assert [(one.start, one.frames) for one in found.pieces] == [(0, 12), (1.5, 20), (4, 20)]
    assert [(one.start, one.seconds, one.reason) for one in found.rejections] == [
        (6.5, 0.625, "black frames"), (7.125, 0.5, "too short"),
    ]  # fmt: skip
    assert len({one.key for one in found.pieces}) == 3
    assert all(one.key.isascii() for one in found.pieces)


def test_only_the_wanted_part_is_looked_at(film: Path) -> None:
    found = find_shots(Source(film.name, film, start=2.0, end=4.0), FRAMES)
    assert [(one.start, one.frames) for one in found.pieces] == [(2.0, 16)]
    late = find_shots(Source(film.name, film, start=60.0), FRAMES)
    assert late.rejections[0].reason == "unreadable" and "é.mp4" in late.rejections[0].text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"not a video\n", "text file"),
        ("noise.mp4", bytes(range(256)) * 9, "cannot be read"),
        ("half.mp4", None, "index at its end is missing|is missing"),
    ],
)
def test_what_cannot_be_read_is_named(
    film: Path, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(film.read_bytes()[:600] if content is None else content)
    found = find_shots(Source(name, path, line="m.csv, line 7"), FRAMES)
    assert not found.pieces and found.rejections[0].reason == "unreadable"
    text = found.rejections[0].text
    assert str(tmp_path) not in text and "line 7" in text
    assert name in text


def test_the_rest_of_a_video_that_cannot_be_read_is_named(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "cut.mp4", bytearray(film.read_bytes())
    with av.open(str(film)) as file:
        packets = [one for one in file.demux(video=0) if one.size]
    for one in packets[12:45]:  # most of the second shot
        data[one.pos : one.pos + one.size] = bytes(one.size)
    path.write_bytes(data)
    monkeypatch.setattr(shots, "CHUNK", 8)
    found = find_shots(Source("cut.mp4", path), FRAMES)
    last = found.rejections[-1]
    assert (last.reason, last.seconds) == ("damaged frames", None)
    assert last.text.startswith("cut.mp4: ")
    assert last.start == found.pieces[-1].start + found.pieces[-1].frames / 8


@pytest.mark.parametrize("way", ["blanked", "truncated"])
def test_a_damaged_end_is_named(film: Path, tmp_path: Path, way: str) -> None:
    """Also within what is looked at at once, where nothing follows that would show a gap."""
    path, data = tmp_path / "end.mp4", bytearray(film.read_bytes())
    with av.open(str(film)) as file:
        packets = [one for one in file.demux(video=0) if one.size]
    if way == "blanked":
        for one in packets[-7:]:
            data[one.pos : one.pos + one.size] = bytes(one.size)
    else:
        with av.open(str(film)) as file, av.open(
            str(path), "w", options={"movflags": "faststart"}
        ) as copy:  # fmt: skip
            stream = copy.add_stream_from_template(file.streams.video[0])
            for one in file.demux(video=0):
                if one.size:
                    one.stream = stream
                    copy.mux(one)
        data = bytearray(path.read_bytes())[: -sum(one.size for one in packets[-7:])]
    path.write_bytes(data)
    last = find_shots(Source("end.mp4", path), FRAMES).rejections[-1]
    assert last.reason == "damaged frames" and last.seconds and last.seconds >= 6 / 8
    assert last.start + last.seconds == pytest.approx(len(packets) / 8, abs=0.13)
    cut = find_shots(Source("end.mp4", path, end=last.start), FRAMES)
    assert not [one for one in cut.rejections if one.reason == "damaged frames"]


def test_a_missing_file_is_set_aside(tmp_path: Path) -> None:
    found = find_shots(Source("gone.mp4", tmp_path / "gone.mp4"), FRAMES)
    assert "no such file" in found.rejections[0].text


def test_a_file_at_which_a_library_fails_is_set_aside_and_a_full_disk_ends_the_build(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece, work = Piece(Source(film.name, film), 0.0, 12), Preprocessor(Settings(FRAMES))

    def fail(error: OSError) -> None:
        raise error

    for error in (OSError("image file is truncated"), PermissionError(errno.EACCES, "no")):
        monkeypatch.setattr(video, "read", lambda *_, error=error, **__: fail(error))
        found = work(piece)
        assert isinstance(found, Rejection) and found.reason == "failed"
    monkeypatch.setattr(video, "read", lambda *_, **__: fail(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        work(piece)


def test_equal_parts() -> None:
    assert equal_parts(40, 32) == [(0, 20), (20, 20)]
    assert equal_parts(32, 32) == [(0, 32)]
    assert sum(length for _, length in equal_parts(101, 32)) == 101


def decoded(frames: np.ndarray) -> video.Video:
    times = np.arange(len(frames)) / 8
    return video.Video(frames, 8.0, Path("x.mp4"), 8.0, times, None, None, False, [])


def test_a_drawing_is_no_person(pictures: object) -> None:
    drawn = pictures(8)  # type: ignore[operator]
    with pytest.raises(Unfit, match="skeleton") as caught:
        find_person(decoded(drawn), WHOLE, 8, DETECTED, HUB)
    assert caught.value.reason == "drawing"


def test_nobody_and_several_persons_are_unfit(clip: puppets.Clip) -> None:
    needs_blazepose()
    noise = np.random.default_rng(0).integers(0, 255, (8, 96, 96, 3), dtype=np.uint8)
    with pytest.raises(Unfit) as caught:
        find_person(decoded(noise), WHOLE, 8, DETECTED, HUB)
    assert caught.value.reason == "no person"
    big = [one.frames[:3].repeat(3, 1).repeat(3, 2) for one in (clip, walker(8, 16))]
    with pytest.raises(Unfit) as caught:
        find_person(decoded(np.concatenate(big, axis=2)), WHOLE, 3, DETECTED, HUB)
    assert caught.value.reason == "several persons"


def test_the_quality_filter(clip: puppets.Clip) -> None:
    frames, keypoints, masks = clip.frames, clip.keypoints, clip.masks / 255
    size = Size(96, 96)
    quality.check_size(Size(80, 80), size)
    quality.check_cuts(frames)
    quality.check_changes(frames)
    quality.check_motion(keypoints, 8)
    quality.check_person_size(keypoints, size)
    assert quality.check_sharpness(frames, masks) > quality.BLURRED
    blurred = gaussian_filter(frames, (0, 3, 3, 0))
    small = keypoints * np.array([0.2, 0.2, 1])
    other = puppets.render(puppets.sample_spec(5), 8, 96).frames
    for reason, check in {
        "low resolution": lambda: quality.check_size(Size(60, 60), size),
        "cut": lambda: quality.check_cuts(np.concatenate([frames, other])),
        "near-still": lambda: quality.check_changes(frames[[0] * 12 + [5] * 4]),
        "near-still ": lambda: quality.check_motion(keypoints[[0] * 16], 8),
        "small person": lambda: quality.check_person_size(small, size),
        "blurred": lambda: quality.check_sharpness(blurred, masks),
    }.items():
        with pytest.raises(Unfit) as caught:
            check()
        assert caught.value.reason == reason.strip()


def test_frames_are_cropped_to_the_nearest_bucket_around_the_person(clip: puppets.Clip) -> None:
    whole = Size(200, 96)
    size = FRAMES.nearest(Size(96, 170))
    assert size.aspect == pytest.approx(9 / 16, rel=0.15)
    box = largest_box(whole, size)
    assert box.height == 96
    right = clip.keypoints + np.array([100, 0, 0])
    center = boxes_around(right, whole, box)[0, 0]
    assert 100 + box.width / 2 <= center <= 200 - box.width / 2
    assert boxes_around(clip.keypoints - np.array([60, 0, 0]), whole, box)[0, 0] == box.width / 2


def test_a_row_gives_the_same_bytes_and_says_what_is_missing(clip: puppets.Clip) -> None:
    nothing = np.zeros((16, 18), dtype=bool)
    about = {"license": "cc0", "source": "x", "notes": ["a"]}
    row = Row("x", clip.frames, clip.keypoints, nothing, clip.masks / 255, ["a man"],
              [clip.frames[0]], 8.0)  # fmt: skip
    one, two = to_sample(row, about), to_sample(row, about)
    assert one == two
    assert set(one.files) == {"clip.mp4", "mask.mp4", "pose.json", "caption.txt", "meta.json",
                              "reference0.png"}  # fmt: skip
    still = row._replace(frames=clip.frames[:1], keypoints=clip.keypoints[:1], filled=nothing[:1],
                         masks=np.zeros((1, 96, 96), np.float32), references=[])  # fmt: skip
    files = to_sample(still, about).files
    assert set(files) == {"image.jpg", "pose.json", "caption.txt", "meta.json"}
    assert "no mask" in json.loads(files["meta.json"])["notes"][1]


def test_keys_differ_for_parts_of_one_file() -> None:
    source = Source("a film.mp4")
    keys = {Piece(source, start, 8).key for start in (0.0, 0.125, 0.25)}
    assert len(keys) == 3 and all(key.startswith("a-film-") for key in keys)


def test_a_corpus_has_the_frame_size_in_which_training_reads_it() -> None:
    """Also where the nearest one by difference is another one than by factor."""
    frames = frames_of(64, 8.0, 8, (1.0, 2.0))
    for source in (Size(145, 100), Size(100, 145), Size(139, 100), Size(9, 1)):
        nearest = frames.nearest(source)
        assert frames.sizes[nearest_size(source, frames.sizes)] == nearest
    assert frames.nearest(Size(145, 100)).aspect == 2
