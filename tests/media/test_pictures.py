"""Animations and folders of pictures as an input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from animateanywhere.core.errors import UsageError
from animateanywhere.media import video
from animateanywhere.media.source import Part
from tests.media.clips import animation, encode, error, moving_square


def cut_out(frames: int = 6) -> np.ndarray:
    """A moving square with alpha: uint8 (F, H, W, 4)."""
    colors = moving_square(frames)
    alpha = (colors.min(-1) > 240).astype(np.uint8) * 255
    return np.concatenate([colors, alpha[..., None]], -1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_with_their_rate_and_alpha(kind: str, tmp_path: Path) -> None:
    frames = cut_out()
    clip = video.read(animation(tmp_path / "a.bin", frames, kind, delay=50))
    assert clip.fps == 20 and len(clip.frames) == 6
    assert clip.alpha is not None and error(clip.alpha, frames[..., 3]) < 1
    shown = frames[..., 3] > 0
    assert np.abs(clip.frames[shown].astype(int) - frames[..., :3][shown]).max() < 16
    assert (clip.frames[~shown] == 128).all()
    assert len(video.read(tmp_path / "a.bin", fps=10).frames) == 3


def test_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    animation(tmp_path / "a.mp4", cut_out(), "GIF")
    assert len(video.read(tmp_path / "a.mp4").frames) == 6
    Image.fromarray(moving_square(1)[0]).save(tmp_path / "b.mp4", format="JPEG")
    assert len(video.read(tmp_path / "b.mp4", fps=30).frames) == 1
    encode(tmp_path / "c.mp4", moving_square(5)).rename(tmp_path / "c.png")
    assert len(video.read(tmp_path / "c.png").frames) == 5


@pytest.mark.parametrize("tag", range(1, 9))
def test_all_eight_orientations_of_exif(tag: int, tmp_path: Path) -> None:
    picture = moving_square(1)[0]
    turned = np.rot90(picture, 2)
    stored = {1: picture, 2: picture[:, ::-1], 3: turned, 4: picture[::-1],
              5: picture.transpose(1, 0, 2), 6: np.rot90(picture),
              7: turned.transpose(1, 0, 2), 8: np.rot90(picture, -1)}[tag]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert (video.read(tmp_path / "a.png").frames[0] == picture).all()


def test_a_color_profile_is_obeyed(tmp_path: Path) -> None:
    """Lab's green as stored by a profile that is far from sRGB: here, sRGB with exchanged names."""
    picture = Image.fromarray(moving_square(1)[0])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "a.png", icc_profile=profile)
    assert error(video.read(tmp_path / "a.png").frames[0], np.array(picture)) < 1
    swapped = profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    picture.save(tmp_path / "a.png", icc_profile=swapped)
    read = video.read(tmp_path / "a.png").frames[0]
    assert error(read, np.array(picture)[..., ::-1]) < 2


def folder(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for index, name in enumerate(names):
        Image.new("RGB", (20, 30), (10 * index + 5,) * 3).save(path / name)
    return path


def test_frames_come_in_natural_order_and_hidden_files_do_not(tmp_path: Path) -> None:
    names = [f"frame_{number}.png" for number in range(1, 13)]
    path = folder(tmp_path / "frames", names)
    (path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (path / "._frame_1.png").write_bytes(b"\0\5\x16\7")
    (path / "notes.txt").write_text("taken on Tuesday")
    clip = video.read(path)
    assert clip.frames[:, 0, 0, 0].tolist() == [10 * index + 5 for index in range(12)]
    assert [finding.text for finding in clip.findings] == [
        "1 other files in the folder are not read: notes.txt"
    ]
    assert len(video.read(path, fps=8, part=Part(fps=24)).frames) == 4
    late = video.read(path, fps=8, part=Part(0.25, 1, 24))
    assert late.frames[:, 0, 0, 0].tolist() == [65] and late.more


def test_pictures_of_several_sizes_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "frames", ["1.png", "2.png"])
    Image.new("RGB", (30, 20)).save(path / "10.png")
    with pytest.raises(UsageError, match=r"10\.png has 30 x 20 pixels and 1\.png 20 x 30"):
        video.read(path)


def test_damaged_pictures_are_left_out_and_counted(tmp_path: Path) -> None:
    path = folder(tmp_path / "frames", [f"{number}.png" for number in range(8)])
    (path / "3.png").write_bytes((path / "3.png").read_bytes()[:40])
    clip = video.read(path, fps=8)
    assert np.allclose(clip.times * 8, [0, 1, 2, 4, 5, 6, 7])
    assert any("1 of 8 frames are damaged" in finding.text for finding in clip.findings)
    for number in range(8):
        (path / f"{number}.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UsageError, match="cannot be read as a picture"):
        video.read(path)


def test_a_truncated_animation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    path = animation(tmp_path / "a.gif", frames, "GIF")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = video.read(path)
    assert 2 <= len(clip.frames) <= 4
    assert any("truncated or damaged: only" in finding.text for finding in clip.findings)


def test_huge_and_foreign_pictures_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.bmp")
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(data)
    with pytest.raises(UsageError, match=r"a\.bmp"):
        video.read(tmp_path / "a.bmp")
    (tmp_path / "b.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(UsageError, match="HEIC picture; save it as JPEG"):
        video.read(tmp_path / "b.jpg")
