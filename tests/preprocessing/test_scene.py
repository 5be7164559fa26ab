"""Who is in a scene, and where: of any length, with cuts, crossings and people who come and go."""

import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.media import video
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.pose.skeleton_video import VIRIDIS
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.reference_clip import choose
from animateanywhere.preprocessing.scene import parts as part_of
from animateanywhere.preprocessing.scene.flashes import find_flashes
from animateanywhere.preprocessing.scene.parts import corrected_in, read_part
from animateanywhere.preprocessing.scene.prepared import Scene, prepare_scene
from animateanywhere.preprocessing.scene.presence import find_presence
from animateanywhere.preprocessing.scene.scan import (
    Command,
    options_of,
    read_scene,
    scan,
    scene_facts,
)
from tests.preprocessing.crowd import SIZE, Crowd, crowd, detections

COUNT = 16
STAYS = np.full(COUNT, 20.0)
EXACT = Backends("exact", "exact")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pictures as small as the people."""
    monkeypatch.setattr(part_of, "SIDE", 96)


def write_scene(path: Path, shown: Crowd, masks_of: int = 0, fps: float = 8.0) -> Path:
    """A scene with the exact poses of everybody in it, and the masks of one person."""
    video.write(path, shown.frames, fps, crf=4)
    keypoints = np.where(shown.keypoints[..., 2:] > 0, shown.keypoints, 0).swapaxes(0, 1)
    _, height, width, _ = shown.frames.shape
    table = {"format": "openpose18", "width": width, "height": height, "fps": fps}
    table["keypoints"] = keypoints.round(3).tolist()
    path.with_suffix(".poses.json").write_text(json.dumps(table))
    masks = shown.masks[masks_of].astype(np.uint8) * 255
    np.savez(path.with_suffix(".masks.npz"), masks=masks)
    return path


def prepared(
    path: Path, number: int | None = None, part: Part = WHOLE, command: Command = "swap"
) -> Scene:  # fmt: skip
    facts = scene_facts(path, None, part, command)
    return prepare_scene(facts, path.parent / "runs", number, EXACT)


def swapped(scene: Scene) -> list[tuple[int, int]]:
    return [(part.first, part.stop) for part in scene.parts]


def test_the_only_person_with_masks_and_poses_to_correct(place, monkeypatch):
    monkeypatch.setattr("animateanywhere.preprocessing.scene.presence.SMALL", 200)
    shown = crowd({1: STAYS + np.linspace(0, 60, COUNT)})
    scene = prepared(write_scene(place / "a.mp4", shown))
    assert swapped(scene) == [(0, COUNT)] and not len(scene.passed_through)
    part = scene.parts[0]
    content = read_part(part)
    assert np.abs(content.keypoints[5, :, :2] - shown.keypoints[0, 5, :, :2]).max() < 4
    for index in (0, 9, 15):  # the mask, back in the scene
        left, top, side = part.squares[index]
        back = Image.fromarray(content.masks[index]).resize((side, side), Image.Resampling.BOX)
        canvas = np.zeros((600, 900), np.float32)
        canvas[200 + top : 200 + top + side, 200 + left : 200 + left + side] = back
        truth = shown.masks[0, index]
        found = canvas[200 : 200 + SIZE, 200 : 200 + truth.shape[1]] > 0.5
        assert (found & truth).sum() > 0.9 * (found | truth).sum()
    assert not content.others.any() and not any(corrected_in(part).values())
    assert (part.folder / "report.html").is_file()
    assert next(one.text for one in scene.findings if one.what == "size").startswith(
        "the person is "
    )


def test_a_corrected_mask_is_kept_and_said_also_in_the_next_run(place):
    path = write_scene(place / "a.mp4", crowd({1: STAYS}))
    part = prepared(path).parts[0]
    mask = np.array(Image.open(part.folder / "masks" / "0003.png"))
    mask[:] = 0
    mask[40:80, 40:80] = 255
    Image.fromarray(mask).save(part.folder / "masks" / "0003.png")
    for _ in range(2):
        events = Events()
        with reporting_to(events):
            again = prepared(path).parts[0]
        assert any("kept as corrected manually: mask 3" in one.get("text", "")
                   for one in events.events)  # fmt: skip
        content = read_part(again)
        assert corrected_in(again)["mask"] == [3]
        assert content.masks[3].sum() == 1600 and content.masks[4].sum() != 1600


@pytest.mark.parametrize(("change", "said"), [
    (np.zeros_like, "the pose shows the person, and the mask is all black, in"),
    (np.ones_like, "the mask is all white, which is no person's outline and is not used, in"),
    (np.logical_not,
     "the mask is of what is around the person, as an inverted one, and is not used, in"),
])  # fmt: skip
def test_masks_of_no_person_are_said_and_count_as_missing(place, change, said):
    shown = crowd({1: STAYS})
    for some, where in (
        (slice(None), "16 of 16 frames (0 to 15)"), (slice(3, 4), "1 of 16 frames (3)"),
    ):  # fmt: skip
        shown.masks[0, some] = change(shown.masks[0, some])
        scene = prepared(write_scene(place / "a.mp4", shown))
        (found,) = [one for one in scene.findings if one.what == "masks"]
        assert found.level == "warning" and found.text.startswith(f"frames-00000: {said} {where}: ")
        assert found.text.endswith("or take a.masks.npz away to have them found")
        content = read_part(scene.parts[0])
        assert not content.masks[some].any() and content.keypoints[some].any()
        shown = crowd({1: STAYS})


@pytest.mark.parametrize(("part", "said"), [
    (Part(frames=10), "--frames 10"), (Part(start=0.25), "--start 0.25"),
    (WHOLE, "no --start, --frames, --scene-fps, --fps"),
])  # fmt: skip
def test_corrections_of_other_frames_are_refused_with_the_options_they_were_made_with(
    place, part, said
):
    """With more frames, squares that follow the person lie elsewhere."""
    path = write_scene(place / "a.mp4", crowd({1: 10 + np.linspace(0, 60, COUNT) ** 1.05}))
    folder = prepared(path, part=part).parts[0].folder
    picture = folder / "masks" / "0003.png"
    Image.fromarray(np.array(Image.open(picture))[:, ::-1]).save(picture)
    before = picture.read_bytes()
    with pytest.raises(UsageError, match=re.escape(f"go back to the former ones ({said}), or")):
        prepared(path, part=Part(frames=12))
    assert picture.read_bytes() == before
    assert corrected_in(prepared(path, part=part).parts[0])["mask"] == [3]


def test_a_rate_that_was_asked_for_is_among_the_options(place):
    path = write_scene(place / "a.mp4", crowd({1: STAYS}))
    assert options_of(scene_facts(path, 4.0, Part(frames=3))) == "--frames 3 --fps 4"
    assert options_of(scene_facts(path, 8.0, Part(frames=3))) == "--frames 3"
    (place / "pictures").mkdir()
    for index in range(3):
        Image.new("RGB", (32, 32)).save(place / "pictures" / f"{index}.png")
    assert options_of(scene_facts(place / "pictures", 4.0, WHOLE)) == "--fps 4"
    assert options_of(scene_facts(place / "pictures", None, Part(fps=5.0))) == "--scene-fps 5"


@pytest.mark.parametrize(("part", "fps", "said"), [
    (Part(fps=4.0), None, "--input-fps 4"), (WHOLE, 4.0, "--fps 4 of `aa swap`"),
    (WHOLE, None, "no --start, --frames, --input-fps"),
])  # fmt: skip
def test_aa_check_names_the_options_by_its_own_names(place, part, fps, said):
    path = write_scene(place / "a.mp4", crowd({1: 10 + np.linspace(0, 60, COUNT) ** 1.05}))
    made = prepare_scene(scene_facts(path, fps, part), place / "runs", None, EXACT)
    picture = made.parts[0].folder / "masks" / "0003.png"
    Image.fromarray(np.array(Image.open(picture))[:, ::-1]).save(picture)
    with pytest.raises(UsageError, match=re.escape(f"go back to the former ones ({said}), or")):
        prepared(path, part=Part(frames=12), command="check")


def test_what_was_found_in_other_parts_is_still_said_after_a_correction(place, monkeypatch):
    monkeypatch.setattr(part_of, "LONGEST", 8)
    shown = crowd({1: STAYS})
    shown.masks[0, 1] = False  # in the first part
    path = write_scene(place / "a.mp4", shown)
    first = prepared(path)
    found = [one for one in first.findings if one.text.startswith("frames-00000: ")]
    assert found
    picture = first.parts[1].folder / "masks" / "0003.png"
    Image.fromarray(np.array(Image.open(picture))[:, ::-1]).save(picture)
    again = prepared(path)
    assert corrected_in(again.parts[1])["mask"] == [3]
    assert [one for one in again.findings if one in found] == found


def test_the_same_scene_is_not_looked_at_again(place, monkeypatch):
    path = write_scene(place / "a.mp4", crowd({1: STAYS}))
    first = prepared(path)
    made = (first.parts[0].folder / "made.json").stat().st_mtime_ns
    monkeypatch.setattr("animateanywhere.preprocessing.scene.prepared.scan", None)
    again = prepared(path)
    assert swapped(again) == swapped(first) and again.findings == first.findings
    assert (first.parts[0].folder / "made.json").stat().st_mtime_ns == made
    (first.parts[0].folder / "masks" / "0002.png").unlink()
    with pytest.raises(TypeError):  # then it must be
        prepared(path)


def test_several_people_need_a_number_and_the_others_have_masks(place):
    shown = crowd({1: STAYS, 2: STAYS + 70})
    path = write_scene(place / "a.mp4", shown, masks_of=1)
    with pytest.raises(UsageError, match=r"2 persons.*--person N, numbered in .*people\.png"):
        prepared(path)
    assert (place / "runs" / "people.png").is_file()
    with pytest.raises(UsageError, match="--person 3: 2 persons are seen"):
        prepared(path, 3)
    necks = [float(np.median(read_part(prepared(path, number).parts[0]).keypoints[:, 1, 0]))
             for number in (1, 2)]  # fmt: skip
    assert abs(necks[0] - necks[1]) > 50
    number = 1 + int(necks[1] > necks[0])
    content = read_part(prepared(path, number).parts[0])
    assert content.others.max() > 0.9 and 0.02 < content.others.mean() < 0.5


def test_each_person_of_a_scene_is_kept_for_the_next_time(place, monkeypatch):
    path = write_scene(place / "a.mp4", crowd({1: STAYS, 2: STAYS + 70}))
    first = [prepared(path, number).parts[0] for number in (1, 2)]
    monkeypatch.setattr("animateanywhere.preprocessing.scene.prepared.scan", None)
    again = [prepared(path, number).parts[0] for number in (1, 2)]
    for one, other in zip(first, again, strict=True):
        assert one.folder == other.folder and (one.squares == other.squares).all()
    assert first[0].folder != first[1].folder


def test_people_in_the_background_stay_and_are_mentioned(place):
    shown = crowd({1: STAYS})
    far = shown.keypoints[:1] * (0.3, 0.3, 1) + (180, 40, 0)
    both = Crowd(shown.frames, np.concatenate([shown.keypoints, far]), shown.masks)
    path = write_scene(place / "a.mp4", both)
    for _ in range(2):  # found, and reused
        with reporting_to(events := Events()):
            scene = prepared(path)
        (note,) = [one for one in scene.findings if one.what == "people"]
        assert note.level == "note" and note.text.startswith("one far smaller person is seen")
        assert any(note.text in one.get("text", "") for one in events.events)
    assert abs(read_part(scene.parts[0]).keypoints[0, 1, 0] - shown.keypoints[0, 0, 1, 0]) < 4
    alone = prepared(write_scene(place / "b.mp4", shown))
    assert not any(one.what == "people" for one in alone.findings)


def test_people_whom_the_detector_left_out_as_too_small_are_counted(place, monkeypatch):
    shown = crowd({1: STAYS})
    everybody = detections(shown, colors=False)
    found = iter(one._replace(smaller=2 + (f == 3)) for f, one in enumerate(everybody))
    monkeypatch.setattr(detect, "find_persons", lambda frames, *_: [next(found) for _ in frames])
    path = write_scene(place / "a.mp4", shown)
    facts = scene_facts(path, None, WHOLE)
    scanned = scan(facts, choose(path, EXACT)._replace(poses_file=None), EXACT)
    (note,) = [one for one in find_presence(facts, scanned, None, place / "p.png", None).findings
               if one.what == "people"]  # fmt: skip
    assert note.text.startswith("up to 2 far smaller people are seen at a time")  # 3 but once


def test_who_comes_late_and_leaves_is_swapped_while_there(place):
    frames = np.arange(40)
    there = np.where((frames >= 6) & (frames < 18) | (frames >= 22) & (frames < 27), 30.0, np.nan)
    path = write_scene(place / "a.mp4", crowd({1: there}))
    events = Events()
    with reporting_to(events):
        scene = prepared(path)
    assert swapped(scene) == [(6, 18)]
    assert scene.passed_ranges == [[0, 5], [18, 39]]
    said = " ".join(one.get("text", "") for one in events.events)
    assert "no pose of the person in frames 0 to 5, 18 to 21, 27 to 39: they stay as" in said
    assert "is found for fewer than 8 frames in a row in frames 22 to 26: they stay" in said
    assert "12 of 40 frames are swapped" in said
    there[:1], there[1:18] = np.nan, 30.0
    found = prepared(write_scene(place / "c.mp4", crowd({1: there[:18]}))).findings
    assert any("pose of the person in frame 0: it stays as it is" in one.text for one in found)
    short = write_scene(place / "b.mp4", crowd({1: np.where(frames % 12 < 5, 30.0, np.nan)}))
    with pytest.raises(UsageError, match="nowhere found for 8 frames in a row"):
        prepared(short)


def test_whom_a_detector_misses_is_not_said_to_be_absent(place, monkeypatch):
    shown = crowd({1: np.full(20, 30.0)})
    path = write_scene(place / "a.mp4", shown)
    path.with_suffix(".poses.json").unlink()
    shown.keypoints[:, 10:, :, 2] = 0  # as in a zoom
    found = iter(detections(shown))
    monkeypatch.setattr(detect, "find_persons", lambda frames, *_: [next(found) for _ in frames])
    facts = scene_facts(path, None, WHOLE)
    scene = prepare_scene(facts, place / "runs", None, Backends("mediapipe", "exact"))
    (said,) = [one.text for one in scene.findings if one.what == "passed through"]
    assert said == (
        "the person is not found in frames 10 to 19: they stay as they are; if the person is "
        "there, put poses beside a.mp4 as a.poses.json"
    )


def test_a_short_gap_is_bridged(place):
    frames = np.arange(30)
    hidden = (frames >= 12) & (frames < 15)  # less than half a second
    path = write_scene(place / "a.mp4", crowd({1: np.where(hidden, np.nan, 30.0)}))
    assert swapped(prepared(path)) == [(0, 30)]


def test_shots_are_swapped_one_by_one_and_another_person_stays(place):
    """The clothes tell who is who after a cut, wherever the person stands then."""
    first, then = crowd({1: STAYS}), crowd({1: STAYS + 120})
    someone = crowd({4: STAYS})
    dark = then._replace(frames=np.where(then.masks[0][..., None], then.frames,
                                         then.frames // 4))  # fmt: skip
    other = someone._replace(frames=np.where(someone.masks[0][..., None], someone.frames,
                                             someone.frames // 4))  # fmt: skip

    def joined(*shots: Crowd) -> Crowd:
        return Crowd(*(np.concatenate(rows, axis) for rows, axis in
                       zip(zip(*shots, strict=True), (0, 1, 1), strict=True)))  # fmt: skip

    scene = prepared(write_scene(place / "a.mp4", joined(first, dark)))
    assert swapped(scene) == [(0, COUNT), (COUNT, 2 * COUNT)]
    assert scene.parts[1].begins
    assert abs(int(scene.parts[1].squares[0, 0]) - int(scene.parts[0].squares[0, 0])) > 60
    events = Events()
    with reporting_to(events):
        scene = prepared(write_scene(place / "b.mp4", joined(first, other, first)))
    assert len(scene.passed_through) == COUNT
    assert any("somebody in other clothes is in frames 16 to 31, person 2" in one.get("text", "")
               for one in events.events)  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
def test_a_flash_is_no_cut_and_no_other_person(place, count):
    shown = crowd({1: STAYS + 2 * np.arange(COUNT)})
    frames = shown.frames.copy()
    lit = slice(7, 7 + count)
    frames[lit] = 255 - (255 - frames[lit]) // 3
    scene = prepared(write_scene(place / "a.mp4", shown._replace(frames=frames)))
    assert swapped(scene) == [(0, COUNT)] and len(scene.parts) == 1
    assert {one.what: one.level for one in scene.findings if one.level == "warning"} == {}
    (note,) = [one for one in scene.findings if one.what == "flash"]
    assert note.text.startswith(f"a flash lights {'frame 7' if count == 1 else 'frames 7 to 9'}:")


def test_what_is_bright_for_longer_or_somewhere_else_is_no_flash():
    dark = np.random.default_rng(0).integers(20, 90, (1, 16, 24)).astype(np.uint8)
    frames = np.repeat(dark, 20, 0)
    frames[8:10] = dark + 100
    assert lit(frames) == ([8, 9], [8, 9, 10])
    longer, other = frames.copy(), frames.copy()
    longer[8:18] = dark + 100
    other[8:10] = 110 - dark  # as bright, but not everywhere
    for one in (longer, other):
        assert lit(one) == ([], [])


def lit(small: np.ndarray) -> tuple[list[int], list[int]]:
    """The frames of flashes, and those with which no shot begins."""
    found = find_flashes(small, 10.0)
    return np.flatnonzero(found.lit).tolist(), np.flatnonzero(found.goes_on).tolist()


def test_a_flash_at_an_end_of_a_shot_and_a_white_card_between_two():
    first, then = np.random.default_rng(0).integers(20, 60, (2, 1, 16, 24)).astype(np.uint8)
    frames = np.concatenate([np.repeat(first, 10, 0), np.repeat(then, 10, 0)])
    assert np.abs(first.astype(int) - then).mean() > 12
    end, begin, whole, card = (frames.copy() for _ in range(4))
    end[8:10] += 100
    assert lit(end) == ([8, 9], [8, 9])  # frame 10 begins a shot
    begin[10:12] += 100
    assert lit(begin) == ([10, 11], [11, 12])
    whole[:2] += 100
    whole[-1:] += 100
    assert lit(whole) == ([0, 1, 19], [1, 2, 19])
    card[9:11] = 255
    assert lit(card) == ([], [])
    dark = card // 2  # by few gray levels two other dark shots differ, too
    dark[9:11] = 255
    assert np.abs(dark[8].astype(int) - dark[11]).mean() < 12 and lit(dark) == ([], [])


def test_a_flash_at_an_end_of_a_shot_may_leave_frames_white() -> None:
    first, then = np.random.default_rng(0).integers(20, 60, (2, 1, 16, 24)).astype(np.uint8)
    frames = np.concatenate([np.repeat(first, 10, 0), np.repeat(then, 10, 0)])
    end, begin = frames.copy(), frames.copy()
    end[7:9], end[9] = 255, first + 100
    assert lit(end) == ([7, 8, 9], [7, 8, 9])
    begin[10], begin[11:13] = then + 100, 255
    assert lit(begin) == ([10, 11, 12], [11, 12, 13])


@pytest.mark.parametrize("other, flash", [(16, False), (5, True), (4, True)])
def test_a_small_person_elsewhere_behind_a_white_card_is_another_shot(
    other: int, flash: bool
) -> None:
    """Two dark shots, which on average differ by few gray levels; a step is none."""
    frames = np.random.default_rng(0).integers(12, 14, (20, 14, 24)).astype(np.uint8)
    frames[:9, 5:8, 4:6] = frames[11:, 5:8, other : other + 2] = 100
    frames[9:11] = 255
    assert np.abs(frames[8].astype(int) - frames[11]).mean() < 4
    assert lit(frames) == (([9, 10], [9, 10, 11]) if flash else ([], []))


def test_a_flash_that_leaves_nothing_but_white_or_nobody_stays_as_it_is(place, monkeypatch):
    shown = crowd({1: STAYS})
    shown.frames[5] = 255
    shown.frames[9:11] = 255 - (255 - shown.frames[9:11]) // 3
    path = write_scene(place / "a.mp4", shown)
    events = Events()
    for _ in range(2):
        with reporting_to(events):
            scene = prepared(path)
        assert swapped(scene) == [(0, COUNT)] and scene.passed_ranges == [[5, 5]]
    said = " ".join(one.get("text", "") for one in events.events)
    assert said.count("leaves nobody to be recognized in frame 5: it stays as it is") == 2
    path.with_suffix(".poses.json").unlink()
    shown.keypoints[:, [5, 9], :, 2] = 0
    found = iter(detections(shown))
    monkeypatch.setattr(detect, "find_persons", lambda frames, *_: [next(found) for _ in frames])
    facts = scene_facts(path, None, WHOLE)
    scene = prepare_scene(facts, place / "runs", None, Backends("mediapipe", "exact"))
    assert swapped(scene) == [(0, COUNT)] and scene.passed_through.tolist() == [5, 9]


def test_long_stretches_are_parts_and_memory_does_not_grow(place, monkeypatch):
    monkeypatch.setattr(part_of, "LONGEST", 8)

    def most(count: int) -> int:
        path = write_scene(place / f"{count}.mp4", crowd({1: np.full(count, 20.0)}))
        tracemalloc.start()
        scene = prepared(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert swapped(scene)[0] == (0, 8) and swapped(scene)[-1][1] == count
        assert [part.begins for part in scene.parts] == [True, *[False] * (count // 8 - 1)]
        return peak

    assert most(40) < 1.35 * most(16)


def test_a_folder_has_the_rate_that_is_given_for_it(place):
    folder = place / "pictures"
    folder.mkdir()
    for index in range(6):
        Image.new("RGB", (16, 16)).save(folder / f"{index}.png")
    for rate in (4.0, 24.0):
        facts = scene_facts(folder, None, Part(fps=rate))
        assert facts.fps == rate and facts.expected == 6
    assert scene_facts(folder, 24.0, WHOLE).expected == 6  # one frame each


def test_a_tiny_person_is_said(place):
    shown = crowd({1: STAYS}, width=160)
    small = Crowd(
        shown.frames[:, ::2, ::2], shown.keypoints * (0.5, 0.5, 1), shown.masks[..., ::2, ::2]
    )
    (found,) = [one for one in prepared(write_scene(place / "a.mp4", small)).findings
                if one.what == "size"]  # fmt: skip
    assert "pixels high: a face is a few of them" in found.text and found.level == "warning"
    whole = prepared(write_scene(place / "b.mp4", shown)).findings
    assert not any(one.what == "size" for one in whole)


def test_what_the_person_of_the_scene_holds_is_said_to_go_with_the_person(place):
    shown = crowd({1: STAYS}, width=160)
    masks = shown.masks.copy()
    for frame, (x, y, _) in enumerate(shown.keypoints[0, :, 4]):  # the right wrist
        masks[0, frame, int(y) : int(y) + 40, max(int(x) - 40, 0) : int(x)] = True
    found = prepared(write_scene(place / "a.mp4", shown._replace(masks=masks))).findings
    assert any("hand belongs to the masks, and goes with the" in one.text for one in found)
    found = prepared(write_scene(place / "b.mp4", shown)).findings
    assert not any("goes with the person" in one.text for one in found)


@pytest.mark.parametrize("what, match", [
    ("nobody", "nobody found in it to take the place of"),
    ("skeleton", "a motion and no scene: give it to `aa generate --pose`"),
    ("densepose", "a DensePose part map, which is a motion and no scene"),
    ("long", "240 frames at 8 a second; more than 100 .*--frames 240"),
])  # fmt: skip
def test_scenes_that_cannot_be_swapped_are_refused_in_a_line(place, monkeypatch, what, match):
    path = place / "a.mp4"
    if what == "nobody":
        write_scene(path, crowd({1: np.full(12, np.nan)}))
    elif what == "skeleton":
        from animateanywhere.pose import skeleton

        shown = crowd({1: np.full(12, 20.0)})
        drawn = skeleton.draw(shown.keypoints[0], SIZE, 256)
        write_scene(path, shown._replace(frames=drawn))
    elif what == "densepose":
        bands = VIRIDIS.astype(np.uint8)[np.repeat(np.arange(10), [16, *[4] * 9])]  # (52, 3)
        shown = crowd({1: np.full(12, 20.0)})
        parts = np.broadcast_to(np.resize(bands, (256, 3)), shown.frames.shape)
        write_scene(path, shown._replace(frames=parts))
    else:
        monkeypatch.setattr("animateanywhere.preprocessing.scene.scan.LONGEST", 100)
        video.write(path, np.zeros((240, 16, 16, 3), np.uint8), 8.0)
    with pytest.raises(UsageError, match=match) as caught:
        prepared(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [
    {"key": "other"}, {"parts": []}, {"parts": None}, {"total": None}, {"total": 3},
    {"findings": [1]}, {"findings": [["note", "cut", 3]]}, {"findings": None},
    {"stay": [8]}, {"stay": None},
    {"parts": [{"first": 0, "stop": 8, "begins": True, "squares": [[0, 0, 8]]}]},
], ids=str)  # fmt: skip
def test_a_damaged_record_of_a_scene_is_none(tmp_path, change):
    squares = np.array([[0, 0, 8]] * 8)
    part = part_of.Part(tmp_path / "frames-00000", 0, 8, squares, True)
    found = {"total": 8, "findings": [["note", "cut", "a cut"]], "stay": [3]}
    part_of.write_record(tmp_path, "key", [part], found)
    assert part_of.read_record(tmp_path, "key") is not None
    path = tmp_path / part_of.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert part_of.read_record(tmp_path, "key") is None


@pytest.mark.parametrize("fps", [5.0, 8.0, None])
def test_a_scene_of_any_length_has_as_many_frames_as_expected(place, fps):
    frames = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), np.uint8)
    for count in range(1, 17):
        video.write(place / "a.mp4", frames[:count], 30.0)
        facts = scene_facts(place / "a.mp4", fps, WHOLE)
        assert facts.expected == sum(len(some.frames) for some in read_scene(facts, 32)), count


def test_progress_does_not_go_beyond_the_whole(place):
    """A file whose rate is uneven may hold more frames than its length tells."""
    path = write_scene(place / "a.mp4", crowd({1: STAYS}))
    facts = scene_facts(path, None, WHOLE)._replace(expected=COUNT - 3)
    with reporting_to(reporter := Events()):
        scan(facts, choose(path, EXACT), EXACT)
    steps = [one for one in reporter.events if one.get("stage") == "looking for people"]
    assert steps and max(one["step"] for one in steps) == steps[0]["total"] == COUNT - 3
