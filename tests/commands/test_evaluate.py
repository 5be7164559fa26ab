"""`aa evaluate` as a user runs it, on rendered people whose order is known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from animateanywhere.cli import main
from animateanywhere.commands.demo import reference_spec, stage_spec
from animateanywhere.commands.evaluate import _missing, evaluate
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.evaluation import faces
from animateanywhere.evaluation.scores import METRICS, NEEDED_INPUTS
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.pose import skeleton
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.weights import WeightsLocation
from animateanywhere.puppets import Spec, render, sample_spec
from tests.commands.test_generate import learn
from tests.conftest import needs_blazepose
from tests.evaluation.test_embed import write_models
from tests.media.test_video import audio_only

REFERENCE = EXAMPLES / "reference.mp4"
OFFLINE = Backends(location=WeightsLocation(None, offline=True))
Caught = pytest.CaptureFixture[str]


def filmed(path: Path, spec: Spec, frames: int = 12) -> Path:
    """A rendered clip with its poses, and no masks, beside it."""
    clip = render(spec, frames=frames, size=128, start=1.0)
    video.write(path, clip.frames, 8.0)
    poses = skeleton.Poses(clip.keypoints, 128, 128, 8.0)
    skeleton.write_poses(path.with_suffix(".poses.json"), poses)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's person on a beach, another there, and the first pasted into the old room."""
    folder = tmp_path_factory.mktemp("clips ä")
    asked = stage_spec("dance", "beach", "none", layout=11)
    filmed(folder / "asked.mp4", asked)
    filmed(folder / "other.mp4", replace(asked, identity=sample_spec(8, "held-out").identity))
    filmed(folder / "still.mp4", replace(asked, motion=replace(asked.motion, name="idle")))
    person = render(asked, frames=12, size=128, start=1.0)
    room = render(reference_spec(), frames=1, size=128).frames
    mask = (person.masks / 255)[..., None]
    pasted = (person.frames * mask + room * (1 - mask)).astype(np.uint8)
    video.write(folder / "pasted.mp4", pasted, 8.0)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measured(clips: Path, name: str) -> dict[str, float]:
    made = evaluate(
        clips / f"{name}.mp4", reference=REFERENCE, pose=clips / "asked.poses.json",
        detector="puppets", fast=True, backends=OFFLINE,
    )  # fmt: skip
    assert made.mean == made.videos[name]
    return made.mean


def test_known_orders_without_a_true_video(clips: Path, place: Path) -> None:
    asked, other, pasted, still = (
        measured(clips, name) for name in ("asked", "other", "pasted", "still")
    )
    same = evaluate(REFERENCE, reference=REFERENCE, detector="puppets", fast=True).mean
    assert same["reference_delta_e"] < asked["reference_delta_e"]
    assert asked["reference_delta_e"] < 0.7 * other["reference_delta_e"]
    assert same["leak"] > 0.9 and pasted["leak"] > 0.6
    assert asked["leak"] < 0.3 < pasted["leak"]
    assert asked["pck"] > 0.85 and asked["oks"] > 0.7
    assert still["pck"] < 0.8 * asked["pck"] and still["oks"] < 0.8 * asked["oks"]
    assert still["dynamic_degree"] < 0.7 * asked["dynamic_degree"]
    assert asked["dynamic_degree"] == pytest.approx(asked["dynamic_degree_asked"], rel=0.35)
    assert asked["flicker"] < 4


