"""rtmlib's classes on tiny ONNX networks that detect colored dots instead of joints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.weights import DWPOSE, WeightsLocation

pytest.importorskip("rtmlib", reason="the dwpose extra is not installed")
onnx: Any = pytest.importorskip("onnx", reason="writes the networks of this test")
JOINTS = {0: (255, 0, 0), 5: (0, 255, 0), 16: (0, 0, 255)}  # of COCO, and their color here
OPENPOSE = {0: 0, 5: 5, 16: 10}
BOXES = [(10, 8, 40, 44, 0, 0.9), (2, 2, 62, 46, 5, 0.99), (44, 10, 60, 36, 0, 0.8),
         (20, 20, 40, 40, 0, 0.3)]  # fmt: skip
# left, top, right, bottom of 64, class, score: a person, a bus, another person, a guess


def save(file: Path, nodes: list[Any], outputs: dict[str, list[Any]], *constants: Any) -> None:
    values = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in outputs.items()]
    shape = [1, 3, 64, 64] if "output" in outputs else ["batch", 3, 96, 72]
    start = onnx.helper.make_tensor_value_info("input", 1, shape)
    made = [onnx.numpy_helper.from_array(value, name) for name, value in constants]
    graph = onnx.helper.make_graph(nodes, "tiny", [start], values, made)
    opset = onnx.helper.make_opsetid("", 13)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), file)


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> WeightsLocation:
    folder = tmp_path_factory.mktemp("models") / "dwpose"
    folder.mkdir()
    node = onnx.helper.make_node
    # YOLOX's raw output: 84 cells of the strides 8, 16 and 32, 80 classes
    raw = np.zeros((1, 84, 85), np.float32)
    for cell, (left, top, right, bottom, kind, score) in enumerate(BOXES):
        raw[0, cell, 0] = (left + right) / 2 / 8 - cell
        raw[0, cell, 1] = (top + bottom) / 2 / 8
        raw[0, cell, 2:4] = np.log([(right - left) / 8, (bottom - top) / 8])
        raw[0, cell, [4, 5 + kind]] = 1, score
    nodes = [node("ReduceMean", ["input"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
             node("Mul", ["mean", "zero"], ["nothing"]),
             node("Add", ["boxes", "nothing"], ["output"])]  # fmt: skip
    constants = ("boxes", raw), ("zero", np.float32(0))
    save(folder / DWPOSE.files[0], nodes, {"output": [1, 84, 85]}, *constants)

    look = np.zeros((133, 3, 1, 1), np.float32)  # each joint's channel likes its own color only
    for joint, color in JOINTS.items():
        look[joint, :, 0, 0] = np.where(np.array(color) > 0, 0.15, -0.15)
    nodes = [node("Conv", ["input", "look"], ["seen"])]
    for axis, name in ((2, "simcc_x"), (3, "simcc_y")):
        nodes += [node("ReduceMax", ["seen"], [f"max{axis}"], axes=[axis], keepdims=0),
                  node("Resize", [f"max{axis}", "", "twice"], [name], mode="linear")]  # fmt: skip
    constants = ("look", look), ("twice", np.array([1, 1, 2], np.float32))
    outputs = {"simcc_x": ["batch", 133, 144], "simcc_y": ["batch", 133, 192]}
    save(folder / DWPOSE.files[1], nodes, outputs, *constants)
    return WeightsLocation(folder.parent)


def dots(where: dict[int, tuple[float, float]]) -> np.ndarray:
    """A gray frame, uint8 (96, 128, 3), with a soft dot of each joint's color."""
    y, x = np.mgrid[:96, :128]
    frame = np.full((96, 128, 3), 118.0)
    for joint, (left, top) in where.items():
        near = np.exp(-((x - left) ** 2 + (y - top) ** 2) / 40)[..., None]
        frame = frame * (1 - near) + near * np.array(JOINTS[joint])
    return frame.astype(np.uint8)


def test_keypoints_have_the_positions_of_the_detections(
    location: WeightsLocation, capsys: pytest.CaptureFixture
) -> None:
    true = [{0: (40.0, 30.0), 5: (62.0, 48.0), 16: (50.0, 78.0)},
            {0: (47.0, 26.0), 5: (56.0, 55.0), 16: (33.0, 70.0)}]  # fmt: skip
    keypoints, persons = detect.estimate_poses(
        np.stack([dots(where) for where in true]), "dwpose", location
    )
    assert persons == 2  # not the bus, and not the guess
    assert keypoints.shape == (2, 18, 3) and keypoints.dtype == np.float32
    for found, where in zip(keypoints, true, strict=True):
        for joint, position in where.items():
            assert found[OPENPOSE[joint], :2] == pytest.approx(position, abs=1)
            assert 0.5 < found[OPENPOSE[joint], 2] <= 1
        assert np.flatnonzero(found[:, 2]).tolist() == sorted(OPENPOSE.values())
    assert capsys.readouterr().out == ""  # rtmlib prints


def test_auto_prefers_it_to_mediapipe(
    location: WeightsLocation, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert choose_backend("pose", Backends(location=location), tmp_path / "a.mp4") == "dwpose"


def test_damaged_weights_are_one_line(location: WeightsLocation, tmp_path: Path) -> None:
    folder = tmp_path / "dwpose"
    folder.mkdir()
    (folder / DWPOSE.files[0]).write_bytes(b"no network")
    with pytest.raises(UsageError, match="no dw-ll_ucoco_384.onnx in it"):
        detect.estimate_poses(dots({})[None], "dwpose", WeightsLocation(tmp_path))
    (folder / DWPOSE.files[1]).write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"yolox_l\.onnx: "):
        detect.estimate_poses(dots({})[None], "dwpose", WeightsLocation(tmp_path))
