"""The face detector: which frames are frontal, what is no face, a short training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from animateanywhere.core.errors import UsageError
from animateanywhere.evaluation.face_detector import (
    FaceDetector,
    face_crops,
    face_probabilities,
    faces_visible,
    frontal_frames,
    head_width,
    load_face_detector,
    save_face_detector,
)
from animateanywhere.evaluation.face_detector_training import (
    BEHIND,
    FRONT,
    draw_heads,
    face_accuracy,
    head_samples,
    train_face_detector,
    without_face,
)
from animateanywhere.puppets import PARTS, Clip, render, render_batch, sample_spec
from animateanywhere.training.stage import Stage


def standing(yaw: float, detailed: bool = True, seed: int = 4) -> Clip:
    spec = sample_spec(seed, detailed=detailed)
    who = replace(spec.identity, hair_style="short", hat="none", beard=False)
    motion = replace(spec.motion, name="idle", yaw=yaw, travel=0.0)
    camera = replace(spec.camera, scale=0.8, ground=0.95, x=0.0, pan=0.0)
    thing = replace(spec.object, name="none")
    spec = replace(spec, identity=who, motion=motion, camera=camera, object=thing, occluder=None)
    return render(spec, frames=2)


@pytest.fixture(scope="module")
def heads() -> dict[str, np.ndarray]:
    specs = [sample_spec(seed, detailed=seed % 2 == 1) for seed in range(48)]
    return head_samples(render_batch(specs, [0.7] * len(specs)))


def test_frames_are_frontal_if_nose_and_eyes_show_in_a_wide_head() -> None:
    front, behind = standing(0.0), standing(np.pi)
    assert frontal_frames(front).all() and not frontal_frames(behind).any()
    small = replace(front, spec=replace(front.spec, camera=replace(front.spec.camera, scale=0.3)))
    assert not frontal_frames(small).any()
    face = np.isin(front.parts, [PARTS.index("face"), PARTS.index("hair")])
    assert 0.75 < np.ptp(np.nonzero(face.any((0, 1)))) / head_width(front) < 1.25


def test_a_painted_over_face_has_no_features_and_nothing_else_changes() -> None:
    clip = standing(0.0)
    blank, face = without_face(clip), clip.parts == PARTS.index("face")
    assert (blank[~face] == clip.frames[~face]).all()
    spread = [frames[face].astype(float).mean(-1).std() for frames in (clip.frames, blank)]
    assert spread[1] < 0.5 * spread[0]
    assert np.abs(blank[face].mean(0) - clip.frames[face].mean(0)).max() < 12


def test_batches_show_faces_in_half_of_the_rows(heads: dict[str, np.ndarray]) -> None:
    crops, shown = draw_heads(heads, 56, torch.Generator().manual_seed(0))
    assert crops.shape == (56, 3, 24, 24) and shown.sum() == 28 and shown[:28].all()
    assert crops.abs().max() <= 1
    again, _ = draw_heads(heads, 56, torch.Generator().manual_seed(0))
    assert torch.equal(crops, again)

    def detail(rows: torch.Tensor) -> float:  # of the finest scale, which a blur removes
        return float((rows[..., 1:] - rows[..., :-1]).abs().mean())

    assert detail(crops[44:48]) < detail(crops[:28])  # blurred as by an autoencoder


def test_a_short_training_tells_faces_from_backs_of_heads(
    heads: dict[str, np.ndarray], tmp_path: Path
) -> None:
    stage = Stage("perception", "perception", 150, batch=8, learning_rate=3e-3, ema=0.9)
    net = train_face_detector(heads, stage, tmp_path / "training", 0)
    assert net is not None
    likely = {
        name: float(np.median(face_probabilities(net, heads[name][:, 8:-8, 8:-8])))
        for name in (FRONT, BEHIND)
    }
    assert likely[FRONT] > 0.7 > 0.5 > likely[BEHIND]
    assert face_accuracy(net, heads)["found_in_backs_of_heads"] == 0
    shut = {name: crops for name, crops in heads.items() if name != BEHIND}
    assert set(face_accuracy(net, shut | {BEHIND: heads[BEHIND][:0]})) == {
        "found_in_faces", "found_in_blank_faces"
    }  # fmt: skip
    save_face_detector(tmp_path, net)
    again = load_face_detector(tmp_path)
    assert again is not None and load_face_detector(tmp_path / "training") is None
    clip = standing(0.0, seed=8)
    assert faces_visible(again, clip.frames, clip) == faces_visible(net, clip.frames, clip)
    assert np.isnan(faces_visible(net, clip.frames, standing(np.pi)))
    assert train_face_detector({FRONT: heads[FRONT][:0]}, stage, tmp_path, 0) is None


def test_it_is_small_and_looks_where_the_face_should_be() -> None:
    assert sum(p.numel() for p in FaceDetector().parameters()) < 50_000
    clip = standing(0.0)
    marked = clip.frames.copy()
    x, y = clip.keypoints[0, 0, :2].round().astype(int)
    marked[0, y - 1 : y + 1, x - 1 : x + 1] ^= 255
    change = np.abs(face_crops(marked, clip)[0].astype(int) - face_crops(clip.frames, clip)[0])
    assert np.abs(np.argwhere(change.max(-1) > 60).mean(0) + 0.5 - 12).max() < 1.5


@pytest.mark.parametrize("fault", ["cut", "of another network"])
def test_a_file_that_is_no_face_detector_is_named(fault: str, tmp_path: Path) -> None:
    save_face_detector(tmp_path, FaceDetector())
    path = tmp_path / "faces.safetensors"
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(UsageError, match="faces.safetensors.*make it again"):
        load_face_detector(tmp_path)