def test_all_is_written_and_all_that_is_missing_is_reported(
    clips: Path, place: Path, capsys: Caught
) -> None:
    arguments = ["evaluate", str(clips / "asked.mp4"), "--detector", "puppets"]
    assert main.main([*arguments, "--out", "a b/ö"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{Path('a b/ö')}\n"
    out = place / "a b" / "ö"
    assert {file.name for file in out.iterdir()} == {
        ".animateanywhere", "metrics.json", "table.md", "contact_sheet.png"
    }  # fmt: skip
    report = json.loads((out / "metrics.json").read_text())
    assert set(report) == {"videos", "mean", "missing"}
    assert set(report["mean"]) == {"flicker", "dynamic_degree"}
    assert set(report["mean"]) | set(report["missing"]) == set(METRICS)
    assert report["missing"]["pck"] == "no --pose"
    assert report["missing"]["leak"] == "no --reference"
    assert report["missing"]["clip_t"] == "no --prompt"
    for name, network in {"background_consistency": "clip", "subject_consistency": "dino"}.items():
        assert f"run `aa models fetch {network}`" in report["missing"][name]
    said = [line for line in captured.err.splitlines() if line.startswith("not measured")]
    for name in report["missing"]:
        assert sum(name in line.split(": ")[1].split(", ") for line in said) == 1
    table = (out / "table.md").read_text().splitlines()
    assert table[0] == "| video | flicker | dynamic_degree |" and len(table) == 6
    assert (
        table[4]
        == "- flicker: change of the background between frames, gray levels; lower is better"
    )


def test_json_is_all_that_comes_on_stdout(clips: Path, place: Path, capsys: Caught) -> None:
    arguments = ["evaluate", str(clips / "asked.mp4"), "--detector", "puppets", "--fast", "--json"]
    assert main.main(arguments) == 0
    captured = capsys.readouterr()
    kept = place / "runs" / "evaluate" / "asked" / "metrics.json"
    assert json.loads(captured.out) == json.loads(kept.read_text())
    assert "dynamic_degree" in captured.err


def test_with_networks_every_metric_but_the_face_is_there(
    clips: Path,
    place: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Caught,
) -> None:
    monkeypatch.setattr(faces, "WEIGHTS", "no_such_package")
    models = write_models(tmp_path_factory.mktemp("models"))
    arguments = ["evaluate", str(clips / "asked.mp4"), "--reference", str(REFERENCE), "--pose",
                 str(clips / "asked.poses.json"), "--prompt", "a man on a beach", "--detector",
                 "puppets", "--models", str(models), "--offline", "--json"]  # fmt: skip
    assert main.main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["missing"]) == {"face_distance"}
    assert "dlib or its weights are not installed" in report["missing"]["face_distance"]
    for name in ("clip_i", "dino_i", "clip_t"):
        assert -1 <= report["mean"][name] <= 1
    for name in ("subject_consistency", "background_consistency"):
        assert 0.5 < report["mean"][name] < 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, clips: Path) -> Path:
    """A run of the demo's person: its exact subject, and a video of the untrained test base in
    whose place the true render is put, which is what a perfect base would have made."""
    run = tmp_path_factory.mktemp("runs") / "sks"
    prepare(REFERENCE, run / "subject", report=False)
    for name in ("asked", "other"):
        poses = run / f"{name} motion.poses.json"
        shutil.copy(clips / "asked.poses.json", poses)
        made = generate(
            "sks man on a beach",
            poses,
            GenerateOptions(
                base=str(tiny_base), out=run / "videos" / f"{name}.mp4", steps=1, fit="none"
            ),
        )
        sidecar = json.loads(made.with_suffix(".json").read_text())
        sidecar |= {"token": "sks", "base": sidecar["base"] | {"name": "mini"}}
        made.with_suffix(".json").write_text(json.dumps(sidecar))
        shutil.copy(clips / f"{name}.mp4", made)
    return run


@pytest.fixture
def own_run(run: Path, place: Path) -> Path:
    return Path(shutil.copytree(run, place / "sks"))


def test_a_run_is_held_against_its_subject_and_its_own_skeletons(
    own_run: Path, capsys: Caught
) -> None:
    shutil.copy(own_run / "videos" / "asked.mp4", own_run / "without a sidecar.mp4")
    assert main.main(["evaluate", str(own_run), "--fast"]) == 0
    report = json.loads(Path("runs/evaluate/sks/metrics.json").read_text())
    asked, other = report["videos"]["videos/asked"], report["videos"]["videos/other"]
    assert set(report["videos"]) == {"videos/asked", "videos/other"}
    for name, value in report["mean"].items():
        assert value == pytest.approx((asked[name] + other[name]) / 2)
    assert asked["pck"] > 0.85 and asked["leak"] < 0.3  # by the network, as the subject is exact
    assert asked["reference_delta_e"] < 0.7 * other["reference_delta_e"]
    assert "clip_t" in report["missing"] and "pck" not in report["missing"]
    err = capsys.readouterr().err
    assert "poses: mediapipe" not in err and "aligned with the person" not in err
    table = Path("runs/evaluate/sks/table.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines()[2:5]] == [
        "| videos/asked", "| videos/other", "| mean"
    ]  # fmt: skip


def test_a_motion_of_another_file_is_seen_by_its_digest(own_run: Path) -> None:
    poses = own_run / "asked motion.poses.json"
    truth = skeleton.read_poses(poses)
    moved = truth.keypoints + np.array([9, 0, 0], np.float32)
    skeleton.write_poses(poses, truth._replace(keypoints=moved))
    (own_run / "other motion.poses.json").unlink()
    made = evaluate(own_run, fast=True)
    assert "pck" not in made.mean
    assert "differ from those of asked.mp4" in made.missing["pck of videos/asked"]
    assert "other motion.poses.json was not found" in made.missing["pck of videos/other"]
    # given by name it is trusted, and aligned with the person
    made = evaluate(own_run / "videos" / "asked.mp4", pose=poses, detector="puppets", fast=True)
    assert made.mean["pck"] > 0.85 and "reference_delta_e" in made.missing
    # a folder is where it is looked for
    elsewhere = own_run.parent / "motions"
    elsewhere.mkdir()
    skeleton.write_poses(elsewhere / poses.name, truth)
    made = evaluate(own_run / "videos" / "asked.mp4", pose=elsewhere, detector="puppets", fast=True)
    assert made.mean["pck"] > 0.85


