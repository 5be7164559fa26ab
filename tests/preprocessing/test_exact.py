"""Manual masks, a folder of PNG files beside the clip, and exact poses."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.preprocessing import exact
from tests.commands.test_prepare import rendered


def save(clip: Path, masks: np.ndarray) -> Path:
    folder = clip.with_suffix(".masks")
    folder.mkdir()
    for index, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"{index:05}.png")
    (folder / "notes.txt").write_text("painted on Tuesday")
    return folder


def test_a_folder_of_pngs_is_used(tmp_path: Path) -> None:
    clip = tmp_path / "a clip.mp4"
    _, thick = rendered(clip)
    clip.with_suffix(".masks.mp4").unlink()
    folder = save(clip, thick.astype(np.uint8) * 255)
    subject = prepare(clip, tmp_path / "out")
    assert np.abs(subject.masks - thick).mean() < 0.01
    Image.new("L", (128, 128)).save(folder / "00003.png")
    assert not prepare(clip, tmp_path / "out").masks[3].any()  # the painted change is read


def test_each_picture_belongs_to_the_frame_at_its_time(tmp_path: Path) -> None:
    """A clip of uneven pace, read at another rate: gray frames, whose masks are as gray."""
    clip = tmp_path / "a.mp4"
    grays = np.arange(20) * 12 + 6
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, gray in enumerate(grays):
            picture = np.full((64, 64, 3), gray, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 40 * index + 15 * (index % 3), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    folder = save(clip, np.broadcast_to(grays.astype(np.uint8)[:, None, None], (20, 64, 64)))
    for fps in (8, 11, 25, 60):
        read = video.read(clip, fps=fps)
        masks = exact.masks(folder, read)
        assert np.abs(masks.astype(int) - read.frames[..., 1]).max() <= 3


def test_poses_follow_the_clip_at_another_rate(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    keypoints, _ = rendered(clip)
    part = Part(fps=16.0)  # the file says 8
    read = video.read(clip, fps=8, part=part)
    poses = exact.poses(clip.with_suffix(".poses.json"), read, part)
    assert np.abs(poses - keypoints[::2]).max() < 0.1


def test_labels_and_large_clips(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    video.write(clip, np.zeros((3, 90, 1600, 3), np.uint8), 8)
    label = np.zeros((90, 1600), np.uint8)
    label[:, 800:] = 1  # 0 and 1, as labels are saved
    folder = save(clip, np.stack([label] * 3))
    read = video.read(clip)
    assert read.frames.shape == (3, 72, 1280, 3)
    masks = exact.masks(folder, read)
    assert masks.shape == (3, 72, 1280) and masks.dtype == np.uint8
    assert not masks[..., :630].any() and (masks[..., 650:] == 255).all()


def test_masks_that_do_not_fit_are_one_line_errors(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    rendered(clip)
    clip.with_suffix(".masks.mp4").unlink()
    folder = save(clip, np.zeros((11, 128, 128), np.uint8))
    with pytest.raises(UsageError, match=r"a\.masks: 11 PNG files for the 12 frames of a\.mp4"):
        prepare(clip, tmp_path / "out")
    Image.new("L", (64, 128)).save(folder / "00011.png")
    with pytest.raises(UsageError, match=r"00011\.png: the mask has 64 x 128 pixels.*128 x 128"):
        prepare(clip, tmp_path / "out")
    (folder / "00011.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"00011\.png: a damaged PNG file"):
        prepare(clip, tmp_path / "out")
    assert not (tmp_path / "out").exists()
