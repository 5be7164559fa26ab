"""Measures against closed forms and against cases whose order is known."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000

from animateanywhere import metrics
from animateanywhere.metrics.likeness import matched_delta_e
from animateanywhere.metrics.pose import MIRROR
from animateanywhere.pose.keypoints import KEYPOINTS
from animateanywhere.puppets import PARTS, render, sample_spec


def _keypoints(visible: int = 18) -> np.ndarray:
    points = np.zeros((2, 18, 3), np.float32)
    points[..., 0] = np.arange(18) * 5
    points[:, :visible, 2] = 1
    return points


def test_pck_counts_visible_keypoints_within_a_tenth() -> None:
    true = _keypoints(visible=10)
    found = true.copy()
    found[..., 2] = 1
    found[0, 0, 1] += 9.9  # within a tenth of 100
    found[0, 1, 1] += 10.1  # outside
    found[0, 2, 2] = 0  # called absent
    found[0, 15, 1] += 50  # not visible in truth: does not count
    assert metrics.pck(found, true, 100) == pytest.approx(18 / 20)
    assert np.isnan(metrics.pck(found, _keypoints(visible=0), 100))


def test_pck_either_side_accepts_mirrored_poses_but_no_wrong_limb() -> None:
    rng = np.random.default_rng(0)
    true = _keypoints()
    true[..., :2] = rng.uniform(0, 500, (2, 18, 2))
    behind = true.copy()
    behind[1] = true[1, MIRROR]  # one frame of two
    assert [KEYPOINTS[at] for at in MIRROR[2:4]] == ["left shoulder", "left elbow"]
    assert metrics.pck(behind, true, 100) < 0.6
    assert metrics.pck_either_side(behind, true, 100) == 1
    behind[0, 4, :2] += 50
    assert metrics.pck_either_side(behind, true, 100) == pytest.approx(35 / 36)
    true[1, :, 2] = 0  # a frame without visible keypoints does not count
    assert metrics.pck_either_side(behind, true, 100) == pytest.approx(17 / 18)
    assert np.isnan(metrics.pck_either_side(behind, _keypoints(visible=0), 100))


def test_height_and_iou() -> None:
    a, b = np.zeros((2, 32, 32), np.uint8), np.zeros((2, 32, 32), np.float32)
    a[:, 4:20, 8:16] = 255
    b[:, 4:20, 12:20] = 1
    assert metrics.person_height(a) == 16
    assert metrics.silhouette_iou(a, b) == pytest.approx(4 / 12)
    assert metrics.silhouette_iou(a, a) == 1
    assert np.isnan(metrics.silhouette_iou(np.zeros_like(a), np.zeros_like(a)))


def test_person_psnr_ignores_the_background() -> None:
    truth = np.full((1, 8, 8, 3), 100, np.uint8)
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[:, :4] = 255
    result = truth.copy()
    result[:, :4] += 10
    result[:, 4:] = 0
    assert metrics.person_psnr(result, truth, mask) == pytest.approx(10 * np.log10(255**2 / 100))
    assert metrics.person_psnr(truth, truth, mask) == float("inf")


def test_psnr_is_the_mean_over_frames() -> None:
    truth = np.full((2, 8, 8, 3), 100, np.uint8)
    result = truth + np.array([10, 100], np.uint8)[:, None, None, None]
    decibels = 10 * np.log10(255**2 / np.array([100, 10000]))
    assert metrics.psnr(result, truth) == pytest.approx(decibels.mean())


def test_scene_accuracy() -> None:
    assert metrics.scene_accuracy(np.array([[0.1, 0.9], [0.6, 0.4]]), 1) == 0.5


@pytest.fixture(scope="module")
def clips() -> dict:
    """One puppet: the truth, half a second on, and another person doing the same."""
    spec, other = sample_spec(3, "held-out"), sample_spec(11, "held-out")
    options = {"frames": 2, "size": 128}
    return {
        "truth": render(spec, **options),
        "later": render(spec, start=0.5, **options),
        "other": render(replace(spec, identity=other.identity), **options),
        "other_later": render(replace(spec, identity=other.identity), start=0.5, **options),
    }


def _delta_e(clips: dict, frames: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    truth = clips["truth"]
    return metrics.person_delta_e(frames, truth.frames, truth.parts, PARTS, masks)


@pytest.mark.parametrize("count", [48, 24, 23, 12, 1])
def test_no_pixel_of_the_truth_is_left_out(count: int) -> None:
    """Half of them are of a color that the result does not have, however few pixels that has."""
    red, green = [50.0, 60.0, 0.0], [50.0, -60.0, 0.0]
    truth, result = np.array([red] * 24 + [green] * 24), np.array([red] * count)
    far = deltaE_ciede2000(red, green)
    assert matched_delta_e(result, truth) == pytest.approx(far / 2)


def test_delta_e_orders_copy_pose_and_person(clips: dict) -> None:
    scores = {k: _delta_e(clips, c.frames, c.masks)["mean"] for k, c in clips.items()}
    assert scores["truth"] == pytest.approx(0, abs=1e-9)
    assert 0.5 < scores["later"] < 0.7 * scores["other"]
    assert scores["later"] < 0.7 * scores["other_later"]


def test_delta_e_tolerates_a_shift_but_not_another_color(clips: dict) -> None:
    truth = clips["truth"]
    moved = np.roll(truth.frames, (1, 2), axis=(1, 2))
    shifted = _delta_e(clips, moved, np.roll(truth.masks, (1, 2), axis=(1, 2)))
    painted = truth.frames.copy()
    top = truth.parts == PARTS.index("top")
    painted[top] = 255 - painted[top]
    colored = _delta_e(clips, painted, truth.masks)
    assert shifted["mean"] < 3
    assert colored["top"] > 15
    assert colored["bottom"] == pytest.approx(0, abs=1e-9)


def test_delta_e_detects_a_lost_pattern_and_a_lost_person() -> None:
    truth, parts = np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 64, 64), np.uint8)
    truth[:, :, ::2] = 255  # black and white stripes
    parts[:, 16:48, 16:48] = PARTS.index("top")
    phase = np.roll(truth, 1, axis=2)
    plain = np.full_like(truth, 119)  # the gray between, in lightness
    masks = (parts > 0).astype(np.float32)

    def error(frames: np.ndarray, person: np.ndarray) -> float:
        return metrics.person_delta_e(frames, truth, parts, PARTS, person)["top"]

    assert error(phase, masks) < 1
    assert error(plain, masks) > 20
    assert error(plain, np.zeros_like(masks)) > 20
    assert np.isnan(metrics.person_delta_e(truth, truth, 0 * parts, PARTS)["mean"])


def test_leak_on_constructed_cases(clips: dict) -> None:
    spec = sample_spec(3, "held-out")
    names = ("beach", "forest", "room", "city", "desert")

    def clip(scene: str, seed: int, start: float = 0.0):  # type: ignore[no-untyped-def]
        placed = replace(spec, scene=replace(spec.scene, name=scene, seed=seed))
        return render(placed, frames=2, size=128, start=start)

    reference, asked = clip("room", 5), clip("beach", 6, start=1.0)
    others = [clip("beach", seed) for seed in range(20, 24)]
    unrelated = np.concatenate([c.frames[:1] for c in others])
    unrelated_masks = np.concatenate([c.masks[:1] for c in others])

    def score(frames: np.ndarray, masks: np.ndarray) -> float:
        return metrics.leak(
            frames, masks, reference.frames, reference.masks, unrelated, unrelated_masks
        )

    person = (asked.masks / 255)[..., None]
    pasted = (asked.frames * person + reference.frames[:1] * (1 - person)).astype(np.uint8)
    mixed = (asked.frames * 0.5 + pasted * 0.5).astype(np.uint8)
    halved = asked.frames.copy()
    halved[:, :, :64] = pasted[:, :, :64]
    assert score(reference.frames, reference.masks) == 1
    with warnings.catch_warnings(action="error"):
        assert np.isnan(score(reference.frames, np.full_like(reference.masks, 255)))
    assert score(pasted, asked.masks) > 0.85
    assert score(asked.frames, asked.masks) < 0.1
    assert 0.25 < score(mixed, asked.masks) < 0.75
    assert 0.25 < score(halved, asked.masks) < 0.75
    far = [score(*(lambda c: (c.frames, c.masks))(clip(n, 9))) for n in names if n != "room"]
    assert np.mean(far) < 0.2


def test_a_frozen_video_does_not_move() -> None:
    walk = render(replace(sample_spec(3, "held-out")), frames=16, size=128)
    height = metrics.person_height(walk.masks)
    frozen = np.repeat(walk.keypoints[:1], 16, axis=0)
    assert metrics.dynamic_degree(frozen, height) == pytest.approx(0, abs=1e-5)
    moves = metrics.dynamic_degree(walk.keypoints, height)
    trembling = walk.keypoints + np.random.default_rng(0).normal(0, 0.5, walk.keypoints.shape)
    trembling[..., 2] = walk.keypoints[..., 2]
    assert moves > 0.01
    assert metrics.dynamic_degree(trembling, height) < 1.2 * moves
    assert np.isnan(metrics.dynamic_degree(0 * walk.keypoints, height))


def test_flicker_leaves_the_person_out() -> None:
    frames, masks = np.full((4, 32, 32, 3), 90, np.uint8), np.zeros((4, 32, 32), np.float32)
    masks[:, 8:24, 8:24] = 1
    frames[::2, 8:24, 8:24] = 200
    assert metrics.flicker(frames, masks) == 0
    frames[::2, :4] += 10
    assert metrics.flicker(frames, masks) == pytest.approx(10 * 4 * 32 / (32 * 32 - 388))
    assert np.isnan(metrics.flicker(frames, np.ones_like(masks)))


def test_an_object_is_distinguished_from_none() -> None:
    spec = replace(sample_spec(3, "held-out"))
    red = replace(spec.object, name="ball", color="red", rgb=(0.82, 0.12, 0.13), size=1.1)
    clips = {
        name: render(replace(spec, object=replace(red, name=name)), frames=4, size=128).frames
        for name in ("ball", "none")
    }
    moved = np.roll(clips["ball"], 2, axis=2)
    noise = np.random.default_rng(0).integers(0, 255, moved.shape).astype(np.uint8)
    there = [
        metrics.object_present(frames, clips["ball"], clips["none"])
        for frames in (clips["ball"], moved, clips["none"], noise)
    ]
    assert there[0] == 1
    assert there[1] >= 0.75
    assert there[2:] == [0, 0]
    assert np.isnan(metrics.object_present(clips["none"], clips["none"], clips["none"]))


def test_scene_delta_e_detects_fog_and_another_scene() -> None:
    spec = sample_spec(3, "held-out")

    def clip(scene: str, seed: int):  # type: ignore[no-untyped-def]
        return render(replace(spec, scene=replace(spec.scene, name=scene, seed=seed)), 2, 128)

    asked = [clip("beach", seed) for seed in range(20, 26)]
    pictures = np.concatenate([c.frames[:1] for c in asked])
    masks = np.concatenate([c.masks[:1] for c in asked])
    true, other = clip("beach", 6), clip("forest", 6)
    fog = (true.frames * 0.5 + 100).astype(np.uint8)
    scores = [
        metrics.scene_delta_e(c, true.masks, pictures, masks)
        for c in (pictures[:1].repeat(2, 0), true.frames, fog, other.frames)
    ]
    assert scores == sorted(scores)
    assert scores[0] < 0.5 * scores[1]
    assert scores[1] < 0.7 * scores[2]


def test_ssim_of_the_person() -> None:
    truth = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3)).astype(np.uint8)
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[:, 8:24, 8:24] = 255
    elsewhere = truth.copy()
    elsewhere[:, :3] = 0
    assert metrics.person_ssim(truth, truth, mask) == pytest.approx(1)
    assert metrics.person_ssim(elsewhere, truth, mask) == pytest.approx(1)
    assert metrics.person_ssim(255 - truth, truth, mask) < 0
    assert np.isnan(metrics.person_ssim(truth, truth, 0 * mask))


def test_flicker_is_of_the_scene_alone() -> None:
    frames = np.full((3, 20, 20, 3), 100, np.uint8)
    masks = np.zeros((3, 20, 20), np.uint8)
    masks[:, 5:10, 5:10] = 255
    assert metrics.flicker(frames, masks) == 0
    frames[1, 3:12, 5:10] = 200  # the person and the two pixels above and below
    assert metrics.flicker(frames, masks) == 0
    frames[1] = 104
    frames[2] = 98
    assert metrics.flicker(frames, masks) == pytest.approx((4 + 6) / 2)
    assert np.isnan(metrics.flicker(frames, np.ones((3, 20, 20), bool)))
    assert np.isnan(metrics.flicker(frames[:1], masks[:1]))


def test_flicker_leaves_out_where_the_person_was() -> None:
    frames = np.full((2, 20, 40, 3), 50, np.uint8)
    masks = np.zeros((2, 20, 40), bool)
    for index, left in enumerate((5, 20)):
        frames[index, 5:15, left : left + 5] = 250
        masks[index, 5:15, left : left + 5] = True
    assert metrics.flicker(frames, masks) == 0


def test_dynamic_degree_closed_forms() -> None:
    still = np.ones((8, 18, 3), np.float32)
    assert metrics.dynamic_degree(still, 100) == 0
    swing = still.copy()
    swing[::2, :, 0] += 20  # every joint 10 to either side of its mean
    assert metrics.dynamic_degree(swing, 100) == pytest.approx(0.1)
    swing[:, 9:] = still[:, 9:]  # half of the joints rest
    assert metrics.dynamic_degree(swing, 100) == pytest.approx(0.05)
    swing[3:, 9:, 2] = 0  # and are visible too rarely to count
    assert metrics.dynamic_degree(swing, 100) == pytest.approx(0.1)
    assert np.isnan(metrics.dynamic_degree(np.zeros((8, 18, 3)), 100))


def test_dynamic_degree_and_flicker_of_puppets() -> None:
    spec = sample_spec(3, "held-out")
    clip = render(spec, frames=8, size=64)
    height = metrics.person_height(clip.masks)
    frozen = np.repeat(clip.keypoints[:1], 8, axis=0)
    moving = metrics.dynamic_degree(clip.keypoints, height)
    assert metrics.dynamic_degree(frozen, height) < 1e-6
    assert 0.01 < moving < 0.5
    noise = np.random.default_rng(0).integers(-8, 9, clip.frames.shape)
    noisy = np.clip(clip.frames + noise, 0, 255).astype(np.uint8)
    assert metrics.flicker(noisy, clip.masks) > metrics.flicker(clip.frames, clip.masks) + 3


def test_oks_closed_form_and_order() -> None:
    true = np.ones((1, 18, 3))
    true[0, :, 0], true[0, :, 1] = np.arange(18), np.arange(18) * 2
    assert metrics.oks(true, true) == 1
    near = true.copy()
    near[..., 0] += 3
    area, sigmas = 0.53 * 17 * 34, np.array([0.026, *[0.079] * 2, 0.072, 0.062, 0.079, 0.072, 0.062,
        0.107, 0.087, 0.089, 0.107, 0.087, 0.089, 0.025, 0.025, 0.035, 0.035])  # fmt: skip
    expected = np.exp(-9 / (8 * area * sigmas**2)).mean()
    assert metrics.oks(near, true) == pytest.approx(expected)
    absent = near.copy()
    absent[0, 9:, 2] = 0
    assert metrics.oks(absent, true) == pytest.approx(
        np.exp(-9 / (8 * area * sigmas[:9] ** 2)).sum() / 18
    )
    far = true.copy()
    far[..., 0] += 9
    assert metrics.oks(far, true) < metrics.oks(near, true) < 1
    assert np.isnan(metrics.oks(true, 0 * true))


def test_the_extent_is_the_longer_side_of_the_visible_joints() -> None:
    points = _keypoints()
    assert metrics.extent(points) == 85
    points[:, 17, 2] = 0.4
    assert metrics.extent(points) == 80
    assert np.isnan(metrics.extent(0 * points))


def test_align_motion_undoes_a_shift_and_a_scale() -> None:
    clip = render(sample_spec(3, "held-out"), frames=6, size=64).keypoints
    moved = clip.copy()
    moved[..., :2] = clip[..., :2] * 1.7 + (30, -12)
    assert np.allclose(metrics.align_motion(clip, moved), moved, atol=1e-2)
    hidden = moved.copy()
    hidden[:, 4:7, 2] = 0
    laid = metrics.align_motion(clip, hidden)
    assert np.allclose(laid[..., :2], moved[..., :2], atol=1e-2)
    assert np.array_equal(metrics.align_motion(clip, 0 * clip), clip)


def test_align_motion_keeps_errors_of_pose_and_timing() -> None:
    spec = sample_spec(3, "held-out")
    asked, other = (
        render(replace(spec, motion=replace(spec.motion, name=name)), frames=8, size=64).keypoints
        for name in ("dance", "sit")
    )
    height = metrics.extent(asked)

    def score(found: np.ndarray) -> tuple[float, float]:
        laid = metrics.align_motion(asked, found)
        return metrics.pck(found, laid, height), metrics.oks(found, laid)

    late = np.roll(asked, 3, axis=0)
    for copied, delayed, wrong in zip(score(asked), score(late), score(other), strict=True):
        assert copied > 0.98
        assert max(wrong, delayed) < 0.8 * copied


def test_similarity_and_consistency_closed_forms() -> None:
    a, b = np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([[1.0, 0.0]])
    assert metrics.similarity(b, 5 * b) == 1
    assert metrics.similarity(a, b) == 0.5
    assert metrics.similarity(-b, b) == -1
    assert np.isnan(metrics.similarity(a[:0], b))
    assert metrics.distance(np.array([[0, 0], [3, 4]]), np.array([[0, 0]])) == 2.5
    assert np.isnan(metrics.distance(a[:0], b))
    same = np.tile(b, (4, 1))
    assert metrics.consistency(same) == 1
    # second frame: 0.6 to the first and to the one before; third: back to the first
    turned = np.array([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    assert metrics.consistency(turned) == pytest.approx((0.6 + (1 + 0.6) / 2) / 2)
    assert metrics.consistency(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 0
    assert np.isnan(metrics.consistency(b))


@pytest.mark.parametrize("seed", [1, 3, 8, 9])
def test_reference_delta_e_orders_copy_pose_scene_and_person(seed: int) -> None:
    spec, other = sample_spec(seed, "held-out"), sample_spec(100 + seed, "held-out")
    motion = "dance" if spec.motion.name != "dance" else "squat"
    asked = replace(spec, motion=replace(spec.motion, name=motion))
    options = {"frames": 4, "size": 96}
    reference = render(spec, **options)
    copy, pose, scene, person = (
        metrics.reference_delta_e(c.frames, c.masks, c.keypoints, reference.frames,
                                  reference.masks, reference.keypoints)["mean"]
        for c in (reference, render(asked, start=1.0, **options),
                  render(replace(asked, scene=other.scene), start=1.0, **options),
                  render(replace(asked, identity=other.identity), start=1.0, **options))
    )  # fmt: skip
    assert copy == pytest.approx(0, abs=1e-6)
    assert 0.3 < pose < 3
    assert pose < 0.5 * person
    assert scene < 0.7 * person


def test_reference_delta_e_detects_which_third_changed_color() -> None:
    clip = render(sample_spec(5, "held-out"), frames=4, size=96)  # in jeans
    painted = clip.frames.copy()
    below = np.isin(clip.parts, [PARTS.index("bottom"), PARTS.index("shoes")])
    painted[below] = (30, 220, 40)
    known = clip.frames, clip.masks, clip.keypoints
    errors = metrics.reference_delta_e(painted, clip.masks, clip.keypoints, *known)
    assert errors["lower"] > 30
    assert errors["upper"] < 3 and errors["head"] < 1
    small = metrics.reference_delta_e(
        painted[:, ::2, ::2], clip.masks[:, ::2, ::2], None, clip.frames, clip.masks, None
    )
    assert small["whole"] == small["mean"] > 5
    nobody = metrics.reference_delta_e(painted, 0 * clip.masks, clip.keypoints, *known)
    assert np.isnan(nobody["mean"]) and set(nobody) == {"mean"}


def test_frechet_equals_the_closed_form_for_gaussians() -> None:
    """Equal to the closed form with a matrix root, and to exact values for a shift and a scale."""
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 5)), rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5)) + 1
    x, y = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = apart + np.trace(x + y - 2 * sqrtm(x @ y).real)
    assert metrics.frechet(a, b) == pytest.approx(expected, rel=1e-6)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet(a, a + 2) == pytest.approx(5 * 4)
    assert metrics.frechet(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(4 * np.trace(x))
    assert np.isnan(metrics.frechet(a[:1], b))
