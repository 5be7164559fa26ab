"""Portrait and landscape: learning on a portrait clip, and generating in any shape."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from animateanywhere import puppets
from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.frame_shape import in_frames
from animateanywhere.cli.main import main
from animateanywhere.commands.demo import stage_spec
from animateanywhere.commands.export import export
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size, square
from animateanywhere.datasets.subject import read_subject
from animateanywhere.evaluation.truth import write_reference
from animateanywhere.media.video import read
from animateanywhere.methods.animate_anywhere.settings import NO_EXTRAS, load_recipe
from animateanywhere.pose.retarget import fit
from animateanywhere.pose.skeleton import Poses, write_poses
from tests.backbones.test_wan_vace import tiny
from tests.commands.test_generate import walker

DISK = 12  # radius in pixels, in the clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait clip of 90 x 160 pixels with exact poses and masks, and a pink disk in it."""
    made = puppets.render(stage_spec("walk", "street", "none"), frames=12, size=160)
    cut, keypoints = slice(35, 125), made.keypoints - np.array([35, 0, 0], np.float32)
    frames = made.frames[:, :, cut].copy()
    y, x = np.mgrid[:160, :90]
    frames[:, (x - 45) ** 2 + (y - 80) ** 2 <= DISK**2] = 255, 0, 255
    shown = replace(made, frames=frames, masks=made.masks[:, :, cut], keypoints=keypoints)
    return write_reference(shown, tmp_path_factory.mktemp("portrait"))


def disk(frame: np.ndarray) -> tuple[int, int]:
    """Width and height of the pink disk."""
    pink = (frame[..., 0] > 150) & (frame[..., 1] < 90) & (frame[..., 2] > 150)
    rows, columns = np.flatnonzero(pink.any(1)), np.flatnonzero(pink.any(0))
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


@pytest.mark.parametrize("size", [Size(48, 88), Size(88, 48), square(64), Size(96, 168)])
def test_a_circle_stays_a_circle_in_crops(clip: Path, tmp_path: Path, size: Size) -> None:
    subject = prepare(clip, tmp_path / "subject", size=size, report=False)
    assert subject.frames.shape[1:3] == subject.masks.shape[1:] == size[::-1]
    width, height = disk(subject.frames[0])
    assert abs(width - height) <= 1 and width > 5
    # The person is at the keypoints, in the mask
    shown = subject.keypoints[0][subject.keypoints[0, :, 2] > 0.5, :2].astype(int)
    x, y = shown.clip(0, np.array(size) - 1).T
    assert (subject.masks[0][y, x] > 0.2).mean() > 0.7
    assert read_subject(tmp_path / "subject").size == size


@pytest.mark.parametrize("mode", ["none", "frame"])
@pytest.mark.parametrize("frame", [Size(96, 168), Size(168, 96), square(128)])
@pytest.mark.parametrize("own", [None, Size(72, 128)])
def test_skeletons_keep_their_proportions_and_stay_in_the_frame(
    mode: str, frame: Size, own: Size | None
) -> None:
    motion = walker(10)  # of 100 x 100 pixels, 10 pixels to the right
    reference = None if own is None else motion[:1] * np.array([0.5, 1.0, 1]) * [1.2, 1.2, 1]
    if reference is not None:
        reference[..., 0] = motion[:1, :, 0] * 1.2 - 24  # of a person upright in the portrait
    made = fit(motion, square(100), frame, mode, reference, own)  # type: ignore[arg-type]
    before, after = motion[0, :, :2], made[0, :, :2]
    scales = np.ptp(after, axis=0) / np.ptp(before, axis=0)
    assert scales[0] == pytest.approx(scales[1], rel=0.01)
    seen = made[..., 2] > 0.5
    assert seen.mean() > 0.95
    assert scales[1] * np.ptp(before, axis=0)[1] > 0.35 * frame.height


def test_a_person_keeps_their_pixels_in_a_higher_frame_and_fits_a_lower_one() -> None:
    person = walker(1) * np.array([1.28, 1.28, 1])  # in a square of 128 pixels
    heights = {
        frame: np.ptp(fit(walker(4), square(100), frame, "bones", person, square(128))[0, :, 1])
        for frame in (square(128), Size(96, 168), Size(168, 96))
    }
    same = heights[square(128)]
    assert heights[Size(96, 168)] == pytest.approx(same, rel=0.02)
    assert heights[Size(168, 96)] == pytest.approx(same * 96 / 128, rel=0.01)


