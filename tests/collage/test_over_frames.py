"""A person's limbs over what a network drew."""

import warnings

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from animateanywhere.collage import over_frames
from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.collage.over_frames import with_limbs
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.pose.outline import body_outlines, trunk_length
from animateanywhere.puppets import PARTS, render, sample_spec

FRAMES, SIDE = 4, 96


def test_the_network_draws_the_scene_and_the_picture_gives_the_person() -> None:
    """A blurred gray person in the network's frames becomes that of the picture, who moves."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    scene = render(sample_spec(7), FRAMES, SIDE, 4.0, person=False).frames
    blob = np.where(clip.masks[..., None] > 127, np.uint8(128), scene)
    blob[:, 2:6, 2:6] = 7  # far from the person: stays
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    found = with_limbs(blob, clip.keypoints, Collage([one]))
    assert found.shape == blob.shape and found.dtype == np.uint8
    assert (found[:, 2:6, 2:6] == 7).all()
    person = clip.masks > 200
    apart = [np.abs(part.astype(int) - clip.frames)[person].mean() for part in (blob, found)]
    assert apart[1] < 0.5 * apart[0]


def test_beside_the_limbs_nothing_of_the_networks_person_is_left() -> None:
    """It drew the person wider than the picture shows."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    frames = np.full((FRAMES, SIDE, SIDE, 3), 200, np.uint8)
    wide = np.abs(np.arange(SIDE)[None, :] - clip.keypoints[:, 1, 0][:, None]) < 10
    torso = np.zeros((FRAMES, SIDE, SIDE), bool)
    for n in range(FRAMES):
        top, bottom = clip.keypoints[n, [1, 8], 1].astype(int)
        torso[n, top:bottom] = wide[n]
    frames[torso] = 20
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    found = with_limbs(frames, clip.keypoints, Collage([one]))
    beside = torso & (clip.masks == 0)
    assert (frames[beside] == 20).all() and (found[beside].mean(-1) > 120).mean() > 0.6


@pytest.mark.parametrize("hidden", [[], [1], [8], [0, 14, 15]])
@pytest.mark.parametrize("wide", [0, 40])
def test_the_networks_person_goes_in_frames_of_any_shape(wide: int, hidden: list[int]) -> None:
    """Also where a neck or a hip is not known. The head is the network's where the person turns
    away."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    points = clip.keypoints.copy()
    points[:, hidden] = 0
    points[points[..., 2] > 0] += [wide, 0, 0]
    around = ((0, 0), (0, 0), (wide, wide))
    person = np.pad(clip.masks, around) > 127
    grown = binary_dilation(person, iterations=3, axes=(1, 2))
    frames = np.where(grown[..., None], np.uint8(20), np.uint8(200)).repeat(3, -1)
    found = with_limbs(frames, points, Collage([one]))
    assert found.shape == (FRAMES, SIDE, SIDE + 2 * wide, 3)
    torso = int(points[0, 2, 1]), int(points[0, 9, 1])
    beside = (grown & ~person)[:, torso[0] : torso[1]]
    assert (found[:, torso[0] : torso[1]][beside].mean(-1) > 120).mean() > 0.8
    head = np.pad(clip.parts == PARTS.index("face"), around)
    drawn = (np.abs(found[head].astype(int) - 20).max(-1) < 10).mean()
    assert drawn > 0.6 if 0 in hidden else drawn < 0.4


def test_what_is_replaced_has_no_border_that_shows() -> None:
    """The network drew a dark person just as wide as is replaced, who stands still, and around the
    head a wall of dots, which nothing else shows."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    points = np.repeat(clip.keypoints[:1], FRAMES, 0)
    head = np.zeros_like(points)
    head[:, [0, 14, 15, 16, 17]] = points[:, [0, 14, 15, 16, 17]]
    body = np.where(head > 0, 0, points)
    torso = trunk_length(points, SIDE, SIDE)
    person, face, wall = (
        body_outlines(one, SIDE, SIDE, wide, torso)
        for one, wide in ((body, 1.2), (head, 0.6), (head, 1.3))
    )
    dots = np.indices((SIDE, SIDE)).sum(0) % 4 < 2
    frames = np.full((FRAMES, SIDE, SIDE, 3), 200, np.uint8)
    frames[wall & dots] = 150
    frames[face | person] = 20
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    found = with_limbs(frames, points, Collage([one]))
    rim = person & ~binary_erosion(person, axes=(1, 2)) & ~wall
    assert rim.sum() > 100 and np.median(found[rim]) > 175  # 200 is all of the surroundings
    ring = wall & ~body_outlines(head, SIDE, SIDE, 1.1, torso)
    ring &= ~binary_dilation(person, iterations=4, axes=(1, 2))
    assert ring.sum() > 50 and np.abs(found[ring].astype(int) - frames[ring]).mean() < 6


