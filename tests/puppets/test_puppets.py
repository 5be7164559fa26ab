"""Puppets: deterministic pictures whose truth (masks, parts, keypoints, captions) holds."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from animateanywhere import puppets
from animateanywhere.puppets import MOTIONS, OBJECTS, PARTS, SCENES, Clip, Spec
from animateanywhere.puppets.caption import MOTION_WORDS, SCENE_WORDS
from animateanywhere.puppets.ray_casting import cast_rays

SEEDS = range(14)


def with_motion(spec: Spec, **changes: object) -> Spec:
    return dataclasses.replace(spec, motion=dataclasses.replace(spec.motion, **changes))


def plain(seed: int, yaw: float) -> Spec:
    """A standing person alone, whole in the frame, camera level."""
    spec = puppets.sample_spec(seed)
    thing = dataclasses.replace(spec.object, name="none")
    camera = puppets.Camera(scale=0.7, ground=0.92, x=0.0, pitch=0.05, pan=0.0)
    who = dataclasses.replace(
        spec.identity, bag="none", hat="none", glasses=False, hair_style="short"
    )
    spec = dataclasses.replace(spec, object=thing, camera=camera, identity=who)
    return with_motion(spec, name="idle", yaw=yaw, travel=0.0)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    specs = [puppets.sample_spec(seed) for seed in SEEDS]
    return puppets.render_batch(specs, [0.37 * seed for seed in SEEDS])


def test_cone_is_a_union_of_spheres() -> None:
    """The closed form of the surface against the highest of many spheres along the axis."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.uniform(10, 30, 3), rng.uniform(10, 30, 3)
        ra, rb = rng.uniform(2, 9, 2)
        cone = torch.tensor([[[*a, *b, ra, rb]]], dtype=torch.float32)
        _, depth = cast_rays(cone, 40, 40)
        y, x = np.mgrid[:40, :40] + 0.5
        best = np.full((40, 40), -1e9)
        for t in np.linspace(0, 1, 501):
            c, r = a + (b - a) * t, ra + (rb - ra) * t
            q = r**2 - (x - c[0]) ** 2 - (y - c[1]) ** 2
            best = np.where(q > 0, np.maximum(best, c[2] + np.sqrt(np.maximum(q, 0))), best)
        ours = depth[0].numpy()
        both = (best > -1e8) & (ours > -1e8)
        assert both.sum() > 30
        assert ((best > -1e8) != (ours > -1e8)).sum() <= 3  # pixels on the very edge
        np.testing.assert_allclose(ours[both], best[both], atol=0.02)


def test_nearest_cone_wins() -> None:
    far, near = [8, 8, 0, 8, 8, 0, 5, 5], [8, 8, 9, 8, 8, 9, 2, 2]
    hits, _ = cast_rays(torch.tensor([[far, near], [near, far]], dtype=torch.float32), 16, 16)
    center = hits.sample % 256 == 8 * 16 + 8
    assert hits.cone[center].tolist() == [1, 0]


