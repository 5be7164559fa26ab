"""`aa corpus pairs`: reference pictures from other clips of the same person, with the reason where
there is none; a stop at any sample changes nothing."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animateanywhere import puppets
from animateanywhere.cli.main import main
from animateanywhere.commands import corpus_pairs as command
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.datasets.corpus_check import check_corpus
from animateanywhere.datasets.shard_corpus import open_shards, write_corpus
from animateanywhere.datasets.shards import Sample, write_shard
from animateanywhere.media import video
from animateanywhere.methods.context_anyone.footage import open_footage
from animateanywhere.pose.skeleton import Poses, poses_text
from animateanywhere.preprocessing import character
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.corpus.inputs import read_inputs
from animateanywhere.preprocessing.corpus.portraits import Portraits, pose_distance
from animateanywhere.preprocessing.corpus.source import Unfit
from tests.preprocessing.crowd import walker

SIDE, FPS, FRAMES = 96, 8.0, 4
RED, BLUE = (200, 30, 30), (30, 40, 200)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(character, "SIDE", 64)


def sample_of(
    key: str, source: str, dressed: tuple[int, int, int], seed: int, place: Path, *without: str
) -> Sample:
    """A clip of a puppet in clothes of one color."""
    clip = walker(seed, FRAMES)
    frames = clip.frames.copy()
    frames[clip.masks > 127] = dressed
    meta = {"width": SIDE, "height": SIDE, "frames": FRAMES, "fps": FPS, "license": "cc0-1.0",
            "source": source}  # fmt: skip
    files = {
        "pose.json": poses_text(Poses(clip.keypoints, SIDE, SIDE, FPS)).encode(),
        "caption.txt": b"a man on a beach\n", "meta.json": json.dumps(meta).encode(),
    }  # fmt: skip
    for name, shown in (("clip", frames), ("mask", np.repeat(clip.masks[..., None], 3, 3))):
        video.write(place / "a.mp4", shown, FPS)
        files[f"{name}.mp4"] = (place / "a.mp4").read_bytes()
    return Sample(key, {name: data for name, data in files.items() if name not in without})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, place = tmp_path_factory.mktemp("pairs"), tmp_path_factory.mktemp("clips")
    samples = [
        sample_of("a1", "ann/walk.mp4", RED, 4, place),
        sample_of("a2", "ann/walk.mp4", RED, 6, place),
        sample_of("a3", "ann/sit.mp4", BLUE, 4, place),  # in other clothes
        sample_of("b1", "bob/run.mp4", BLUE, 8, place),
        sample_of("c1", "cat/run.mp4", BLUE, 8, place, "mask.mp4"),
        sample_of("c2", "cat/jump.mp4", BLUE, 4, place),
    ]
    write_corpus(folder, [write_shard(folder, 0, samples[:4]), write_shard(folder, 1, samples[4:])])
    return folder


def lines(out: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    return {row["key"]: row["reason"] for row in rows}


@pytest.mark.parametrize("per_folder", [False, True])
def test_clips_without_a_source_are_not_taken_for_one_person(
    per_folder: bool, tmp_path: Path
) -> None:
    samples = [sample_of(f"a{seed}", "", RED, seed, tmp_path) for seed in (4, 6)]
    write_corpus(tmp_path / "c", [write_shard(tmp_path / "c", 0, samples)])
    with pytest.raises(Unfit, match="no other clip"):
        Portraits(open_shards(tmp_path / "c"), per_folder, 0).others(0, 2)


def test_references_are_of_the_same_person_and_the_rest_is_named(
    corpus: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["corpus", "pairs", str(corpus), "--out", "out", "--per-folder"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "out: 2 clips with reference pictures" in said
    assert "4 without: 2 no mask, 1 other colors, 1 alone; out/pairs.jsonl names each" in said
    out = Path("out")
    assert lines(out) == {"a3": "other colors", "b1": "alone", "c1": "no mask", "c2": "no mask"}
    made = open_shards(out)
    assert [made.key(n) for n in range(6)] == ["a1", "a2", "a3", "b1", "c1", "c2"]
    picture = Image.open(io.BytesIO(made.read(0, ["reference0.png"]).files["reference0.png"]))
    pixels = np.asarray(picture)
    solid = pixels[pixels[..., 3] > 200]
    assert picture.mode == "RGBA" and 0.02 < len(solid) / pixels[..., 0].size < 0.6
    assert np.abs(np.median(solid[:, :3], 0) - RED).max() < 20  # and not those of the scene
    meta = json.loads(made.read(0, ["meta.json"]).files["meta.json"])
    assert meta["references"][0].startswith("a2, frame ")
    own = open_shards(corpus).read(0)
    assert made.read(0).files["clip.mp4"] == own.files["clip.mp4"]
    assert not (out / "unfinished").exists()
    report = check_corpus(out)
    assert report.statistics["samples with references"] == 2 and report.verdict != "unusable"
    capsys.readouterr()
    assert main(["corpus", "check", str(out)]) == 0
    assert "2 samples with reference pictures" in capsys.readouterr().out
    clip = open_footage(out, FRAMES, square(64), FPS).read(0)  # what training reads
    assert clip.masks is None and len(clip.references) == 1
    assert (clip.references[0][0, 0] == 255).all()


def test_without_per_folder_the_shots_of_a_file_are_one_person(corpus: Path, place: Path) -> None:
    made = command.pairs(corpus, place / "out")
    assert made.paired == 2  # ann's two shots of one file
    assert {why["reason"] for why in made.left_out.values()} == {"alone"}


def test_a_stop_at_any_sample_ends_in_the_same_bytes(
    corpus: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.pairs(corpus, place / "whole", per_folder=True)
    whole = (place / "whole/shard-000000.tar").read_bytes()
    made = command._with_references
    for count in (0, 3):
        calls = []

        def stopped(*given: object, count: int = count, calls: list[int] = calls) -> Sample:
            if len(calls) == count:
                raise KeyboardInterrupt
            calls.append(1)
            return made(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(command, "_with_references", stopped)
        out = place / f"stopped{count}"
        assert main(["corpus", "pairs", str(corpus), "--out", str(out), "--per-folder"]) == 130
        calls.clear()
        calls += [1] * (count + 1)  # never stops again
        monkeypatch.setattr(command, "_with_references", made)
        again = command.pairs(corpus, out, per_folder=True)
        assert (out / "shard-000000.tar").read_bytes() == whole and again.paired == 2
    before = (out / "shard-000000.tar").stat().st_mtime_ns
    command.pairs(corpus, out, per_folder=True)  # does nothing
    assert (out / "shard-000000.tar").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{corpus}"], "aa corpus pairs: where to?"),
        (["{corpus}", "--out", "{corpus}"], "give another folder than the corpus"),
        (["{corpus}", "--out", "other"], "contains other files"),
        (["{corpus}", "--out", "x", "--puppets", "3"], "--puppets does not belong to pairs"),
        (["nowhere", "--out", "x"], "nowhere"),
        (["{corpus}", "--out", "x", "--edit", "a/b", "--offline"], "downloads are off"),
    ],
)
def test_wrong_use_ends_in_a_line(
    corpus: Path, place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str],
    message: str,
) -> None:  # fmt: skip
    (place / "other").mkdir()
    (place / "other/mine.txt").write_text("mine")
    given = [text.format(corpus=corpus) for text in arguments]
    assert main(["corpus", "pairs", *given]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said


def test_another_setting_is_refused_and_references_that_are_there_are_kept(
    corpus: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.pairs(corpus, place / "out", per_folder=True)
    given = ["corpus", "pairs", str(corpus), "--out", "out"]
    assert main(given) == 2
    assert "of other inputs or settings (per_folder)" in " ".join(capsys.readouterr().err.split())
    again = command.pairs(place / "out", place / "twice", per_folder=True)
    assert again.paired == 2
    first, second = (open_shards(place / name) for name in ("out", "twice"))
    assert first.read(0).files == second.read(0).files


def test_poses_that_differ_most_are_taken(corpus: Path) -> None:
    one, other = walker(4, 1).keypoints[0], walker(6, 1).keypoints[0]
    assert pose_distance(one, one * (2, 2, 1) + (5, 7, 0)) == pytest.approx(0, abs=1e-5)
    assert pose_distance(one, other) > 0.02
    portraits = Portraits(open_shards(corpus), True, 0)
    assert portraits.groups["ann"] == [0, 1, 2]


def test_references_beside_a_clip_come_into_the_corpus_with_their_transparency(
    place: Path, run_build: Callable[[Path], Path]
) -> None:
    puppets.write_clips(place / "clips", 1, frames=12, size=64, encode=video.write, seed=1)
    (place / "clips/contact_sheet.png").unlink()
    red = np.zeros((40, 20, 4), np.uint8)
    red[10:30, 5:15] = (255, 0, 0, 255)
    Image.fromarray(red).save(place / "clips/clip00000.reference.png")
    Image.fromarray(red[..., :3]).save(place / "clips/clip00000.reference1.png")
    found = read_inputs([place / "clips"], "", place / "out")
    assert [source.name for source in found.sources] == ["clip00000.mp4"]  # and no picture
    corpus = open_shards(run_build(place / "clips"))
    files = corpus.read(0).files
    first, second = (Image.open(io.BytesIO(files[f"reference{n}.png"])) for n in (0, 1))
    assert first.mode == "RGBA" and second.mode == "RGB"
    assert np.asarray(first)[..., 3].mean() == pytest.approx(63.75)


@pytest.fixture
def run_build(place: Path) -> Callable[[Path], Path]:
    from animateanywhere.commands import corpus

    def build(clips: Path) -> Path:
        corpus.build([clips], place / "built", recipe="tiny")
        return place / "built"

    return build


def test_another_judge_of_edits_is_another_corpus(
    corpus: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides which edits are good is recorded, by name."""

    class Nothing:
        def __init__(self, *given: object) -> None:
            pass

        def reference(self, *given: object) -> None:
            raise Unfit("judged", "the judge does not confirm: whole")

    monkeypatch.setattr(command, "Editor", Nothing)
    judge = place / "models" / "judge"
    judge.mkdir(parents=True)
    command.pairs(corpus, place / "out", edit="a/b", backends=Backends(caption_model=str(judge)))
    record = open_shards(place / "out").about["about"]["pairs"]
    assert record["edit"] == "a/b" and record["judge"] == "judge" and record["mask"] == "auto"
    with pytest.raises(UsageError, match=r"other inputs or settings \(judge\)"):
        command.pairs(corpus, place / "out", edit="a/b")