def test_a_wide_motion_shrinks_to_a_narrow_frame_as_far_as_the_whole_square_would() -> None:
    wide = walker(1)
    for left, right, y in ((3, 6, 30), (4, 7, 30)):  # arms stretched out
        reach = 25 if left == 3 else 42
        wide[:, left, :2], wide[:, right, :2] = (50 - reach, y), (50 + reach, y)
    person = wide * np.array([1.28, 1.28, 1])
    made = fit(wide, square(100), Size(96, 168), "frame", person, square(128))[0]
    plain = fit(wide, square(100), square(128), "frame", person, square(128))[0]
    across, high = np.ptp(made[:, 0]), np.ptp(made[:, 1])
    assert across <= 96 and (made[:, 2] > 0.5).all()
    assert 0.75 - 1e-3 <= high / np.ptp(plain[:, 1]) < 0.95


def test_learned_on_a_portrait_and_generated_in_both_shapes(
    clip: Path, tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = personalize(
        clip, "sks", PersonalizeOptions(base=str(tiny_base), class_word="man", estimate=False)
    )
    assert read_subject(place / "runs/sks/subject").size == Size(48, 88)
    for name, shape in (("portrait", (72, 128)), ("landscape", (128, 72)), ("square", (64, 64))):
        poses = walker(6) * np.array([shape[0] / 100, shape[1] / 100, 1])
        write_poses(place / f"{name}.json", Poses(poses.astype(np.float32), *shape, 8.0))

    def make(motion: str, **options: object) -> tuple[Size, list[int]]:
        out = place / "out.mp4"
        wanted = GenerateOptions(weights, out=out, steps=1, **options)  # type: ignore[arg-type]
        generate("sks man", place / f"{motion}.json", wanted)
        frames = read(out).frames
        assert len(frames) == 6
        return Size(frames.shape[2], frames.shape[1]), json.loads(
            out.with_suffix(".json").read_text()
        )["size"]

    sheet = place / "sheet.png"
    assert make("portrait", contact_sheet=sheet) == ((48, 88), [48, 88])
    assert make("landscape") == ((88, 48), [88, 48])
    assert make("square") == ((64, 64), [64, 64])
    assert make("square", aspect=9 / 16) == ((48, 88), [48, 88])
    assert make("portrait", aspect=16 / 9) == ((88, 48), [88, 48])
    assert make("portrait", size=Size(72, 40)) == ((72, 40), [72, 40])
    assert "9:16" in capsys.readouterr().err and sheet.is_file()
    with pytest.raises(UsageError, match="multiples of 8 with base tiny, such as 72x40"):
        make("portrait", size=Size(70, 41))
    with safe_open(export(weights, "kohya"), "pt") as opened:
        assert opened.metadata()["modelspec.resolution"] == "48x88"
    flow = (export(weights, "comfyui") / "workflows/sks-man-animatediff.json").read_text()
    empty = next(n for n in json.loads(flow).values() if n["class_type"] == "EmptyLatentImage")
    assert (empty["inputs"]["width"], empty["inputs"]["height"]) == (48, 88)
    assert empty["_meta"]["title"].startswith("48 x 88")


@pytest.mark.parametrize(("kind", "portrait"), [("controlnet", (48, 88)), ("wan", (48, 80))])
def test_other_bases_learn_and_generate_in_other_shapes(
    kind: str, portrait: tuple[int, int], clip: Path, place: Path, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(f"tiny_{kind}")
    recipe = tiny(load_recipe("personalize-wan" if kind == "wan" else "personalize-tiny"))
    options = PersonalizeOptions(
        base=str(base), class_word="man", estimate=False, recipe=replace(recipe, extras=NO_EXTRAS)
    )
    weights = personalize(clip, "sks", options)
    assert read_subject(place / "runs/sks/subject").size == portrait
    assert load_file(weights)
    write_poses(place / "walk.json", Poses(walker(6), 100, 100, 8.0))
    for aspect, size in ((9 / 16, portrait), (16 / 9, portrait[::-1])):
        out = place / "a.mp4"
        made = GenerateOptions(weights, out=out, steps=2, aspect=aspect)
        generate("sks man", place / "walk.json", made)
        frames = read(out).frames
        assert frames.shape == (6, size[1], size[0], 3) and frames.std() > 1


def test_a_subject_folder_of_an_aspect(clip: Path, place: Path) -> None:
    for flags, size in ((["16:9"], (168, 96)), (["source"], (96, 168))):
        assert main(["prepare", str(clip), "--out", "one", "--aspect", *flags]) == 0
        assert read_subject(place / "one").size == size
    assert main(["prepare", str(clip), "--size", "64x64", "--aspect", "1:1"]) == 2


def test_a_base_of_one_aspect_stays_there_and_says_so(
    tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = load_base(tiny_base)
    base.config["aspects"] = ["1:1"]
    said = lambda: " ".join(capsys.readouterr().err.split())  # noqa: E731
    assert in_frames(base, Size(90, 160), "the motion").frame == square(64)
    assert "trained on; --aspect source follows the motion" in said()
    assert in_frames(base, Size(90, 160), "the motion", aspect="source").frame == Size(48, 88)
    assert "trained on 1:1 and is best there" in said()
    assert in_frames(base, Size(100, 100), "the motion").frame == square(64) and said() == ""
