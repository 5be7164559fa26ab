"""Colors as files are tagged, measured against the chart that they show (CIEDE2000)."""

from pathlib import Path

import av
import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from animateanywhere.media import video
from animateanywhere.media.color import D65, PRIMARIES, rgb_matrix
from tests.media.clips import encode, patches

CHART = patches()
LIMITED, FULL = 1, 2


def delta(frame: np.ndarray, truth: np.ndarray = CHART) -> float:
    """Mean color difference of the middles of the patches."""
    found, wanted = (rgb2lab(some[8::16, 8::16] / 255) for some in (frame, truth))
    return float(deltaE_ciede2000(wanted, found).mean())


def test_xyz_of_bt709_and_bt2020_are_the_standards_own() -> None:
    assert np.allclose(rgb_matrix(1)[1], [0.2126, 0.7152, 0.0722], atol=1e-4)
    assert np.allclose(rgb_matrix(9)[1], [0.2627, 0.6780, 0.0593], atol=1e-4)
    for primaries in PRIMARIES:
        white = rgb_matrix(primaries).sum(1)
        assert np.allclose(white[:2] / white.sum(), D65)


@pytest.mark.parametrize(
    ("pix_fmt", "colors"),
    [
        ("yuv420p", (1, 1, 1, LIMITED)),
        ("yuv420p", (1, 1, 1, FULL)),
        ("yuvj420p", (5, 2, 2, FULL)),
        ("yuv444p", (6, 2, 6, LIMITED)),
        ("yuv422p", (5, 2, 6, LIMITED)),
        ("yuv420p10le", (9, 1, 1, LIMITED)),
        ("yuv422p10le", (1, 2, 2, LIMITED)),
    ],
)
def test_matrix_and_range_are_obeyed(
    pix_fmt: str, colors: tuple[int, int, int, int], tmp_path: Path
) -> None:
    path = encode(
        tmp_path / "a.mp4", CHART[None], pix_fmt=pix_fmt, colors=colors, options={"crf": "4"}
    )
    assert delta(video.read(path).frames[0]) < 1


@pytest.mark.parametrize(("size", "matrix"), [((64, 96), 5), ((720, 1280), 1), ((1280, 720), 1)])
def test_untagged_video_is_bt601_when_small_and_bt709_when_large(
    size: tuple[int, int], matrix: int, tmp_path: Path
) -> None:
    chart = np.kron(CHART[8::16, 8::16], np.ones((size[0] // 4, size[1] // 6, 1), np.uint8))
    chart = np.pad(chart, ((0, size[0] - chart.shape[0]), (0, size[1] - chart.shape[1]), (0, 0)))
    path = encode(tmp_path / "a.mp4", chart[None], matrix=matrix, options={"preset": "ultrafast"})
    found = video.read(path).frames[0]
    rows, columns = size[0] // 4, size[1] // 6
    middles = found[rows // 2 :: rows, columns // 2 :: columns][:4, :6]
    assert delta(middles.repeat(16, 0).repeat(16, 1)) < 2


def test_rgb_stays_rgb(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mov", CHART[None], "png", "rgb24")
    assert (video.read(path).frames[0] == CHART).all()


def test_primaries_of_bt601_and_p3_are_converted(tmp_path: Path) -> None:
    """Colors of BT.709, expressed by other primaries with independent numbers."""
    to_ntsc = np.array([[0.939542, 0.050181, 0.010277], [0.017772, 0.965793, 0.016435],
                        [-0.001622, -0.004370, 1.005991]])  # fmt: skip
    to_p3 = np.linalg.inv([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])
    chart = (60 + CHART / 2.4).astype(np.uint8)  # inside of both
    for matrix, tags in (
        (np.linalg.inv(to_ntsc), (6, 6, 6, LIMITED)),
        (to_p3, (1, 12, 1, LIMITED)),
    ):
        signal = ((chart / 255) ** 2.4 @ matrix.T).clip(0, 1) ** (1 / 2.4)
        coded = (signal * 255 + 0.5).astype(np.uint8)
        path = encode(tmp_path / "a.mp4", coded[None], pix_fmt="yuv444p", colors=tags,
                      options={"crf": "1"})  # fmt: skip
        assert delta(video.read(path).frames[0], chart) < 0.7


# BT.2087: linear BT.709 to BT.2020
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(light: np.ndarray) -> np.ndarray:
    power = (light / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light: np.ndarray) -> np.ndarray:
    """Signal of the light in cd/m2 of a display of 1000 cd/m2."""
    shown = light / 1000
    luminance = shown @ np.array([0.2627, 0.6780, 0.0593])
    scene = shown * np.maximum(luminance, 1e-9)[..., None] ** (-0.2 / 1.2)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def hdr(path: Path, transfer: int, light: np.ndarray, tags: tuple[int, int]) -> Path:
    """A frame of light in cd/m2 (H, W, 3) of BT.709's primaries, in BT.2020 with 10 bits."""
    curve = {16: pq, 18: hlg, 14: lambda x: (x / 203) ** (1 / 2.4)}[transfer]
    signal = curve(light @ TO_BT2020.T).clip(0, 1)
    coded = (signal * 65535 + 0.5).astype(np.uint16)
    return encode(
        path, coded[None], "ffv1", "yuv444p10le", source="rgb48le", matrix=9,
        colors=(*tags, transfer, LIMITED),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("transfer", "tags"),
    [(transfer, tags) for transfer in (16, 18, 14) for tags in ((9, 9), (2, 9), (2, 2))
     if (transfer, tags) != (14, (2, 2))],  # nothing tells the primaries of an untagged SDR file
)  # fmt: skip
def test_hdr_and_wide_colors_are_mapped_to_bt709_and_named(
    transfer: int, tags: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chart = np.minimum(CHART, 230)
    path = hdr(tmp_path / "a.mkv", transfer, 203 * (chart / 255) ** 2.4, tags)
    clip = video.read(path)
    assert delta(clip.frames[0], chart) < 0.6
    words = {16: "HDR video (PQ)", 18: "HDR video (HLG)", 14: "wide colors (BT.2020)"}[transfer]
    assert [words in finding.text for finding in clip.findings] == [True]
    assert words in " ".join(capsys.readouterr().err.split())


def test_highlights_are_compressed_and_keep_their_order(tmp_path: Path) -> None:
    levels = np.array([100, 160, 203, 300, 500, 1000]).repeat(16)
    light = np.broadcast_to(levels[None, :, None], (16, 96, 3)).astype(float)
    found = video.read(hdr(tmp_path / "a.mkv", 16, light, (9, 9))).frames[0, 8, 8::16, 1]
    assert (np.diff(found.astype(int)) >= 0).all() and len(set(found.tolist())) >= 5
    assert found[-1] >= 254 and 240 <= found[2] < 254


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", CHART[None], "ffv1", "yuv444p", matrix=1,
                  colors=(1, 10, 17, LIMITED))  # fmt: skip
    texts = [finding.text for finding in video.read(path).findings]
    assert any("primaries 10 and transfer 17" in text for text in texts)


def test_written_video_is_tagged_bt709_and_comes_back(tmp_path: Path) -> None:
    video.write(tmp_path / "a.mp4", CHART[None].repeat(3, 0), 8, crf=4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    assert tags == (1, 1, 1, LIMITED)
    assert b"colr" in (tmp_path / "a.mp4").read_bytes()  # in the container, too
    assert delta(video.read(tmp_path / "a.mp4").frames[1]) < 0.6