def test_a_part_of_a_motion_is_read_again(
    tiny_base: Path, clips: Path, place: Path, capsys: Caught
) -> None:
    shutil.copy(clips / "asked.poses.json", place)
    wanted = GenerateOptions(base=str(tiny_base), out=place / "a.mp4", steps=1, frames=8)
    generate("a man", place / "asked.poses.json", replace(wanted, part=Part(0.25, fps=16)))
    evaluate(place / "a.mp4", pose=place / "asked.poses.json", detector="puppets", fast=True)
    assert "aligned with the person" not in capsys.readouterr().err


def test_a_fitted_motion_is_fitted_again_by_the_weights_of_the_run(
    tiny_base: Path, clips: Path, place: Path, capsys: Caught
) -> None:
    run = place / "sks"
    weights = learn(tiny_base, run / "personal.safetensors")
    shutil.copy(clips / "asked.poses.json", run)
    for fit in ("bones", "frame"):
        generate(
            "sks man",
            run / "asked.poses.json",
            GenerateOptions(weights=weights, out=run / f"{fit}.mp4", steps=1, fit=fit),
        )
    made = evaluate(run, detector="puppets", fast=True)
    assert all("pck" in row for row in made.videos.values())
    assert "aligned with the person" not in capsys.readouterr().err
    weights.unlink()
    made = evaluate(run, detector="puppets", fast=True)
    assert "differ from those of bones.mp4" in made.missing["pck of bones"]


def test_the_prompt_for_clip_is_without_the_token(own_run: Path) -> None:
    from animateanywhere.evaluation.targets import find_targets

    target = find_targets(own_run)[0]
    assert target.prompt(None) == "man on a beach"
    assert target.prompt("a SKS man, sksy") == "a man, sksy"
    alone = replace(target, sidecar=None)
    assert alone.prompt(None) is None and alone.prompt("sks man") == "sks man"


def test_a_video_without_the_person_has_no_likeness_and_no_pose(own_run: Path) -> None:
    black = np.zeros((12, 128, 128, 3), np.uint8)
    video.write(own_run / "videos" / "other.mp4", black, 8.0)
    made = evaluate(own_run, fast=True)
    row = made.videos["videos/other"]
    assert row["pck"] == row["oks"] == 0
    assert "reference_delta_e" not in row
    assert made.missing["reference_delta_e of videos/other"] == "no person is detected"


def test_reasons_are_joined_where_all_videos_share_them() -> None:
    why = {"a": {"pck": "no", "leak": "x"}, "b": {"pck": "no"}}
    assert _missing(why) == {"pck": "no", "leak of a": "x"}
    assert {name for names in NEEDED_INPUTS.values() for name in names} < set(METRICS)


BAD = {
    "missing.mp4": (lambda path: None, "does not exist"),
    "empty.mp4": (lambda path: path.touch(), "the file is empty"),
    "text ä.mp4": (lambda path: path.write_text("no video\n" * 50), "video"),
    "sound.mp4": (audio_only, "only sound"),
    "black.mp4": (lambda path: video.write(path, np.zeros((9, 64, 64, 3), np.uint8), 8),
                  "no person found in its 9 frames"),
    "folder": (lambda path: path.mkdir(), "contains no video of `aa generate`"),
}  # fmt: skip


def test_blurred_people_of_the_bundled_base_are_found_by_its_own_network(
    own_run: Path, capsys: Caught
) -> None:
    """A learned real person: the subject's masks are not exact, and no usual detector sees anybody
    in what the base draws."""
    needs_blazepose()
    file = own_run / "videos" / "asked.mp4"
    frames = gaussian_filter(video.read(file).frames, (0, 4, 4, 0))
    video.write(file, frames, 8.0)
    with pytest.raises(UsageError, match="no person found"):
        evaluate(file, reference=REFERENCE, detector="backends", fast=True, backends=OFFLINE)
    motion = own_run / "asked motion.poses.json"
    made = evaluate(file, reference=REFERENCE, pose=motion, fast=True, backends=OFFLINE)
    said = " ".join(capsys.readouterr().err.split())
    assert "asked: mediapipe finds nobody" in said and "its own network for rendered people" in said
    assert {"reference_delta_e", "leak", "pck"} <= set(made.mean)
    file.with_suffix(".json").unlink()  # then nobody knows what drew it
    with pytest.raises(UsageError, match="no person found"):
        evaluate(file, reference=REFERENCE, fast=True, backends=OFFLINE)


