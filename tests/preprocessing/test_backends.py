"""The real classes of other people's models, tiny and random, saved to a folder and loaded."""

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import distance_transform_edt, gaussian_filter
from transformers import (
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    SamConfig,
    SamImageProcessorPil,
    SamModel,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessorPil,
)

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.datasets.subject import read_settings
from animateanywhere.media import video
from animateanywhere.preprocessing.backends import PACKAGES, Backends, choose_backend
from animateanywhere.preprocessing.masks import grounded_sam
from animateanywhere.preprocessing.pose import coco, openpose, people, vitpose
from animateanywhere.preprocessing.weights import (
    DWPOSE,
    HUB,
    SAM,
    WeightsLocation,
    fetch,
    find_local,
    load,
)
from animateanywhere.puppets import render, sample_spec
from tests.conftest import needs_blazepose

FRAMES = np.random.default_rng(0).integers(0, 255, (3, 96, 72, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    backbone = {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 8, 8],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage2", "stage3", "stage4"],
    }
    detr = RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[8, 8, 8], encoder_hidden_dim=16,
        encoder_ffn_dim=16, encoder_attention_heads=2, d_model=16, num_queries=8,
        decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_layers=1,
        decoder_attention_heads=2, num_denoising=0, id2label={0: "person"}, label2id={"person": 0},
    )  # fmt: skip
    RTDetrForObjectDetection(detr).save_pretrained(folder / "rt-detr")
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder / "rt-detr")

    vit = VitPoseConfig(
        backbone_config={"model_type": "vitpose_backbone", "image_size": [64, 48],
                         "patch_size": [16, 16], "hidden_size": 16, "num_hidden_layers": 1,
                         "num_attention_heads": 2, "out_indices": [1], "out_features": ["stage1"]},
        num_labels=17, use_simple_decoder=True,
    )  # fmt: skip
    VitPoseForPoseEstimation(vit).save_pretrained(folder / "vitpose")
    VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder / "vitpose")

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", ".", "?"]
    (folder / "vocab.txt").write_text("\n".join(words))
    dino = GroundingDinoConfig(
        backbone_config={"model_type": "swin", "image_size": 64, "patch_size": 4, "embed_dim": 8,
                         "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2,
                         "out_features": ["stage2", "stage3", "stage4"]},
        text_config={"model_type": "bert", "vocab_size": len(words), "hidden_size": 16,
                     "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        d_model=32, encoder_layers=1, encoder_ffn_dim=16, encoder_attention_heads=2,
        decoder_layers=2, decoder_ffn_dim=16, decoder_attention_heads=2, num_queries=8,
    )  # fmt: skip
    where = folder / "grounding-dino"
    GroundingDinoForObjectDetection(dino).save_pretrained(where)
    size = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(where)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(where)

    sam = SamConfig(
        vision_config={"image_size": 64, "patch_size": 16, "hidden_size": 16, "output_channels": 8,
                       "num_hidden_layers": 1, "num_attention_heads": 2, "window_size": 0,
                       "global_attn_indexes": [0], "mlp_dim": 16, "num_pos_feats": 4},
        prompt_encoder_config={"image_size": 64, "patch_size": 16, "hidden_size": 8},
        mask_decoder_config={"hidden_size": 8, "mlp_dim": 16, "num_hidden_layers": 1,
                             "num_attention_heads": 2, "iou_head_hidden_dim": 8},
    )  # fmt: skip
    SamModel(sam).save_pretrained(folder / "sam")
    SamImageProcessorPil(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16}, mask_pad_size={"height": 16, "width": 16},
    ).save_pretrained(folder / "sam")  # fmt: skip
    return folder


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random detectors are never sure."""
    monkeypatch.setattr(vitpose, "MIN_SCORE", 0.0)
    monkeypatch.setattr(grounded_sam, "MIN_SCORE", 0.0)


def test_vitpose_gives_openpose_keypoints(
    models: Path, sure: None, capsys: pytest.CaptureFixture
) -> None:
    found = vitpose.extract(FRAMES, WeightsLocation(models))
    assert len(found) == 3 and min(len(persons.boxes) for persons in found) >= 1
    keypoints = np.concatenate([persons.keypoints for persons in found])
    assert keypoints.shape[1:] == (18, 3) and keypoints.dtype == np.float32
    assert np.isfinite(keypoints).all()
    assert capsys.readouterr().err.count("detecting persons") == 1  # looked for once
    seen = keypoints[..., 2] > 0
    assert seen.any()
    assert (keypoints[seen][:, 0] <= 72).all() and (keypoints[seen][:, 1] <= 96).all()


def test_cached_frames_need_no_model(
    models: Path, sure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pixels give the same poses and masks without loading anything again."""

    def find() -> tuple[np.ndarray, np.ndarray]:
        found = vitpose.extract(FRAMES, WeightsLocation(models))
        keypoints = np.stack([persons.keypoints[0] for persons in found])
        return keypoints, grounded_sam.extract(FRAMES, keypoints, WeightsLocation(models))

    first = find()

    def refuse(kind: object, folder: Path) -> None:
        raise AssertionError(f"{kind} is loaded again")

    monkeypatch.setattr(vitpose, "load", refuse)
    monkeypatch.setattr(grounded_sam, "load", refuse)
    assert all(np.array_equal(a, b) for a, b in zip(first, find(), strict=True))
    monkeypatch.setattr(vitpose, "MIN_SCORE", 0.01)  # another question
    with pytest.raises(AssertionError, match="RTDetr"):
        find()


