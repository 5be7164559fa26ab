"""What is kept, resumed, refused and made again in the folder of a learned person."""

import shutil
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from animateanywhere import puppets
from animateanywhere.backbones.personal_weights import base_of, find_weights, read_metadata
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.run_folder import MARK, owned
from animateanywhere.evaluation.truth import write_reference
from animateanywhere.methods.animate_anywhere import personal_stages
from animateanywhere.methods.animate_anywhere.settings import NO_EXTRAS, load_recipe

RUN = Path("runs/sks")
WEIGHTS = RUN / "personal.safetensors"
TINY = load_recipe("personalize-tiny")
SCORED = replace(TINY, extras=replace(NO_EXTRAS, checkpoint_selection=True, selection_steps=1))


def learn(base: Path, clip: Path = EXAMPLES / "reference.mp4", **options: Any) -> Path:
    options = {"recipe": SCORED, "estimate": False} | options
    wanted = PersonalizeOptions(class_word="man", base=str(base), scene="in a room", **options)
    return personalize(clip, "sks", wanted)


@pytest.fixture(scope="module")
def done(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one person was learned."""
    folder = tmp_path_factory.mktemp("done")
    with chdir(folder):
        assert learn(tiny_base) == WEIGHTS
    return folder


@pytest.fixture
def run(done: Path, place: Path) -> bytes:
    """Runs in a copy of that folder; the bytes of its weights."""
    shutil.copytree(done, place, dirs_exist_ok=True)
    return WEIGHTS.read_bytes()


def stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the first step of a stage."""

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(personal_stages.method, "loss", interrupted)


def test_files_of_others_are_neither_deleted_nor_overwritten(tiny_base: Path, place: Path) -> None:
    (place / "training").mkdir()
    files = {place / "training" / "train.py": "print()", place / "README.md": "# Mine"}
    for file, text in files.items():
        file.write_text(text)
    with pytest.raises(UsageError, match="contains other files, such as README"):
        learn(tiny_base, out=Path())
    assert {file: file.read_text() for file in files} == files
    assert sorted(path.name for path in place.iterdir()) == ["README.md", "training"]


def test_finished_weights_stay_until_others_are_complete(
    tiny_base: Path, run: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        stop(patched)
        with pytest.raises(KeyboardInterrupt):
            learn(tiny_base, seed=1)
    assert WEIGHTS.read_bytes() == run
    stop_here = "the finished run in runs/sks is kept in runs/sks/earlier/1"
    assert " ".join(capsys.readouterr().err.split()).count(stop_here) == 1
    learn(tiny_base, seed=1)
    assert WEIGHTS.read_bytes() != run and read_metadata(WEIGHTS)["seed"] == "1"
    (kept,) = (RUN / "earlier").iterdir()
    assert (kept / WEIGHTS.name).read_bytes() == run
    assert "kept in" not in capsys.readouterr().err  # only once


def test_a_second_person_with_the_token_does_not_replace_the_first(
    tiny_base: Path, run: bytes, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (RUN / "subject" / "frames" / "0000.png").read_bytes()
    clip = write_reference(puppets.render(puppets.sample_spec(5), 16, 64, 8.0), place)
    stop(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_base, clip)
    kept = RUN / "earlier" / "1"
    assert WEIGHTS.read_bytes() == run == (kept / WEIGHTS.name).read_bytes()
    assert (kept / "subject" / "frames" / "0000.png").read_bytes() == first
    assert (RUN / "subject" / "frames" / "0000.png").read_bytes() != first
    found = find_weights("sks man on a beach")
    assert found is not None and found[0].read_bytes() == run


def test_a_base_is_known_by_its_weights(
    tiny_base: Path, run: bytes, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another path of the same base is the same run; no path is in the weights."""
    for text in (str(tiny_base), str(tiny_base.parent), str(place.parent)):
        assert text.encode() not in run
    assert base_of(read_metadata(WEIGHTS), WEIGHTS) == str(tiny_base)
    assert base_of(read_metadata(WEIGHTS)) == "tiny"
    (place / "moved").symlink_to(tiny_base)
    stop(monkeypatch)
    learn(Path("moved"))
    assert WEIGHTS.read_bytes() == run and not (RUN / "earlier").exists()
    assert base_of(read_metadata(WEIGHTS), WEIGHTS) == "moved"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damages",
    [
        {"runs/sks/personal.safetensors": cut},
        {"runs/sks/personal.safetensors": flip},
        {"runs/sks/training/appearance/best.safetensors": flip},
        {"runs/sks/scores.json": cut},
        {
            "runs/sks/training/motion/checkpoint.safetensors": flip,
            "runs/regularization/*.safetensors": cut,
            "runs/sks/subject/findings.json": cut,
        },
        {"runs/sks/training/motion/best.safetensors": Path.unlink},
    ],
)
def test_damaged_files_are_named_and_made_again(
    tiny_base: Path, run: bytes, place: Path, damages: dict[str, Callable[[Path], object]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The same weights at the end, by the same command."""
    files = {path: damage for name, damage in damages.items() for path in place.glob(name)}
    whole = {path: path.read_bytes() for path in files}
    assert len(whole) >= len(damages)
    if WEIGHTS.absolute() not in whole:
        WEIGHTS.unlink()
    for path, damage in files.items():
        damage(path)
    capsys.readouterr()
    assert learn(tiny_base).read_bytes() == run
    said = capsys.readouterr().err.replace("\n", "")
    for path, data in whole.items():
        assert path.name == "findings.json" or str(path.relative_to(place)) in said
        assert path.name == "scores.json" or path.read_bytes() == data
    assert not (RUN / "earlier").exists()


@pytest.mark.parametrize("name", ["poses.json", "made.json", "masks/0003.png", "captions.jsonl"])
def test_what_may_hold_corrections_is_refused_in_one_line(
    tiny_base: Path, run: bytes, name: str
) -> None:
    path = RUN / "subject" / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UsageError) as caught:
        learn(tiny_base)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert WEIGHTS.read_bytes() == run


def test_a_second_process_is_refused(tiny_base: Path, run: bytes) -> None:
    with owned(RUN, "personalize"), pytest.raises(Failure, match=r"runs/sks is in use by process"):
        learn(tiny_base)
    assert (RUN / MARK).is_file() and WEIGHTS.read_bytes() == run


def test_notes_in_the_folder_of_a_subject_are_kept(tiny_base: Path, run: bytes) -> None:
    notes = RUN / "subject" / "notes.txt"
    notes.write_text("mine")
    (RUN / "subject" / "subject.toml").write_text("")  # so that it is prepared again
    learn(tiny_base)
    assert notes.read_text() == "mine" and WEIGHTS.read_bytes() == run