@pytest.mark.parametrize("detector", ["puppets", "backends"])
@pytest.mark.parametrize("name", BAD)
def test_bad_videos_are_one_clear_line(
    place: Path, name: str, detector: str, capsys: Caught
) -> None:
    if detector == "backends":
        needs_blazepose()
    make, words = BAD[name]
    make(place / name)
    assert main.main(["evaluate", str(place / name), "--detector", detector, "--fast"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("aa: ") and words in last and name in last
    assert not (place / "runs" / "evaluate").exists()


@pytest.mark.parametrize("flag", ["--reference", "--pose"])
@pytest.mark.parametrize("name", ["missing.mp4", "empty.mp4", "text ä.mp4", "sound.mp4", "folder"])
def test_bad_references_and_motions_are_one_clear_line(
    clips: Path, place: Path, flag: str, name: str, capsys: Caught
) -> None:
    make, words = BAD[name]
    make(place / name)
    words = {"--reference": "not a subject folder", "--pose": "give a file"}[flag] if (
        name == "folder") else words  # fmt: skip
    arguments = ["evaluate", str(clips / "asked.mp4"), "--detector", "puppets", "--fast"]
    assert main.main([*arguments, flag, str(place / name)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("aa: ") and words in last and name in last


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[" * 9,
        '{"prompt": 1, "pose": {}, "fit": "none"}',
        '{"prompt": "a", "pose": {}, "fit": "none", "base": {}, "frames": "x", "fps": 8}',
    ],
)
def test_a_damaged_sidecar_is_one_clear_line(own_run: Path, damage: str, capsys: Caught) -> None:
    (own_run / "videos" / "asked.json").write_text(damage)
    assert main.main(["evaluate", str(own_run), "--fast"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "asked.json: damaged" in last and "generate asked.mp4 again" in last


def test_a_json_of_another_tool_is_no_sidecar(clips: Path, place: Path) -> None:
    shutil.copy(clips / "asked.mp4", place / "theirs.mp4")
    Path("theirs.json").write_text('{"prompt": "a man", "sampler": "ddim"}')
    assert "flicker" in evaluate(place / "theirs.mp4", detector="puppets", fast=True).mean


def test_nothing_to_evaluate_and_nowhere_to_write(clips: Path, place: Path, capsys: Caught) -> None:
    assert main.main(["evaluate"]) == 2
    assert "give a video, the folder of a run" in capsys.readouterr().err
    Path("file").touch()
    arguments = ["evaluate", str(clips / "asked.mp4"), "--out", "file/out"]
    assert main.main(arguments) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_other_sizes_and_frame_counts_are_compared_as_far_as_they_go(
    clips: Path, place: Path, capsys: Caught
) -> None:
    """A peer's video: wider, twice as large, at another rate, shorter than the motion."""
    frames = video.read(clips / "asked.mp4").frames[:8].repeat(2, 1).repeat(2, 2)
    wide = np.pad(frames, ((0, 0), (0, 0), (0, 90), (0, 0)), mode="edge")
    video.write(place / "wide.mp4", wide, 8.0)
    for rate, least in ((8.0, 0.85), (4.0, 0.0)):
        video.write(place / "wide.mp4", wide, rate)
        made = evaluate(
            place / "wide.mp4", reference=REFERENCE, pose=clips / "asked.poses.json",
            detector="puppets", backends=OFFLINE,
        )  # fmt: skip
        assert least <= made.mean["pck"] <= 1
        assert made.mean["reference_delta_e"] < 12
    assert "its first 6 frames are compared, at 4 a second" in capsys.readouterr().err


def test_a_picture_is_a_reference_too(clips: Path, place: Path) -> None:
    from PIL import Image

    Image.fromarray(video.read(REFERENCE).frames[0]).save("photo.png")
    made = evaluate(clips / "asked.mp4", reference=Path("photo.png"), detector="puppets", fast=True)
    assert made.mean["reference_delta_e"] < 12 and "leak" in made.mean


def test_real_clips_by_mediapipe(place: Path) -> None:
    needs_blazepose()
    real = Path(__file__).parents[3] / "shared" / "real"
    dance, moonwalk = real / "AnyCharV" / "dance1.mp4", real / "ControlVideo" / "moonwalk.mp4"
    if not dance.is_file():
        pytest.skip(f"{dance} is not there: real clips are not part of the project")
    same = evaluate(dance, reference=dance, pose=dance, fast=True, backends=OFFLINE).mean
    other = evaluate(dance, reference=moonwalk, fast=True, backends=OFFLINE).mean
    assert same["pck"] > 0.95
    assert same["reference_delta_e"] < 0.5 * other["reference_delta_e"]
    assert same["leak"] > 0.9 and other["leak"] < 0.3