def test_coco_keypoints_are_converted_to_openpose() -> None:
    points = np.column_stack([np.arange(17), np.arange(17), np.full(17, 0.9)])
    points[6, 2] = 0.4
    out = coco.coco_to_openpose(points, 100, 100)
    assert out[1].tolist() == pytest.approx([5.5, 5.5, 0.4])  # between the shoulders
    assert out[[0, 2, 5, 8, 13, 14, 17], 0].tolist() == [0, 6, 5, 12, 15, 2, 3]


def test_a_picture_without_a_person_has_no_keypoints(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitpose, "MIN_SCORE", 1.1)
    found = vitpose.extract(FRAMES, WeightsLocation(models))
    assert not any(len(persons.boxes) for persons in found)


def test_grounded_sam_gives_soft_masks(models: Path, sure: None) -> None:
    keypoints = np.zeros((3, 18, 3), np.float32)
    keypoints[:2, :8] = np.random.default_rng(0).uniform(10, 60, (2, 8, 3))
    masks = grounded_sam.extract(FRAMES, keypoints, WeightsLocation(models))
    assert masks.shape == (3, 96, 72) and masks.dtype == np.float32
    assert masks.min() >= 0 and masks.max() <= 1 and masks.std() > 0


def test_masks_are_aligned_with_the_edges_of_the_picture() -> None:
    """Of a rendered person, with the ragged edge and the specks of a coarse mask."""
    random = np.random.default_rng(0)
    clip = render(sample_spec(7005, "train"), frames=1, size=256, fps=1.0)
    frame, true = clip.frames[0], clip.masks[0] > 127
    depth = distance_transform_edt(true) - distance_transform_edt(~true)
    rough = depth + 10 * gaussian_filter(random.standard_normal(true.shape), 2)
    rough = np.where((random.random(true.shape) < 0.01) & (abs(depth) < 9), -np.sign(depth), rough)
    rough = 1 / (1 + np.exp(-rough))

    def same(mask: np.ndarray) -> float:
        return ((mask > 0.5) & true).sum() / ((mask > 0.5) | true).sum()

    laid = grounded_sam._refine_edges(rough, frame)
    assert laid.dtype == np.float32 and 0 <= laid.min() <= laid.max() <= 1
    assert same(rough) < 0.93 and same(laid) > 0.96
    assert (
        same(grounded_sam._refine_edges(true.astype(float), frame)) > 0.985
    )  # a correct mask is unchanged


