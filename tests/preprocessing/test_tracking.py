"""Rendered people in one clip, and what a detector would find of them, are distinguished."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from animateanywhere.core.errors import UsageError
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.masks import segment
from animateanywhere.preprocessing.pose.people import (
    COLORS,
    follow_people,
    persons_of,
    write_numbered,
)
from animateanywhere.preprocessing.reference import choose_reference
from animateanywhere.preprocessing.tracking import intersection_over_union, track
from tests.preprocessing.crowd import SIZE, crowd, detections

FRAMES = 24
RIGHTWARDS = np.linspace(0, 160, FRAMES)


def identities(scene, one):
    """Whom a track shows in each frame; -1 nobody."""
    out = np.full(len(scene.frames), -1)
    for f in np.flatnonzero(one.present):
        apart = [np.abs(one.keypoints[f] - truth[f]).mean() for truth in scene.keypoints]
        out[f] = np.argmin(apart)
    return out


@pytest.mark.parametrize("seeds", [(1, 2), (3, 4), (7, 8)])
@pytest.mark.parametrize("path", ["cross", "meet and return"])
def test_people_keep_their_identity_when_they_meet(seeds, path):
    """They are detected as one for some frames; after them only the clothes tell who returned."""
    there = RIGHTWARDS if path == "cross" else np.minimum(RIGHTWARDS, 160 - RIGHTWARDS)
    scene = crowd(dict(zip(seeds, (there, 160 - there), strict=True)))
    found = detections(scene, hidden=0.3)
    assert min(len(persons.boxes) for persons in found) == 1
    people = follow_people(found, scene.frames)
    assert len(people.tracks) == 2
    for one in people.tracks:
        who = identities(scene, one)
        assert len(set(who[who >= 0])) == 1
        assert one.present.mean() > 0.75


def test_drawings_are_followed_without_colors():
    scene = crowd({1: RIGHTWARDS, 2: 160 - RIGHTWARDS})
    for one in track(detections(scene, hidden=1.1, colors=False)):
        assert len(set(identities(scene, one))) == 1


ROWS = ("boxes", "keypoints", "scores", "colors")  # one row for each person


def test_a_gap_is_bridged_and_a_short_detection_is_nobody():
    scene = crowd({1: np.full(FRAMES, 20.0), 2: np.full(FRAMES, 140.0)})
    found = detections(scene)
    for f in range(8, 14):  # one of them is missed
        one = found[f]
        kept = one.boxes[:, 0] < 100
        found[f] = one._replace(**{
            name: getattr(one, name)[kept] for name in ROWS
        })  # fmt: skip
    ghost = persons_of(scene.keypoints[0, :1] + (80, 0, 0))
    found[3] = found[3]._replace(**{
        name: np.concatenate([getattr(found[3], name)[:, :0] if name == "colors"
                              else getattr(found[3], name), getattr(ghost, name)])
        for name in ROWS if name != "colors"
    }, colors=np.empty((len(found[3].boxes) + 1, 0)))  # fmt: skip
    people = follow_people(found, scene.frames)
    assert [int(one.present.sum()) for one in people.tracks] == [FRAMES, FRAMES - 6]
    assert not people.background


def test_a_person_who_comes_back_is_the_same_by_the_clothes():
    away = np.full(60, np.nan)
    first, second = away.copy(), away.copy()
    first[:18], second[40:] = 20, 140
    back = np.where(np.isnan(first), second, first)
    for scene, count in ((crowd({1: back}), 1), (crowd({1: first, 4: second}), 2)):
        people = follow_people(detections(scene), scene.frames)
        assert len(people.tracks) == count


def test_passers_by_far_behind_are_background():
    scene = crowd({1: np.full(FRAMES, 20.0), 2: 160 - RIGHTWARDS})
    scene.keypoints[1, ..., :2] *= 0.25
    found = [persons_of(scene.keypoints[:, f]) for f in range(FRAMES)]
    people = follow_people(found)
    assert (len(people.tracks), len(people.background)) == (1, 1)


def test_a_detection_that_was_found_twice_is_one_person():
    pose = crowd({1: np.full(3, 20.0)}).keypoints[0, 0]
    twice = persons_of(pose + np.array([[[0, 0, 0]], [[1, 1, 0]]]), np.array([0.7, 0.9]))
    assert twice.scores.tolist() == [0.9]


def choice(scene, number, place):
    people = follow_people(detections(scene), scene.frames)
    return choose_reference(
        people, number, scene.frames, 8.0, place / "a.mp4", place / "people.png"
    )


def test_a_clip_is_cut_to_the_frames_before_a_second_person_comes(tmp_path):
    late = np.where(np.arange(FRAMES) < 16, np.nan, 200 - 8.0 * np.arange(FRAMES))
    scene = crowd({1: np.full(FRAMES, 20.0), 2: late + 120})
    scene.keypoints[0, 7, :, 2] = 0  # missed once
    alone = choice(scene, None, tmp_path)
    comes = int(np.flatnonzero((scene.keypoints[1, ..., 2] > 0.5).sum(1) >= 6)[0])
    used = (alone.keypoints[..., 2] > 0.3).any(1)
    assert used[: comes - 1].all() and not used[comes + 1 :].any()
    assert alone.findings[0].level == "warning"
    assert f"person 1 in frames 0 to 6, 8 to 23, 2 in frames {comes}" in alone.findings[0].text
    assert (tmp_path / "people.png").is_file()
    both = choice(scene, 1, tmp_path)
    assert (both.keypoints[..., 2] > 0.3).any(1).all()
    assert len(both.others) == 1 and both.findings[0].level == "note"


def test_two_people_throughout_are_refused_unless_one_is_chosen(tmp_path):
    scene = crowd({1: np.full(FRAMES, 20.0), 2: np.full(FRAMES, 140.0)})
    with pytest.raises(UsageError, match=r"1 in frames 0 to 23, 2 in.*--person N.*people\.png"):
        choice(scene, None, tmp_path)
    for number in (1, 2):
        middle = choice(scene, number, tmp_path).keypoints[:, 1, 0].mean()
        other = choice(scene, 3 - number, tmp_path).keypoints[:, 1, 0].mean()
        assert abs(middle - other) > 80
    with pytest.raises(UsageError, match=r"--person 3: 2 persons are seen"):
        choice(scene, 3, tmp_path)


def test_the_numbered_picture_shows_a_box_at_each_person(tmp_path):
    """Also of persons whom no frame shows together."""
    always, first = np.full(FRAMES, 20.0), np.where(np.arange(FRAMES) < 12, 20.0, np.nan)
    later = np.where(np.arange(FRAMES) < 12, np.nan, 140.0)
    for paths, panels in (((always, always + 120), 1), ((first, later), 2)):
        scene = crowd(dict(zip((1, 4), paths, strict=True)))
        people = follow_people(detections(scene), scene.frames)
        write_numbered(tmp_path / "a.png", lambda index, of=scene: of.frames[index], people)
        drawn = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
        assert drawn.shape == (SIZE, 256 * panels, 3)
        for color in COLORS[:2]:  # of the boxes
            edge = np.abs(drawn - ImageColor.getrgb(color)).sum(-1) == 0
            rows, columns = np.nonzero(edge)
            assert np.ptp(rows) > 50 and np.ptp(columns) > 15


def test_masks_show_the_chosen_person_only():
    """Where the masks of two people overlap, each pixel belongs to the nearer limbs."""
    scene = crowd({1: np.full(3, 40.0), 2: np.full(3, 80.0)}, width=SIZE * 2)
    f = 1
    both = (scene.masks[:, f].any(0)).astype(np.float32)
    square = np.zeros((SIZE * 2, SIZE * 2), np.float32)
    square[:SIZE] = both
    for person in (0, 1):
        own, other = scene.keypoints[person, f], scene.keypoints[1 - person, f]
        mask = segment._without_others(square, own, [other])[:SIZE] > 0.5
        truth, foreign = scene.masks[person, f], scene.masks[1 - person, f]
        assert (mask & truth).sum() > 0.85 * truth.sum()
        assert (mask & foreign).sum() < 0.12 * foreign.sum()
    nobody = np.zeros((18, 3), np.float32)
    assert np.array_equal(segment._without_others(square, own, [nobody]), square)


def test_poses_of_several_people_in_a_file(tmp_path, place):
    from animateanywhere.preprocessing.driving import read_driving

    scene = crowd({1: np.full(FRAMES, 20.0), 2: np.full(FRAMES, 140.0)})
    everybody = scene.keypoints.transpose(1, 0, 2, 3).copy()
    everybody[::2] = everybody[::2, ::-1]  # in any order
    path = tmp_path / "a.json"
    poses = skeleton.Poses(everybody[:, 0], 256, SIZE, 8.0)
    skeleton.write_poses(path, poses)
    text = path.read_text()
    start = text.index('"keypoints"')
    path.write_text(text[:start] + f'"keypoints": {everybody.tolist()}}}\n')
    with pytest.raises(UsageError, match="poses of 2 persons"):
        skeleton.read_poses(path)
    for number in (1, 2):
        neck = read_driving(path, 8.0, person=number).keypoints[:, 1, 0]
        assert np.ptp(neck) < 60
    with pytest.raises(UsageError, match="--person 3: 2 persons"):
        read_driving(path, 8.0, person=3)


def test_overlap_of_boxes():
    box = np.array([[10.0, 10, 50, 90]])
    assert intersection_over_union(box, box[0]) == pytest.approx(1)
    assert intersection_over_union(box, box[0] + 100) == pytest.approx(0)