def test_same_seed_same_clip() -> None:
    assert puppets.sample_spec(5) == puppets.sample_spec(5)
    assert puppets.sample_spec(5) != puppets.sample_spec(6)
    torch.manual_seed(1)
    one = puppets.render(puppets.sample_spec(5), frames=3)
    torch.manual_seed(2)
    np.random.seed(3)
    two = puppets.render(puppets.sample_spec(5), frames=3)
    for name in ("frames", "masks", "parts", "keypoints", "caption"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


def test_a_frame_does_not_depend_on_its_batch() -> None:
    specs = [puppets.sample_spec(seed) for seed in (1, 2, 3)]
    together = puppets.render_batch(specs, [0.25, 0.5, 0.75])
    for index, spec in enumerate(specs):
        alone = puppets.render(spec, frames=2, fps=8.0, start=0.25 * (index + 1))
        off = np.abs(alone.frames[0].astype(int) - together[index].frames[0])
        assert off.max() <= 1
        assert np.array_equal(alone.masks[0], together[index].masks[0])
        assert np.array_equal(alone.keypoints[0], together[index].keypoints[0])


@pytest.mark.parametrize("size", [64, 100])
def test_shapes(size: int) -> None:
    clip = puppets.render(puppets.sample_spec(0), frames=2, size=size)
    assert clip.frames.shape == (2, size, size, 3) and clip.frames.dtype == np.uint8
    assert clip.masks.shape == clip.parts.shape == (2, size, size)
    assert clip.masks.dtype == clip.parts.dtype == np.uint8
    assert clip.keypoints.shape == (2, 18, 3) and clip.keypoints.dtype == np.float32


def test_visible_keypoints_lie_on_the_person(clips: list[Clip]) -> None:
    seen = 0
    for clip in clips:
        for x, y, confidence in clip.keypoints[0]:
            if confidence:
                assert clip.masks[0, int(y), int(x)] > 0
                seen += 1
    assert seen > 10 * len(clips)  # most joints of most people


def test_parts_agree_with_the_mask(clips: list[Clip]) -> None:
    for clip in clips:
        assert np.array_equal(clip.parts > 0, clip.masks > 127)
        assert clip.parts.max() < len(PARTS)
        share = (clip.masks > 127).mean()
        assert 0.015 < share < 0.6
    shown = {PARTS[k] for clip in clips for k in np.unique(clip.parts)}
    assert shown == set(PARTS)


def test_part_colors_are_those_of_the_identity() -> None:
    """What is labeled top is red where the top is red, and so on."""
    spec = plain(3, yaw=0.0)
    looks = {"top": (0.9, 0.1, 0.1), "bottom": (0.1, 0.1, 0.9), "shoe": (0.1, 0.8, 0.1)}
    who = dataclasses.replace(
        spec.identity, top="sweater", pattern="plain", bottom="trousers", top_rgb=looks["top"],
        bottom_rgb=looks["bottom"], shoe_rgb=looks["shoe"],
    )  # fmt: skip
    clip = puppets.render(dataclasses.replace(spec, identity=who), frames=1)
    for part, channel in (("top", 0), ("bottom", 2), ("shoes", 1)):
        pixels = clip.frames[clip.parts == PARTS.index(part)]
        assert len(pixels) > 15
        assert (pixels.argmax(1) == channel).mean() > 0.9, part


def test_front_shows_a_face_and_back_does_not() -> None:
    front, back = (puppets.render(plain(4, yaw), frames=1) for yaw in (0.0, np.pi))
    nose, eyes, shoulders = 0, [14, 15], [2, 5]
    assert front.keypoints[0, [nose, *eyes, *shoulders], 2].all()
    assert not back.keypoints[0, [nose, *eyes], 2].any()
    assert back.keypoints[0, shoulders, 2].all()
    assert front.keypoints[0, 2, 0] < front.keypoints[0, 5, 0]  # own right is on our left
    assert back.keypoints[0, 2, 0] > back.keypoints[0, 5, 0]
    assert (front.parts == PARTS.index("face")).sum() > 3 * (
        back.parts == PARTS.index("face")
    ).sum()


def test_profile_hides_the_far_arm() -> None:
    clip = puppets.render(plain(4, np.pi / 2), frames=1)  # looks to our right, own left is far
    near, far = clip.keypoints[0, 2:5, 2], clip.keypoints[0, 5:8, 2]
    assert near.all() and not far[0]


def test_objects_are_not_the_person() -> None:
    """The mask does not grow with an object near by, the picture changes."""
    spec = plain(7, yaw=0.0)
    thing = dataclasses.replace(puppets.sample_spec(0).object, name="suitcase", size=1.0)
    without = puppets.render(spec, frames=1)
    along = puppets.render(dataclasses.replace(spec, object=thing), frames=1)
    assert (along.masks <= without.masks).all()
    assert (along.frames != without.frames).any(-1).sum() > 100


@pytest.mark.parametrize("name", MOTIONS)
def test_motions_move(name: str) -> None:
    spec = with_motion(plain(9, yaw=0.6), name=name, amplitude=1.0, tempo=1.0)
    clip = puppets.render(spec, frames=8, size=64)
    moved = np.ptp(clip.keypoints[..., :2], axis=0).max() / 64
    assert moved > (0.006 if name == "idle" else 0.06)
    steps = np.abs(np.diff(clip.keypoints[..., :2], axis=0)).max() / 64
    assert steps < 0.35  # smooth: no joint jumps in an eighth of a second


def test_motion_stays_smooth_for_long() -> None:
    spec = with_motion(plain(9, yaw=0.0), name="walk", travel=0.3)
    clip = puppets.render(spec, frames=4, size=64, start=60.0)
    assert (clip.masks > 127).any((1, 2)).all()  # still in the frame after a minute


def test_scene_stays_while_the_person_changes() -> None:
    one, other = plain(11, 0.0), plain(12, 0.0)
    other = dataclasses.replace(other, scene=one.scene)
    a, b = (puppets.render(s, frames=1) for s in (one, other))
    bare = np.ones(a.masks.shape, bool)
    bare[:, :, 28:100] = False  # beside the person and the shadow
    assert np.abs(a.frames[bare].astype(int) - b.frames[bare]).max() <= 1


def test_every_scene_differs_and_has_depth() -> None:
    base = plain(13, 0.0)
    pictures = []
    for name in SCENES:
        scene = dataclasses.replace(base.scene, name=name)
        clip = puppets.render(dataclasses.replace(base, scene=scene), frames=1)
        picture = clip.frames[0][clip.masks[0] == 0]
        assert picture.std() > 20
        pictures.append(clip.frames[0].astype(int))
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(one - other).mean() > 12


def test_splits_share_no_identity() -> None:
    looks = {}
    for split in ("train", "held-out"):
        people = [puppets.sample_spec(seed, split).identity for seed in range(25)]
        assert all(puppets.is_held_out(p) == (split == "held-out") for p in people)
        looks[split] = {
            (p.top_color, p.bottom_color, p.hair_style, p.hair_color, p.pattern) for p in people
        }
    assert not looks["train"] & looks["held-out"]
    with pytest.raises(ValueError, match="split"):
        puppets.sample_spec(0, "test")


def test_captions_name_motion_scene_and_object() -> None:
    for seed in range(100):
        spec = puppets.sample_spec(seed)
        text = puppets.caption(spec, seed)
        assert len(text.split()) <= 40
        assert any(words in text for words in MOTION_WORDS[spec.motion.name])
        assert any(words in text for words in SCENE_WORDS[spec.scene.name])
        shown = [name for name in OBJECTS[1:] if name in text.split()]
        assert shown == ([] if spec.object.name == "none" else [spec.object.name])
        assert not any(
            words in puppets.caption(spec, seed, scene=False)
            for words in SCENE_WORDS[spec.scene.name]
        )
    assert len({puppets.caption(puppets.sample_spec(0), seed) for seed in range(20)}) > 5


def test_caption_without_appearance() -> None:
    clothes = ("hair", "wearing", "shirt", "tee", "trousers", "jeans", "skirt", "dress", "shorts",
               "jacket", "coat", "sweater", "pullover", "vest", "beard", "glasses", "shoes",
               "backpack", "beanie", "bald", "ponytail")  # fmt: skip
    for seed in range(60):
        spec = dataclasses.replace(
            puppets.sample_spec(seed),
            object=dataclasses.replace(puppets.sample_spec(seed).object, name="none"),
        )
        text = puppets.caption(spec, seed, person="sks man", appearance=False)
        assert text.startswith("sks man ")
        words = text.replace(",", "").split()
        assert not set(clothes) & set(words) and not set(puppets.spec.COLORS) & set(words)


def test_describe_identity_names_the_whole_appearance() -> None:
    for seed in range(100):
        who = puppets.sample_spec(seed).identity
        text = puppets.describe_identity(who)
        assert who.gender in text and who.top_color in text and who.bottom_color in text
        assert who.pattern == "plain" or who.accent_color in text
        assert who.hair_style == "bald" or who.hair_color in text
        for worn in (who.hat, who.bag):
            assert worn == "none" or worn in text


def test_write_clips(tmp_path: Path) -> None:
    written: dict[str, np.ndarray] = {}

    def encode(path: Path, frames: np.ndarray, fps: float) -> None:
        assert fps == 8.0 and path.with_suffix(".txt").is_file()
        written[path.name] = frames
        path.write_bytes(b"video")

    paths = puppets.write_clips(tmp_path, 2, seed=1, frames=3, size=64, encode=encode)
    assert [p.name for p in paths] == sorted(written)
    masks = np.load(paths[0].with_suffix(".masks.npz"))
    poses = json.loads(paths[0].with_suffix(".poses.json").read_text())
    assert masks["masks"].shape == masks["parts"].shape == (3, 64, 64)
    assert np.shape(poses["keypoints"]) == (3, 18, 3) and poses["width"] == 64
    assert len(paths[0].with_suffix(".txt").read_text().splitlines()) == 4
    assert (tmp_path / "contact_sheet.png").stat().st_size > 1000
    assert not np.array_equal(*written.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_renders_the_same() -> None:
    specs = [puppets.sample_spec(seed) for seed in range(20)]
    here = puppets.render_batch(specs, [0.5] * 20)
    there = puppets.render_batch(specs, [0.5] * 20, device="cuda")
    for a, b in zip(here, there, strict=True):
        off = np.abs(a.frames.astype(int) - b.frames)
        assert (off > 2).mean() < 0.002
        assert np.abs(a.masks.astype(int) - b.masks).mean() < 0.5
        assert (a.keypoints[..., 2] == b.keypoints[..., 2]).mean() > 0.95


def test_a_portrait_shows_a_face_that_a_vae_can_keep() -> None:
    specs = [puppets.sample_portrait(seed) for seed in range(30)]
    clips = puppets.render_batch(specs, [0.5] * 30)
    face = puppets.PARTS.index("face")
    wide = [np.ptp(np.nonzero((clip.parts[0] == face).any(0))[0]) if (clip.parts == face).any()
            else 0 for clip in clips]  # fmt: skip
    assert np.mean(np.array(wide) >= 24) > 0.3
    assert all(puppets.is_held_out(puppets.sample_portrait(n, "held-out").identity)
               for n in range(5))  # fmt: skip


def test_details_are_of_the_face_and_the_top_alone() -> None:
    """Who has none is rendered as ever, also beside somebody who has."""
    spec = puppets.sample_portrait(3)
    plain = dataclasses.replace(spec, identity=dataclasses.replace(spec.identity, detail=None))
    detailed, alone = (puppets.render(one, frames=1) for one in (spec, plain))
    changed = (detailed.frames != alone.frames).any(-1) & (alone.masks == 255)  # but at edges
    assert changed.any()
    allowed = [puppets.PARTS.index(name) for name in ("face", "hair", "top", "skin")]
    assert np.isin(alone.parts[changed], allowed).all()
    together = puppets.render_batch([spec, plain], [0.0, 0.0])
    np.testing.assert_array_equal(together[1].frames, alone.frames)