def test_edge_refinement_keeps_fingers() -> None:
    mask = np.zeros((64, 64))
    mask[30:33, 8:56] = 1  # thinner than the filter is wide
    frame = np.full((64, 64, 3), 90, np.uint8)
    frame[30:33, 8:56] = (150, 110, 100)
    assert (grounded_sam._refine_edges(mask, frame)[31, 10:54] > 0.9).all()
    unseen = np.full((64, 64, 3), 90, np.uint8)
    assert not (grounded_sam._refine_edges(mask, unseen)[20:28] > 0).any()


def test_the_box_is_selected_by_overlap_with_the_pose(models: Path) -> None:
    boxes = np.array([[0, 0, 40, 90, 0.9], [50, 0, 70, 60, 0.6]])
    pose = np.array([[49.0, 2, 72, 58]])
    assert grounded_sam._person_boxes([boxes], pose)[0].tolist() == [50, 0, 70, 60]
    assert grounded_sam._person_boxes([boxes[:0]], pose)[0].tolist() == [49, 2, 72, 58]


def test_auto_selects_the_best_local_backend(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    needs_blazepose()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    clip = tmp_path / "a.mp4"
    assert choose_backend("pose", Backends(location=WeightsLocation(models)), clip) == "vitpose"
    assert choose_backend("mask", Backends(location=WeightsLocation(tmp_path)), clip) == "mediapipe"
    assert (
        "no local weights for grounded-sam; --mask-backend grounded-sam downloads"
        in capsys.readouterr().err
    )
    assert choose_backend("mask", Backends(location=WeightsLocation(models)), clip, clip) == "exact"
    with pytest.raises(UsageError, match="choose one of auto, exact, vitpose, dwpose, medi"):
        choose_backend("pose", Backends(pose="guess"), clip)
    with pytest.raises(UsageError, match=r"no a\.masks file"):
        choose_backend("mask", Backends(mask="exact"), clip)


def test_offline_weights_come_from_the_folder_only(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(SAM, WeightsLocation(models)) == models / "sam"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert find_local(SAM, HUB) is None
    with pytest.raises(
        UsageError, match="downloads are off: put facebook/sam-vit-base into DIR/sam"
    ):
        fetch(SAM, WeightsLocation(offline=True))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", "http://127.0.0.1:9", raising=False)
    with pytest.raises(UsageError, match="cannot be downloaded"):
        fetch(SAM, HUB)


def test_pickled_weights_are_refused(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sam"
    folder.mkdir()
    (folder / "config.json").write_bytes((models / "sam" / "config.json").read_bytes())
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="safetensors"):
        load(SamModel, folder)


def test_a_folder_without_weights_is_reported(models: Path, tmp_path: Path) -> None:
    """Also with "auto": the user created that folder."""
    (tmp_path / "sam").mkdir()
    (tmp_path / "sam" / "pytorch_model.bin").touch()
    (tmp_path / "grounding-dino").symlink_to(models / "grounding-dino")
    with pytest.raises(UsageError, match=r"sam: contains no \*\.safetensors"):
        choose_backend("mask", Backends(location=WeightsLocation(tmp_path)), tmp_path / "a.mp4")


def test_a_missing_package_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    needs_blazepose()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for backend in ("dwpose", "openpose"):
        monkeypatch.setitem(PACKAGES, backend, ("no_such_package",))
        with pytest.raises(UsageError, match=rf"pip install .*\[{backend}\]'?$"):
            choose_backend("pose", Backends(pose=backend), tmp_path / "a.mp4")
    (tmp_path / "dwpose").mkdir()
    for name in DWPOSE.files:
        (tmp_path / "dwpose" / name).touch()
    asked = Backends(location=WeightsLocation(tmp_path))
    assert choose_backend("pose", asked, tmp_path / "a.mp4") == "mediapipe"
    monkeypatch.setitem(PACKAGES, "dwpose", ("numpy",))
    assert choose_backend("pose", asked, tmp_path / "a.mp4") == "dwpose"
    assert "dwpose (no local weights for vitpose; --pose" in capsys.readouterr().err


def test_openpose_loads_no_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "openpose", ("numpy",))
    asked = Backends(pose="openpose", location=WeightsLocation(tmp_path))
    with pytest.raises(UsageError, match="download body_pose_model.pth of lllyasviel/Annotators"):
        choose_backend("pose", asked, tmp_path / "a.mp4")
    folder = tmp_path / "openpose"
    folder.mkdir()
    torch.save({"conv1_1.weight": torch.eye(3)[:2].T}, folder / "body_pose_model.pth")
    with pytest.raises(UsageError, match="body_pose_model.pth is a pickle"):
        choose_backend("pose", asked, tmp_path / "a.mp4")
    monkeypatch.chdir(folder)
    exec(openpose.CONVERT)  # as the message says
    assert torch.equal(
        load_file(openpose.weights(asked.location))["conv1_1.weight"], torch.eye(3, 2)
    )


def test_a_torchvision_of_another_torch_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package as pip installs it, first on the path."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "ops.py").write_text("raise RuntimeError('operator torchvision::nms is not there')")
    about = tmp_path / "torchvision-0.21.0.dist-info" / "METADATA"
    about.parent.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    for wanted, why in (
        ("2.0.1", "it requires torch==2.0.1"),
        (metadata.version("torch"), "nms is not ther"),
    ):
        about.write_text(f"Name: torchvision\nVersion: 0.21.0\nRequires-Dist: torch=={wanted}\n")
        fault = openpose.torchvision_fault()
        assert fault and fault.startswith("torchvision 0.21.0 does not work") and why in fault
    (package / "ops.py").write_text("")
    assert not openpose.torchvision_fault()
    sys.modules.pop("torchvision", None)


def test_openpose_persons_are_gathered() -> None:
    candidates = np.array([[10.0 + i, 20 + 2 * i, 0.9, i] for i in range(20)])
    rows = np.full((2, 20), -1.0)
    rows[0, :18], rows[1, [0, 1]] = np.arange(18), (18, 19)
    persons = openpose._persons(candidates, rows)
    assert persons[0, :, 0].tolist() == [10 + i for i in range(18)]
    assert persons[1, :2, 1].tolist() == [56, 58] and not persons[1, 2:].any()
    found = people.persons_of(persons)
    assert len(found.boxes) == 2 and found.scores == pytest.approx([0.9, 0.9])
    assert len(people.persons_of(openpose._persons(np.zeros(0), rows[:0])).boxes) == 0


def test_prepare_with_transformers_backends_end_to_end(
    models: Path,
    tmp_path: Path,
    sure: None,
    capsys: pytest.CaptureFixture,
) -> None:
    """With random weights the detections are arbitrary; the path from clip to subject is real."""
    clip = tmp_path / "a clip.mp4"
    moving = np.repeat(FRAMES, 4, 0)[:, :64, :64].copy()
    moving[:, 10:20, 10:20] += np.arange(12, dtype=np.uint8)[:, None, None, None] * 20
    video.write(clip, moving, 8)
    try:
        backends = Backends(location=WeightsLocation(models))
        subject = prepare(clip, tmp_path / "out", size=square(32), backends=backends, person=1)
    except UsageError as error:  # no detection in the noise is valid too
        assert "no person found" in str(error) or "outline" in str(error)
    else:
        assert read_settings(subject.folder)["pose"] == "vitpose"
    said = capsys.readouterr().err
    assert "poses: vitpose" in said and "masks: grounded-sam" in said
