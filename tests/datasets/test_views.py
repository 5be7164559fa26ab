"""Samples in the frames of a base: cropped around the person, at its frame rate."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.clip_folder import ClipFolder, open_folder
from animateanywhere.datasets.views import frame_counts, view
from animateanywhere.media import video
from animateanywhere.media.memory import cover, decode_clip, decode_picture
from animateanywhere.pose.skeleton import Poses, write_poses

WIDE = Size(96, 48)


def write_sample(
    folder: Path, name: str, frames: np.ndarray, keypoints: np.ndarray, fps: float = 8.0
) -> None:
    """A clip, or a picture for one frame (F, H, W, 3), with poses and a caption."""
    height, width = frames.shape[1:3]
    if name.endswith(".mp4"):
        video.write(folder / name, frames, fps, crf=10)
    else:
        Image.fromarray(frames[0]).save(folder / name)
    path = folder / name
    write_poses(path.with_suffix(".poses.json"), Poses(keypoints, width, height, fps))
    path.with_suffix(".txt").write_text("a man\nsomebody\n")


def standing(x: float, y: float, frames: int) -> np.ndarray:
    """Keypoints of somebody within 6 pixels of a point."""
    rng = np.random.default_rng(0)
    points = np.full((frames, 18, 3), 1.0, np.float32)
    points[..., :2] = rng.uniform(-6, 6, (frames, 18, 2)) + np.array([x, y])
    return points


def scene(x: int, frames: int) -> np.ndarray:
    """Frames of 96 x 48 with a white bar at x on a gray that grows with time."""
    out = np.zeros((frames, WIDE.height, WIDE.width, 3), np.uint8)
    out += (10 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
    out[:, :, x - 4 : x + 4] = 255
    return out


def opened(folder: Path, frames: np.ndarray, keypoints: np.ndarray, name: str) -> ClipFolder:
    write_sample(folder, name, frames, keypoints)
    return open_folder(folder)


@pytest.mark.parametrize("x", [10, 48, 80])
@pytest.mark.parametrize("name", ["a.mp4", "a.png", "a.jpg", "a.webp"])
def test_crops_are_centered_on_the_person(tmp_path: Path, x: int, name: str) -> None:
    frames = 4 if name == "a.mp4" else 1
    samples = opened(tmp_path, scene(x, frames), standing(x, 24, frames), name)
    found = view(samples, 0, Size(32, 32), 8.0)
    pixels = np.stack(list(found.frames))
    assert pixels.shape == (frames, 32, 32, 3) and found.captions == ["a man", "somebody"]
    middle = found.keypoints[..., 0].mean()
    assert (found.keypoints[..., 2] > 0).all()
    bright = pixels[0].mean((0, 2)).argmax()
    assert abs(bright - middle) < 4  # frames and keypoints are moved alike
    assert abs(middle - (16 if x == 48 else x * 32 / 48 - (0 if x < 48 else 32))) < 3


def test_a_clip_is_read_at_the_frame_rate_of_the_base(tmp_path: Path) -> None:
    points = standing(48, 24, 12)
    points[..., 0] += np.arange(12)[:, None]
    samples = opened(tmp_path, scene(48, 12), points, "a.mp4")
    for fps, shown in ((8.0, np.arange(12)), (4.0, np.arange(0, 12, 2)), (16.0, np.arange(24) / 2)):
        found = view(samples, 0, WIDE, fps)
        pixels = np.stack(list(found.frames))
        assert len(pixels) == len(found.keypoints) == len(shown) == frame_counts(samples, fps)[0]
        gray = pixels[:, 24, 5].mean(-1)
        assert np.abs(gray - 10 * shown).max() <= 6 + 5 * (fps > 8)
        away = found.keypoints[:, 0, 0] - points[np.round(shown).clip(max=11).astype(int), 0, 0]
        assert np.abs(away - away[0]).max() <= 1


def test_fewer_frames_than_poses_and_damage_are_named(tmp_path: Path) -> None:
    samples = opened(tmp_path, scene(48, 4), standing(48, 24, 9), "a.mp4")
    found = view(samples, 0, WIDE, 8.0)
    with pytest.raises(UsageError, match=r"a\.mp4 has 4 frames at 8 fps but 9 poses"):
        list(found.frames)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    start = data.index(b"mdat") + 60
    data[start : start + 200] = bytes(200)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(UsageError, match=r"a\.mp4"):
        list(view(samples, 0, WIDE, 8.0).frames)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(UsageError, match=r"a\.mp4: cannot be read as a video"):
        list(view(samples, 0, WIDE, 8.0).frames)
    with pytest.raises(UsageError, match=r"here: cannot be read as a picture"):
        decode_picture(b"none", "here", lambda size: cover(size, WIDE))


def test_a_clip_in_memory_is_read_as_a_file_is(tmp_path: Path) -> None:
    """With colors, times and turned frames; nothing is read from elsewhere."""
    video.write(tmp_path / "a.mp4", scene(30, 6), 8.0)
    wanted = video.read(tmp_path / "a.mp4", fps=8.0).frames
    data = (tmp_path / "a.mp4").read_bytes()
    found = np.stack(list(decode_clip(data, "here", 8.0, lambda size: cover(size, size))))
    np.testing.assert_array_equal(found, wanted)
    playlist = f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'a.mp4'}\n".encode()
    with pytest.raises(UsageError, match="here: "):
        list(decode_clip(playlist, "here", 8.0, lambda size: cover(size, size)))


def test_a_turned_picture_is_upright(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise when shown
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    found = decode_picture(file.getvalue(), "here", lambda size: cover(size, Size(20, 40)))
    assert found.shape == (40, 20, 3) and found[:18].min() > 200 and found[22:].max() < 50


def test_what_is_missing_beside_a_file_is_named(tmp_path: Path) -> None:
    samples = opened(tmp_path, scene(48, 3), standing(48, 24, 3), "a.mp4")
    Image.new("RGB", (8, 8)).save(tmp_path / "contact_sheet.png")
    video.write(tmp_path / "a.masks.mp4", scene(48, 3), 8.0)
    assert open_folder(tmp_path).paths == samples.paths
    write_sample(tmp_path, "b.png", scene(9, 1), standing(9, 9, 1))
    (tmp_path / "b.txt").unlink()
    with pytest.raises(UsageError, match=r"b\.png needs the files b\.poses\.json and b\.txt"):
        open_folder(tmp_path)
    (tmp_path / "b.txt").write_text("a man")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg")
    with pytest.raises(UsageError, match=r"b\.jpg and b\.png would share"):
        open_folder(tmp_path)
