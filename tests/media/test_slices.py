"""Videos of any length, read some frames at a time."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.media import video
from animateanywhere.media.source import Part
from tests.media.clips import encode, moving_square


@pytest.mark.parametrize("count", [1, 5, 100])
def test_slices_are_the_frames_of_the_whole(tmp_path, count):
    path = encode(tmp_path / "a.mp4", moving_square(24), fps=24)
    for part, fps in ((Part(), 24.0), (Part(0.25, 9), 10.0)):
        whole = video.read(path, fps=fps, part=part)
        slices = list(video.read_slices(path, fps, count, part=part))
        assert [one.first for one in slices] == list(range(0, len(whole.frames), count))
        assert np.array_equal(np.concatenate([one.frames for one in slices]), whole.frames)
        assert not any(one.held.any() for one in slices)
    with pytest.raises(UsageError, match="nothing is left after 9 s; it lasts 1.0 s"):
        next(video.read_slices(path, 24, count, part=Part(9)))


def test_a_damaged_frame_of_a_slice_is_the_one_before_it(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(moving_square(6)):
        Image.fromarray(frame).save(folder / f"{index}.png")
    whole = video.read(folder, fps=8).frames
    for name in ("0.png", "3.png", "4.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    for count in (2, 3, 6):
        slices = list(video.read_slices(folder, 8, count))
        found = np.concatenate([one.frames for one in slices])
        assert np.array_equal(found, whole[[1, 1, 2, 2, 2, 5]])
        assert np.concatenate([one.held for one in slices]).tolist() == [1, 0, 0, 1, 1, 0]


def test_slices_need_as_much_memory_for_a_long_video_as_for_a_short_one(tmp_path):
    def most(frames: int) -> int:
        path = encode(tmp_path / f"{frames}.mp4", moving_square(24)[np.arange(frames) % 24], fps=24)
        tracemalloc.start()
        for _ in video.read_slices(path, 24, 8):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most(8)
    assert most(240) < 1.3 * most(48) + 100_000
