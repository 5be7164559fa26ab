"""The renderer's pose in a video, what is read off with it, and the motion."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from animateanywhere.backbones.base import BUNDLED
from animateanywhere.evaluation import motion_classifier, pose_fit
from animateanywhere.evaluation.attributes import read_attributes, render_variants, variants
from animateanywhere.evaluation.perception import load_perception, perceive
from animateanywhere.metrics.copying import person_counts
from animateanywhere.puppets import Clip, Identity, render, render_batch, sample_spec

FPS, SIZE = 8.0, 64


@pytest.fixture(scope="module")
def known() -> pose_fit.Repertoire:
    return pose_fit.repertoire(FPS, draws=12)


@pytest.fixture(scope="module")
def clip() -> Clip:
    spec = sample_spec(1003, "held-out")
    motion = replace(spec.motion, name="dance", yaw=0.2, travel=0.0)
    alone = replace(spec, motion=motion, object=replace(spec.object, name="none"))
    return render(alone, 2, SIZE, 1.0)


def test_a_known_pose_is_found_again_at_any_size_and_place(known: pose_fit.Repertoire) -> None:
    motion, frame = 17, 5
    found = np.ones((2, 18, 3))
    found[0, :, :2] = 40 * known.joints[motion, frame] + [30, 60]
    found[1] = found[0]
    found[1, :14, 2] = 0  # only the face: not enough
    fit, nothing = pose_fit.fit_poses(known, found)
    assert nothing is None and fit is not None
    assert fit.motion == known.motions[motion] and fit.time == frame / FPS
    assert (fit.scale, fit.x, fit.y) == pytest.approx((40, 30, 60), abs=1e-2)
    assert fit.error < 1e-3
    torn = found[:1].copy()
    torn[0, 4, :2] += 60  # an arm of more than a body's length
    (odd,) = pose_fit.fit_poses(known, torn)
    assert odd is not None and odd.error > 0.08


def test_the_render_of_a_fit_stands_where_the_person_stands(
    known: pose_fit.Repertoire, clip: Clip
) -> None:
    points = clip.keypoints.copy()
    fits = [fit for fit in pose_fit.fit_poses(known, points) if fit is not None]
    (again,) = pose_fit.render_posed(fits, clip.spec, [clip.spec.identity], SIZE)
    assert again.frames.shape == clip.frames.shape
    a, b = again.masks > 127, clip.masks > 127
    assert (a & b).sum() / (a | b).sum() > 0.6
    seen = points[..., 2] > 0.5
    error = np.linalg.norm((again.keypoints - points)[..., :2], axis=-1)[seen]
    assert error.mean() < 0.06 * SIZE


def test_attributes_of_the_truth_are_its_own_and_of_another_are_not(clip: Clip) -> None:
    def renders(people: list[Identity]) -> list[Clip]:
        return [render(replace(clip.spec, identity=who), 2, SIZE, 1.0) for who in people]

    person = clip.spec.identity
    clips = render_variants(person, renders)
    found = read_attributes(clip.frames, clips)
    assert set(found) <= set(variants(person)) and len(found) >= 6
    assert set(found.values()) == {1.0}
    for name in ("top color", "bottom color" if "bottom color" in found else "hair"):
        changed = {n: 0.0 if n == name else 1.0 for n in found}
        got = read_attributes(clips[name][1].frames, clips)
        assert got[name] == changed[name], name
        assert np.mean(list(got.values())) > 0.6


def test_variants_differ_in_one_attribute_and_are_always_the_same() -> None:
    for seed in range(20):
        person = sample_spec(seed, detailed=seed % 2 == 0).identity
        found = variants(person)
        assert found == variants(person)
        for name, people in found.items():
            assert 0 < len(people) <= 4 and person not in people
            for who in people:
                fields = [key for key, value in vars(who).items() if value != getattr(person, key)]
                assert len({key.split("_")[0] for key in fields}) == 1, (name, fields)


def test_motions_are_told_apart_by_their_joints(known: pose_fit.Repertoire) -> None:
    net = motion_classifier.motion_network(known, 8, 60)
    again = motion_classifier.motion_network.__wrapped__(known, 8, 3)
    twice = motion_classifier.motion_network.__wrapped__(known, 8, 3)
    for a, b in zip(again.parameters(), twice.parameters(), strict=True):
        assert torch.equal(a, b)
    right = []
    for number in range(1, len(known.motions), 3):
        points = np.ones((8, 18, 3))
        points[..., :2] = 50 * known.joints[number, 3:11] + 64
        right.append(motion_classifier.motion_of(net, points) == known.motions[number].name)
    assert np.mean(right) > 0.6  # by chance 0.09
    assert motion_classifier.motion_of(net, np.zeros((8, 18, 3))) is None


def test_two_people_side_by_side_are_counted() -> None:
    left, right = (sample_spec(seed, "held-out") for seed in (1002, 1102))
    camera = replace(left.camera, x=-0.22, scale=0.6, ground=0.9)
    left = replace(left, camera=camera, motion=replace(left.motion, travel=0.0))
    other = replace(camera, x=0.22)
    right = replace(right, scene=left.scene, camera=other, motion=replace(left.motion, yaw=0.3))
    one, more = render_batch([left, right], [1.0, 1.0])
    share = more.masks[0, ..., None] / 255
    both = (one.frames[0] * (1 - share) + more.frames[0] * share).astype(np.uint8)
    net = load_perception(BUNDLED / "perception")
    seen = perceive(net, np.stack([one.frames[0], both]))
    assert person_counts(seen["masks"]).tolist() == [1, 2]
