"""Pictures of a character: who is in them, cut out, and what a user should know of them."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere import puppets
from animateanywhere.core.errors import UsageError
from animateanywhere.media import video
from animateanywhere.pose import skeleton
from animateanywhere.pose.retarget import fit_in_place
from animateanywhere.pose.skeleton_video import VIRIDIS
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.character import (
    MOST_GROWTH,
    Character,
    compared,
    proportions,
    read_character,
)
from animateanywhere.preprocessing.pose.hidden import with_hidden
from animateanywhere.preprocessing.pose.people import persons_of
from animateanywhere.preprocessing.tracking import Persons
from animateanywhere.preprocessing.who import Who
from tests.conftest import needs_blazepose
from tests.preprocessing.crowd import SIZE, walker

PERSON = walker(4, 1)
POSE, MASK, PICTURE = PERSON.keypoints[0], PERSON.masks[0], PERSON.frames[0]
LEGS, FACE = (9, 10, 12, 13), (0, 14, 15)
AUTO = Backends()


def pose_beside(
    path: Path, *poses: np.ndarray, hidden: tuple[int, ...] = (), width: int = SIZE
) -> Path:
    points = np.stack(poses).astype(float)
    points[:, list(hidden), 2] = 0
    table = {"format": "openpose18", "width": width, "height": SIZE, "fps": 8.0}
    text = json.dumps(table | {"keypoints": [points.tolist()]})
    path.with_suffix(".poses.json").write_text(text)
    return path


def photo(path: Path, picture: np.ndarray = PICTURE, mask: np.ndarray = MASK) -> Path:
    """A photograph with its mask and pose beside it."""
    Image.fromarray(picture).save(path)
    Image.fromarray(mask).save(path.with_suffix(".mask.png"))
    return pose_beside(path, POSE)


def read(path: Path, number: int | None = None, least: int = 64) -> Character:
    who = Who([path], number, path.with_name("people.png"))
    return read_character(path, who, AUTO, least)


def said(character: Character) -> str:
    return "; ".join(one.text for one in character.findings)


def test_a_cut_out_and_a_mask_beside_a_photo_are_the_outline(tmp_path):
    both = np.dstack([PICTURE, MASK])
    path = tmp_path / "a.png"
    Image.fromarray(both).save(path)
    found = [read(pose_beside(path, POSE)), read(photo(tmp_path / "b.png"))]
    for one in found:
        back = one.keypoints[one.keypoints[:, 2] > 0.5, :2].round().astype(int)
        inside = one.mask[back[:, 1].clip(0, 511), back[:, 0].clip(0, 511)]
        assert (inside > 0.5).mean() > 0.9
        assert 0.05 < (one.mask > 0.5).mean() < 0.6
    assert np.abs(found[0].mask - found[1].mask).mean() < 1e-3
    rows = np.flatnonzero((found[0].mask > 0.5).any(1))
    assert np.ptp(rows) > 0.9 * 512  # the crop is that of the person


def test_a_cut_out_without_a_pose_is_used_without(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.dstack([PICTURE, MASK])).save(path)
    found = read(pose_beside(path, 0 * POSE))
    assert "no pose found in the cut-out" in said(found) and not found.keypoints.any()


def test_a_mask_tells_who_of_several_is_the_character_and_both_in_it_are_said(tmp_path):
    away = POSE + np.array([SIZE, 0, 0]) * (POSE[:, 2:] > 0)
    picture = np.concatenate([PICTURE, PICTURE], axis=1)
    none = np.zeros_like(MASK)
    for masks, place in (((MASK, none), 0), ((none, MASK), 1)):
        path = photo(tmp_path / f"{place}.png", picture, np.concatenate(masks, axis=1))
        found = read(pose_beside(path, POSE, away, width=2 * SIZE))
        back = found.keypoints[found.keypoints[:, 2] > 0.5, :2].round().astype(int)
        assert (found.mask[back[:, 1].clip(0, 511), back[:, 0].clip(0, 511)] > 0.5).mean() > 0.9
        assert "several persons" not in said(found)
    path = photo(tmp_path / "c.png", picture, np.concatenate([MASK, MASK], axis=1))
    assert "several persons in the cut-out" in said(
        read(pose_beside(path, POSE, away, width=2 * SIZE))
    )


def test_nobody_and_several_are_refused_and_one_of_several_can_be_chosen(tmp_path):
    path = photo(tmp_path / "a.png")
    path.with_suffix(".mask.png").unlink()
    with pytest.raises(UsageError, match="no person found; give a picture of one person"):
        read(pose_beside(path, 0 * POSE))
    two = photo(tmp_path / "b.png")
    pose_beside(two, POSE, POSE + np.array([40.0, 2, 0]) * (POSE[:, 2:] > 0))
    with pytest.raises(UsageError, match=r"2 persons: .*--character-person N, numbered in .*png"):
        two.with_suffix(".mask.png").unlink()
        read(two)
    assert (tmp_path / "people.png").is_file()
    two = photo(tmp_path / "b.png")
    pose_beside(two, POSE, POSE + np.array([40.0, 2, 0]) * (POSE[:, 2:] > 0))
    necks = [read(two, number).keypoints[1, 0] for number in (1, 2)]
    assert abs(necks[0] - necks[1]) > 100
    with pytest.raises(UsageError, match="--character-person 3: 2 persons are seen"):
        read(two, 3)


def side_by_side(path: Path, size: int, away: int) -> Path:
    """A person of 512 pixels, and one of `size` pixels `away` pixels farther to the right."""
    canvas = np.full((512, 800, 3), 150, np.uint8)
    for seed, side, left in ((3, 512, 60), (5, size, 60 + away)):
        spec = puppets.sample_spec(seed, split="held-out")
        spec = replace(
            spec, motion=replace(spec.motion, name="dance", yaw=0.2, travel=0.0),
            camera=replace(spec.camera, scale=0.8, ground=0.92, x=0.0, pan=0.0),
            object=replace(spec.object, name="none"),
        )  # fmt: skip
        clip = puppets.render(spec, 1, side)
        there = canvas[512 - side :, left : left + side]
        there[:] = np.where(clip.masks[0][..., None] > 127, clip.frames[0], there)
    Image.fromarray(canvas).save(path)
    return path


def test_two_who_stand_close_are_two_and_a_far_smaller_one_is_said(tmp_path, place):
    """The detector finds one person where two stand close to each other."""
    needs_blazepose()
    near = side_by_side(tmp_path / "near.png", 512, 150)
    with pytest.raises(UsageError, match=r"2 persons: choose one by --character-person N"):
        read(near)
    assert (tmp_path / "people.png").is_file()
    orange = []  # of the skirt of who stands behind
    for number in (1, 2):
        one = read(near, number)
        r, g, b = one.pixels[one.mask > 0.5].astype(int).T
        orange.append(((r > 200) & (g < 180) & (b < 80)).mean())
    assert orange[0] < 0.02 and orange[1] > 0.1
    small = read(side_by_side(tmp_path / "small.png", 150, 350))
    assert "a far smaller person is in the picture, too" in said(small)


def test_what_is_found_of_a_covered_person_again_is_nobody_else():
    found = persons_of(POSE[None].astype(np.float32))
    beside = POSE + np.array([20.0, 0, 0], np.float32) * (POSE[:, 2:] > 0)

    def count(pose: np.ndarray, score: float) -> int:
        def detect(frame: np.ndarray) -> Persons:
            assert (frame != PICTURE).any(-1)[MASK > 127].mean() > 0.5  # painted over
            return persons_of(pose[None].astype(np.float32), np.array([score]))

        return len(with_hidden(found, PICTURE, detect).boxes)

    assert count(beside, 0.9) == 2
    assert count(beside, 0.7) == 1 and count(POSE, 0.9) == 1
    far = beside.copy()
    seen = far[:, 2] > 0
    far[seen, :2] = 90 + 0.2 * (far[seen, :2] - far[seen, :2].mean(0))
    assert count(far, 0.9) == 2
    found = found._replace(smaller=1)  # it is the one that was counted
    assert count(far, 0.9) == 1 and count(beside, 0.9) == 2
    nobody = persons_of(np.zeros((0, 18, 3), np.float32))
    assert len(with_hidden(nobody, PICTURE, lambda frame: found).boxes) == 0


def test_a_number_counts_for_the_one_of_several_pictures_that_shows_several(tmp_path):
    def alone(name: str) -> Path:
        return photo(tmp_path / name)

    def group(name: str) -> Path:
        path = photo(tmp_path / name, np.concatenate([PICTURE, PICTURE // 2], axis=1))
        path.with_suffix(".mask.png").unlink()
        away = POSE + np.array([SIZE, 0, 0]) * (POSE[:, 2:] > 0)
        return pose_beside(path, POSE, away, width=2 * SIZE)

    def who(*pictures: Path, number: int | None = 2) -> Who:
        return Who(pictures, number, tmp_path / "people.png")

    given = who(alone("a.png"), group("b.png"))
    found = [read_character(path, given, AUTO, 64) for path in given.pictures]
    assert np.array_equal(found[0].pixels, read(given.pictures[0]).pixels)
    assert np.array_equal(found[1].pixels, read(given.pictures[1], 2).pixels)
    assert not np.array_equal(found[1].pixels, read(given.pictures[1], 1).pixels)
    (tmp_path / "people.png").unlink()
    assert given.written() == {"persons of picture 2": tmp_path / "people-2.png"}
    given.require_used()
    given.clear()
    assert given.written() == {}

    for number in (None, 2):  # whoever is meant by 2 in one picture is somebody else in another
        given = who(group("b.png"), group("c.png"), number=number)
        if number is None:
            with pytest.raises(UsageError, match=r"b\.png: 2 persons: choose one"):
                read_character(given.pictures[0], given, AUTO, 64)
        else:
            read_character(given.pictures[0], given, AUTO, 64)
        with pytest.raises(UsageError, match=r"c\.png: 2 persons, and .*b\.png shows .*crop this"):
            read_character(given.pictures[1], given, AUTO, 64)
        assert list(given.written().values()) == [tmp_path / "people.png"]

    given = who(alone("a.png"), alone("d.png"))
    for path in given.pictures:
        read_character(path, given, AUTO, 64)
    with pytest.raises(UsageError, match="--character-person 2: none of the pictures shows sev"):
        given.require_used()


def saved(kind: str) -> bytes:
    """The picture of the person as cameras and editors write it."""
    file, picture = io.BytesIO(), Image.fromarray(PICTURE)
    match kind:
        case "CMYK":
            picture.convert("CMYK").save(file, "JPEG", quality=97)
        case "palette":
            picture.quantize(250).save(file, "PNG")
        case "16 bits":
            gray = np.asarray(picture.convert("L")).astype(np.uint16) * 257
            Image.fromarray(gray).save(file, "PNG")
        case "turned":
            exif = Image.Exif()
            exif[0x0112] = 6  # shown, it is turned clockwise
            picture.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", exif=exif, quality=97)
        case "webp":
            picture.save(file, "WEBP", lossless=True)
        case "gif":
            others = [Image.fromarray(np.roll(PICTURE, 5 * index, 1)) for index in range(1, 10)]
            picture.save(file, "GIF", save_all=True, append_images=others)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["CMYK", "palette", "16 bits", "turned", "webp", "gif"])
def test_pictures_of_all_kinds_are_read_as_they_are_shown(tmp_path, kind):
    path = photo(tmp_path / "a.png")
    true = read(path).pixels.astype(float)
    path.write_bytes(saved(kind))
    found = read(path)
    if kind == "16 bits":
        true = np.repeat(true @ [[0.299], [0.587], [0.114]], 3, axis=-1)
    assert np.abs(found.pixels - true).mean() < 8
    assert ("aa personalize" in said(found)) == (kind == "gif")


def _heic(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))


def _skeleton(path: Path) -> None:
    Image.fromarray(skeleton.draw(POSE[None], SIZE, SIZE)[0]).save(path)


def _bomb(path: Path) -> None:
    Image.new("1", (12000, 12000)).save(path)


def _parts(path: Path) -> None:
    bands = VIRIDIS.astype(np.uint8)[np.repeat(np.arange(10), [16, *[4] * 9])]
    Image.fromarray(np.resize(bands, (SIZE, SIZE, 3))).save(path)


@pytest.mark.parametrize("make, match", [
    (_parts, "a DensePose part map, not a character"),
    (_heic, "a HEIC picture; save it as JPEG or PNG"),
    (_skeleton, "a(n OpenPose)? .*skeleton.*, not a character"),
    (_bomb, "pixels are too many; scale it down"),
    (lambda path: path.write_bytes(b""), "the file is empty"),
    (lambda path: path.write_bytes(path.read_bytes()[:300]), "cannot be read as a picture"),
    (lambda path: path.write_text("a picture"), "a text file"),
    (lambda path: path.unlink(), "no such file"),
    (lambda path: Image.new("L", (20, 30)).save(path.with_suffix(".mask.png")),
     "20 x 30 pixels, where a.png has 96 x 96; make both the same size"),
    (lambda path: Image.new("L", (SIZE, SIZE)).save(path.with_suffix(".mask.png")),
     "the outline of the person is not found"),
])  # fmt: skip
def test_what_is_no_picture_of_a_person_is_refused_in_a_line(tmp_path, make, match):
    path = photo(tmp_path / "a.png")
    make(path)
    with pytest.raises(UsageError, match=match) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_small_dark_burnt_blurred_and_cut_off_people_are_said(tmp_path):
    person = MASK[..., None] > 127
    noisy = np.where(person, np.random.default_rng(0).integers(60, 200, PICTURE.shape), PICTURE)
    good = read(photo(tmp_path / "good.png", noisy.astype(np.uint8)))
    assert said(good) == ""
    for name, picture, words in (
        ("dark", noisy // 6, "the person is dark"),
        ("burnt", np.where(person, 255, PICTURE), "is plain white"),
    ):
        assert words in said(read(photo(tmp_path / f"{name}.png", picture.astype(np.uint8))))
    soft = np.asarray(Image.fromarray(PICTURE).resize((8, 8)).resize((SIZE, SIZE)))
    assert "the picture is blurred" in said(read(photo(tmp_path / "soft.png", soft)))
    assert "blurred" not in said(good)
    flat = np.where(person, np.uint8([200, 60, 40]), PICTURE)  # clothes without any shading
    assert "looks drawn: the result will, too" in said(read(photo(tmp_path / "flat.png", flat)))
    assert "the person is small: " in said(read(photo(tmp_path / "small.png"), least=512))
    columns = np.flatnonzero((MASK > 127).any(0))
    shift = int(np.mean(columns[[0, -1]]))
    path = photo(tmp_path / "cut.png", np.roll(PICTURE, -shift, 1), np.where(
        np.arange(SIZE) < SIZE - shift, np.roll(MASK, -shift, 1), 0).astype(np.uint8))  # fmt: skip
    moved = POSE - np.array([shift, 0, 0])
    assert "cut by the left edge" in said(read(pose_beside(path, moved)))


def test_the_box_grows_for_what_is_wider_than_a_body(tmp_path):
    assert read(photo(tmp_path / "a.png")).growth < 0.1
    wide = MASK.copy()
    rows = np.flatnonzero((MASK > 127).any(1))
    wide[rows[len(rows) // 2] : rows[-1], 4:-4] = 255  # a skirt as wide as the picture
    assert read(photo(tmp_path / "b.png", mask=wide)).growth == MOST_GROWTH


def test_what_the_scene_shows_and_the_pictures_do_not_is_said(tmp_path):
    scene = np.repeat(POSE[None], 10, 0)
    whole = read(photo(tmp_path / "a.png"))
    assert compared([whole], scene) == []
    upper = read(pose_beside(photo(tmp_path / "b.png"), POSE, hidden=LEGS))
    (legs,) = compared([upper], scene)
    assert "legs and feet are not seen, and made up" in legs.text
    assert legs.text.endswith("shows them in all of the frames with its person")
    scene[0, LEGS, 2] = 0
    assert "in 90% of the frames" in compared([upper], scene)[0].text
    scene[1, 10], scene[1, 13] = 0, 0  # the ankles alone
    assert "in at least 80% of the frames" in compared([upper], scene)[0].text
    scene = np.repeat(POSE[None], 10, 0)
    assert compared([upper, whole], scene) == []
    turned = scene.copy()
    turned[..., 0] = SIZE - turned[..., 0]
    turned[:, FACE, 2] = 0
    (back,) = compared([whole], turned)
    assert "not seen from behind, as the scene's person is in all of the frames" in back.text
    points = POSE.copy()
    points[:, 0] = SIZE - points[:, 0]
    behind = read(pose_beside(photo(tmp_path / "c.png"), points, hidden=FACE))
    assert any("not seen from the front" in one.text for one in compared([behind], scene))


def test_of_a_clip_the_first_frame_is_the_character(tmp_path):
    path = tmp_path / "a.mp4"
    video.write(path, np.stack([PICTURE] * 9), 8.0, crf=4)
    Image.fromarray(MASK).save(path.with_suffix(".mask.png"))
    found = read(pose_beside(path, POSE))
    assert "the first frame of a clip is used" in said(found)
    assert f"aa personalize {path}" in said(found)


def test_another_build_is_said_and_fitted_with_the_feet_where_they_stand():
    scene = np.repeat(POSE[None], 6, 0).astype(np.float32)
    scene[..., 0] += np.arange(6)[:, None] * 3
    tall = POSE.copy()  # with long legs and arms
    for chain in ((8, 9, 10), (11, 12, 13), (2, 3, 4), (5, 6, 7)):
        tall[list(chain[1:]), :2] += 0.5 * (POSE[list(chain[1:]), :2] - POSE[chain[0], :2])
    someone = Character(Path("a"), "", PICTURE, MASK, tall.astype(np.float32), 0.0, [])
    assert "--fit bones" in proportions([someone], scene)[0].text
    same = someone._replace(keypoints=POSE.astype(np.float32))
    assert proportions([same], scene) == []
    unknown = someone._replace(keypoints=np.zeros_like(someone.keypoints))
    assert proportions([unknown], scene) == []
    assert "--fit bones" in proportions([unknown, someone], scene)[0].text
    fitted = fit_in_place(scene, tall[None])
    lower = np.where(scene[..., 2] > 0.3, scene[..., 1], -1)[:, [10, 13]].argmax(1)
    ankles = np.array([10, 13])[lower]
    rows = np.arange(6)
    assert np.abs(fitted[rows, ankles, 1] - scene[rows, ankles, 1]).max() < 0.5
    hip = [one[:, [8, 11], 0].mean(1) for one in (scene, fitted)]
    assert np.abs(hip[0] - hip[1]).max() < 0.5
    thigh = [np.hypot(*(one[0, 9, :2] - one[0, 8, :2])) / np.hypot(*(one[0, 8, :2] - one[0, 1, :2]))
             for one in (scene, fitted)]  # fmt: skip
    assert thigh[1] > 1.2 * thigh[0]
    assert np.abs(fit_in_place(scene, POSE[None]) - scene).max() < 0.1
