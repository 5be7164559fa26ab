"""controlnet-aux's OpenPose: its network with random weights, and its parser of what a perfect
network would show."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.pose import detect, openpose
from animateanywhere.preprocessing.weights import WeightsLocation

if not (find_spec("controlnet_aux") and find_spec("torchvision")):
    pytest.skip("the openpose extra is not installed", allow_module_level=True)
if fault := openpose.torchvision_fault():
    pytest.skip(fault, allow_module_level=True)

# Of controlnet-aux's other, older networks
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:controlnet_aux")

STANDING = np.array([
    (60, 20), (60, 36), (50, 36), (44, 56), (40, 74), (70, 36), (76, 56), (80, 74), (54, 76),
    (52, 104), (52, 130), (66, 76), (68, 104), (68, 130), (57, 17), (63, 17), (53, 19), (67, 19),
], float)  # fmt: skip
# Of OpenPose's affinity fields: from joint, to joint (from 1), and its channel of x
FIELDS = (
    (2, 3, 12), (2, 6, 20), (3, 4, 14), (4, 5, 16), (6, 7, 22), (7, 8, 24), (2, 9, 0), (9, 10, 2),
    (10, 11, 4), (2, 12, 6), (12, 13, 8), (13, 14, 10), (2, 1, 28), (1, 15, 30), (15, 17, 34),
    (1, 16, 32), (16, 18, 36), (3, 17, 18), (6, 18, 26),
)  # fmt: skip


class Perfect(torch.nn.Module):
    """What the network would answer if it saw the joints: peaks, and fields along the limbs."""

    def __init__(self, frames: list[list[np.ndarray]], height: int) -> None:
        super().__init__()
        self.frames = iter(frames)  # of joints (18, 2) of each person, in pixels of the frame
        self.scale = 0.5 * 368 / height / 8  # to those of the maps
        self.any = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = image.shape[2] // 8, image.shape[3] // 8
        y, x = np.mgrid[:height, :width] + 0.5
        fields, peaks = np.zeros((1, 38, height, width)), np.zeros((1, 19, height, width))
        for joints in next(self.frames):
            at = joints * self.scale
            for joint, (left, top) in enumerate(at):
                peak = np.exp(-((x - left) ** 2 + (y - top) ** 2) / 2)
                peaks[0, joint] = np.maximum(peaks[0, joint], peak)
            for first, last, channel in FIELDS:
                start, way = at[first - 1], at[last - 1] - at[first - 1]
                length = np.hypot(*way)
                along = ((x - start[0]) * way[0] + (y - start[1]) * way[1]) / length
                across = ((x - start[0]) * way[1] - (y - start[1]) * way[0]) / length
                near = (along > -1.5) & (along < length + 1.5) & (abs(across) < 1.5)
                for part, value in enumerate(way / length):
                    fields[0, channel + part][near] = value
        return torch.tensor(fields).float(), torch.tensor(peaks).float()


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> WeightsLocation:
    """The true network with random weights under the names of the published file; 209 MB."""
    from controlnet_aux.open_pose.model import bodypose_model
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "openpose"
    folder.mkdir()
    weights = bodypose_model().state_dict()
    named = {name.partition(".")[2]: value.contiguous() for name, value in weights.items()}
    save_file(named, folder / f"{openpose.NAME}.safetensors")
    return WeightsLocation(folder.parent)


def test_random_weights_are_read_and_run(
    location: WeightsLocation, capsys: pytest.CaptureFixture
) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (1, 96, 72, 3), dtype=np.uint8)
    assert (
        choose_backend("pose", Backends(pose="openpose", location=location), Path("a.mp4"))
        == "openpose"
    )
    keypoints, persons = detect.estimate_poses(frames, "openpose", location)
    assert keypoints.shape == (1, 18, 3) and keypoints.dtype == np.float32
    assert persons == 0 and not keypoints.any()  # random weights detect no person
    assert "non-commercial" in capsys.readouterr().err


def test_keypoints_have_the_positions_of_the_detections(
    location: WeightsLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The larger of two persons is followed while it walks towards the other."""
    true = [STANDING * 1.4 + (20 + 6 * index, 8) for index in range(3)]
    other = STANDING * 0.9 + (160, 30)
    body = openpose._network(openpose.weights(location))
    body.model = Perfect([[other, joints] for joints in true], height=200)
    monkeypatch.setattr(openpose, "_network", lambda _: body)
    frames = np.zeros((3, 200, 280, 3), np.uint8)
    keypoints, persons = detect.estimate_poses(frames, "openpose", location)
    assert persons == 2
    assert (keypoints[..., 2] > 0.3).all()
    error = np.linalg.norm(keypoints[..., :2] - true, axis=-1)
    assert error.mean() < 1.5 and error.max() < 3  # pixels; a cell of the maps is 8.7


def test_other_weights_are_one_line(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "openpose").mkdir()
    file = tmp_path / "openpose" / f"{openpose.NAME}.safetensors"
    save_file({"conv1_1.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(UsageError, match="not the weights of OpenPose's body network"):
        detect.estimate_poses(
            np.zeros((1, 64, 64, 3), np.uint8), "openpose", WeightsLocation(tmp_path)
        )
    file.write_bytes(b"nothing")
    with pytest.raises(UsageError, match="not the weights of OpenPose's body network"):
        detect.estimate_poses(
            np.zeros((1, 64, 64, 3), np.uint8), "openpose", WeightsLocation(tmp_path)
        )
