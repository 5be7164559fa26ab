"""Metrics of a swapped person: closed forms, and rendered people on the same skeleton."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from animateanywhere import puppets
from animateanywhere.metrics import swap

BODY = ("height", "shoulders", "hips", "head", "legs", "arms")


def on_skeleton_of(person: puppets.Identity, spec: puppets.Spec) -> puppets.Clip:
    body = {name: getattr(spec.identity, name) for name in BODY}
    return puppets.render(replace(spec, identity=replace(person, **body)), frames=2)


@pytest.fixture(scope="module")
def clips() -> dict[str, puppets.Clip]:
    """The same scene with the old person, a new one, somebody who never was there, and empty."""
    spec = puppets.sample_spec(5)
    who = replace(spec.identity, build=1.35, top="jacket", bottom="skirt", hair_style="long",
                  hat="hat", bag="backpack")  # fmt: skip
    spec = replace(spec, identity=who, object=replace(spec.object, name="none"))
    slim = replace(puppets.sample_spec(8).identity, build=0.85, bag="none", hat="none")
    people = {"new": slim, "never": puppets.sample_spec(21).identity}
    found = {name: on_skeleton_of(person, spec) for name, person in people.items()}
    nobody = puppets.render(spec, frames=2, person=False)
    return {"old": puppets.render(spec, frames=2), "empty": nobody, **found}


def leak(clips: dict[str, puppets.Clip], result: np.ndarray) -> float:
    old, new = clips["old"], clips["new"]
    return swap.shape_leak(result, new.frames, old.frames, old.masks, new.masks)


def blend(clips: dict[str, puppets.Clip], share: float) -> np.ndarray:
    old, new = clips["old"].frames.astype(float), clips["new"].frames
    return (share * old + (1 - share) * new).round().astype(np.uint8)


def test_an_empty_scene_is_what_is_behind_the_person(clips: dict[str, puppets.Clip]) -> None:
    empty, old = clips["empty"], clips["old"]
    assert not empty.masks.any() and not empty.keypoints[..., 2].any()
    outside = old.masks == 0
    shadow = np.abs(empty.frames[outside].astype(int) - old.frames[outside]).max()
    assert 0 < shadow < 150  # the shadow is the person's
    still = np.abs(empty.frames[0].astype(int) - empty.frames[1]).max()
    assert still == 0 or clips["old"].spec.camera.pan


def test_the_truth_has_nothing_of_the_old_person(clips: dict[str, puppets.Clip]) -> None:
    truth, old = clips["new"], clips["old"]
    assert leak(clips, truth.frames) == 0
    assert swap.ring_error(truth.frames, truth.frames, old.masks, truth.masks) == 0
    args = clips["empty"].frames, old.masks, truth.masks
    assert swap.shape_pull(truth.frames, truth.frames, *args) == 0
    assert swap.nearer_to_old(truth.frames, truth.frames, truth.parts, old.frames, old.parts) == 0
    assert swap.seam(truth.frames, truth.frames, truth.masks) == 0
    assert swap.tremble(truth.frames, truth.frames, truth.parts) == 0
    assert swap.light(truth.frames, truth.frames, truth.parts) == 0


def test_the_scene_is_all_of_the_old_person(clips: dict[str, puppets.Clip]) -> None:
    truth, old = clips["new"], clips["old"]
    assert swap.ring(old.masks, truth.masks).sum() > 100
    assert leak(clips, old.frames) == pytest.approx(1)
    assert swap.nearer_to_old(old.frames, truth.frames, truth.parts, old.frames, old.parts) == 1
    args = clips["empty"].frames, old.masks, truth.masks
    assert 0.7 < swap.shape_pull(old.frames, truth.frames, *args) < 1.1
    assert swap.light(old.frames, truth.frames, truth.parts) > 5


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_blend_leaks_its_share(clips: dict[str, puppets.Clip], share: float) -> None:
    assert leak(clips, blend(clips, share)) == pytest.approx(share, abs=0.01)


def test_a_soft_background_and_other_people_are_no_leak(clips: dict[str, puppets.Clip]) -> None:
    """Without the correction by the ring's mean color, blur reads as 0.3."""
    truth = clips["new"]
    blurred = gaussian_filter(truth.frames.astype(float), (0, 12, 12, 0)).astype(np.uint8)
    assert abs(leak(clips, blurred)) < 0.1
    assert abs(leak(clips, clips["never"].frames)) < 0.5


def test_what_must_stay_is_measured_outside_of_what_may_change() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    may = np.zeros((2, 16, 16), bool)
    may[:, 4:12, 4:12] = True
    made = scene.copy()
    made[may] = 0
    assert swap.kept_psnr(made, scene, may) == np.inf
    made[:, 0, 0] ^= 255
    assert 0 < swap.kept_psnr(made, scene, may) < 40
    assert np.isnan(swap.kept_psnr(made, scene, np.ones_like(may)))


def test_a_frame_around_the_person_is_a_seam() -> None:
    truth = np.full((1, 32, 32, 3), 100, np.uint8)
    matte = np.zeros((1, 32, 32), bool)
    matte[:, 8:24, 8:24] = True
    made = truth.copy()
    made[matte] = 120
    # The step of 20 lies within the band of 4 pixels, on each side; np.gradient halves it over two
    assert swap.seam(made, truth, matte) == pytest.approx(2.5, abs=0.5)
    assert swap.seam(np.full_like(truth, 110), truth, matte) == 0  # another color is no seam
    assert np.isnan(swap.seam(made, truth, np.zeros_like(matte)))


def test_tremble_is_change_that_the_truth_does_not_have() -> None:
    truth = np.full((4, 8, 8, 3), 100, np.uint8)
    parts = np.ones((4, 8, 8), np.uint8)
    constant, flickers = truth + 10, truth.copy()
    flickers[::2] += 6
    assert swap.tremble(constant, truth, parts) == 0
    assert swap.tremble(flickers, truth, parts) == 6
    assert np.isnan(swap.tremble(flickers[:1], truth[:1], parts[:1]))
    assert np.isnan(swap.tremble(flickers, truth, np.zeros_like(parts)))
    walks = np.zeros_like(parts)
    for frame in range(4):
        walks[frame, 2:6, frame : frame + 4] = 1
    red = np.where(walks[..., None] > 0, np.uint8([200, 20, 20]), truth)
    assert swap.tremble(red, truth, walks) == 0  # a wrong color that moves along


def test_what_the_vae_loses_of_the_scene_is_no_outline(clips: dict[str, puppets.Clip]) -> None:
    truth, old, empty = clips["new"], clips["old"], clips["empty"].frames
    lost = np.where(np.arange(empty.shape[2])[:, None] % 2, np.uint8(0), np.uint8(40))
    coded, through = (np.clip(x.astype(int) + lost, 0, 255) for x in (empty, truth.frames))
    masks = old.masks, truth.masks
    plain = swap.shape_pull(through, truth.frames, empty, *masks)
    both = swap.shape_pull(through, truth.frames, np.stack([empty, coded]), *masks)
    assert abs(both) < 0.1 < abs(plain)
    same = swap.shape_pull(old.frames, truth.frames, np.stack([empty, coded]), *masks)
    assert 0.6 < same < 1.2