def test_an_object_beside_the_person_stays_and_smears_of_the_person_do_not() -> None:
    """A red ball in the hand, of a color that neither person nor scene has; beside the trunk, half
    of the person's own color."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    scene = np.full((FRAMES, SIDE, SIDE, 3), (200, 210, 200), np.uint8)
    mask = clip.masks[0].astype(np.float32) / 255
    one = Cutout(clip.frames[0], mask, clip.keypoints[0])
    x, y = clip.keypoints[0, 4, :2].astype(int)
    chest = clip.frames[0, int(clip.keypoints[0, 1, 1]) + 8, int(clip.keypoints[0, 1, 0])]
    frames = np.where((clip.masks > 127)[..., None], clip.frames, scene)
    smear = binary_dilation(clip.masks > 127, iterations=3, axes=(1, 2)) & (clip.masks < 128)
    frames[smear] = (chest.astype(int) + scene[0, 0, 0]) // 2
    hand, ball = slice(y - 4, y + 5), slice(x - 4, x + 5)
    frames[:, hand, ball] = (255, 0, 0)
    found = with_limbs(frames, np.repeat(clip.keypoints[:1], FRAMES, 0), Collage([one]))
    assert np.abs(found[:, y, x].astype(int) - (255, 0, 0)).max() < 40
    torso = slice(*clip.keypoints[0, [2, 8], 1].astype(int))
    beside = smear[0, torso]
    beside[:, x - 9 : x + 10] = False
    off = np.abs(found[0, torso][beside].astype(int) - (200, 210, 200)).mean()
    assert off < 0.5 * np.abs(frames[0, torso][beside].astype(int) - (200, 210, 200)).mean()


def test_no_object_stays_on_the_face() -> None:
    """A green patch that the network drew over it, as over a hand."""
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    frames = np.where((clip.masks > 127)[..., None], clip.frames, np.uint8(200))
    green = (20, 255, 20)
    places = [clip.keypoints[0, joint, :2].astype(int) for joint in (0, 4)]
    for x, y in places:
        frames[:, y - 4 : y + 5, x - 4 : x + 5] = green
    found = with_limbs(frames, np.repeat(clip.keypoints[:1], FRAMES, 0), Collage([one]))
    face, hand = (
        np.abs(found[1, y - 2 : y + 3, x - 2 : x + 3].astype(int) - green).max(-1) < 60
        for x, y in places
    )
    assert face.mean() < 0.1 and hand.mean() > 0.5


def test_a_person_of_few_colors_gives_no_warning(capfd: pytest.CaptureFixture[str]) -> None:
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    flat = np.full_like(clip.frames[0], 90)
    one = Cutout(flat, clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = with_limbs(clip.frames, clip.keypoints, Collage([one]))
    assert found.shape == clip.frames.shape and not capfd.readouterr().err


def test_frames_come_one_by_one_and_a_long_video_is_never_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = render(sample_spec(7), FRAMES, SIDE, 4.0)
    collage = Collage(
        [Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])]
    )
    frames = clip.frames // 2 + 60
    once = list(over_frames.each_with_limbs(iter(frames), clip.keypoints, collage))
    assert (np.stack(once) == with_limbs(frames, clip.keypoints, collage)).all()
    monkeypatch.setattr(over_frames, "LONGEST", 2)
    monkeypatch.setattr(over_frames, "MANY", 1)
    taken: list[int] = []

    def read():  # type: ignore[no-untyped-def]
        for number, frame in enumerate(frames):
            taken.append(number)
            yield frame

    parts = over_frames.each_with_limbs(read(), clip.keypoints, collage)
    first = next(parts)
    assert taken == [0, 1, 2]
    some = with_limbs(frames[:3], clip.keypoints[:3], collage)[:2]
    last = with_limbs(frames[1:], clip.keypoints[1:], collage)[1:]
    assert (np.stack([first, *parts]) == np.concatenate([some, last])).all()


@pytest.mark.parametrize("longest", [10, 13])
def test_a_steadied_background_does_not_leap_between_parts(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = render(sample_spec(7), 1, 48, 4.0)
    poses = np.repeat(clip.keypoints, 30, 0)
    trembling = np.random.default_rng(0).integers(-20, 20, (30, 48, 48, 3))
    frames = (clip.frames // 2 + 60 + trembling).astype(np.uint8)
    collage = Collage(
        [Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])]
    )
    whole = with_limbs(frames, poses, collage, steady=True)
    monkeypatch.setattr(over_frames, "LONGEST", longest)
    parts = np.stack(list(over_frames.each_with_limbs(frames, poses, collage, steady=True)))
    assert parts.shape == whole.shape
    assert (parts[:, :4, :4] == whole[:, :4, :4]).all()


def trembling_person(count: int) -> tuple[np.ndarray, np.ndarray, Collage]:
    """Frames whose background trembles, of a person who stands; the poses, and that person."""
    clip = render(sample_spec(7), 1, 48, 4.0)
    noise = np.random.default_rng(0).integers(-20, 20, (count, 48, 48, 3))
    one = Cutout(clip.frames[0], clip.masks[0].astype(np.float32) / 255, clip.keypoints[0])
    frames = (clip.frames // 2 + 60 + noise).astype(np.uint8)
    return frames, np.repeat(clip.keypoints, count, 0), Collage([one])


@pytest.mark.parametrize(("count", "longest"), [(5, 160), (30, 160), (30, 13)])
def test_a_video_that_loops_has_no_seam(
    count: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same wherever it begins."""
    monkeypatch.setattr(over_frames, "LONGEST", longest)
    frames, poses, collage = trembling_person(count)
    one, other = (
        np.stack([*over_frames.each_with_limbs(some, poses, collage, True, circle=True)])
        for some in (frames, np.roll(frames, 3, 0))
    )
    assert one.shape == frames.shape and one.dtype == np.uint8
    assert (np.roll(one, 3, 0)[:, :4, :4] == other[:, :4, :4]).all()


@pytest.mark.parametrize("circle", [False, True])
def test_without_frames_there_are_none(circle: bool) -> None:
    _, poses, collage = trembling_person(3)
    assert not list(over_frames.each_with_limbs([], poses[:0], collage, circle=circle))


@pytest.mark.parametrize("circle", [False, True])
def test_progress_counts_frames(circle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_frames, "LONGEST", 13)
    events = Events()
    with reporting_to(events):
        list(over_frames.each_with_limbs(*trembling_person(20), True, circle=circle))
    ends = [(event["step"], event["total"]) for event in events.events if event["kind"] == "end"]
    assert ends == [(13, 20), (20, 20)]
