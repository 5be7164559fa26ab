"""`aa runs delete`: remove runs and generated videos, and nothing that is not of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from rich.markup import escape

from animateanywhere.commands.results import files_of_result, result_of
from animateanywhere.commands.run_state import PAGE, Run, base_folder
from animateanywhere.commands.runs import find_run, list_runs
from animateanywhere.core.disk_use import size_in_words
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import say
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import MARK, VIDEOS, is_running, owned, read_mark, set_mark

SUBJECT = """subject.toml frames/*.png masks/*.png poses.json captions.jsonl contact.png report.html
    made.json findings.json""".split()
STAGE = """stage.json done.json log.jsonl checkpoint.safetensors checkpoint.previous.safetensors
    checkpoint.next.safetensors best.safetensors renders.safetensors samples.safetensors
    tensorboard/events.out.tfevents.* samples/*.png samples/*.json tracked-run wandb/**""".split()
SHARDS = ["corpus.json", "shard-*.tar", "shard-*.index.json"]
STAGES = [*STAGE, *(f"faces/{name}" for name in STAGE)]  # the perception stage has two networks
PERSONAL = [
    *"personal.safetensors run.json README.md scores.json scores.png".split(),
    *(f"subject/{name}" for name in SUBJECT),
]
CASES = "new-scene new-motion both-with-object".split()  # of `aa demo`
CASE = ["driving.mp4", "driving.poses.json", "truth.mp4", "personalized.*", "words_only.*"]
NETWORK = "*.json *.safetensors *.txt *.model *.jinja".split()
PARTS = """unet transformer vae text_encoder tokenizer scheduler motion_adapter controlnet
    perception image_encoder reference_unet""".split()
LEARNED = [
    *PERSONAL, *(f"earlier/*/{name}" for name in PERSONAL),
    *(f"training/*/{name}" for name in STAGES),
    "training/*.safetensors", "training/appearance.txt", "estimate.json",
    "background_augmentation.png",
]  # fmt: skip
# What each command writes into its folder; the first ones make a run a finished one
OWN: dict[str, list[str]] = {
    "personalize": LEARNED,
    "base-train": [
        *"base.toml recipe.json model_index.json README.md".split(),
        *(f"training/*/{name}" for name in STAGES), "corpus/*/*.npy", "corpus/*/captions.jsonl",
        *(f"corpus/*/{name}" for name in SHARDS), "training/corpus.json",
        "training/recipe.json",
        *(f"{part}/{name}" for part in PARTS for name in NETWORK),
    ],
    "corpus": [
        *SHARDS, *(f"latents-*/{name}" for name in SHARDS), "unfinished/**",
        *"build.json rejected.jsonl report.html contact_sheet.png".split(),
    ],
    "prepare": SUBJECT,
    "swap": [
        *".scene.json people.png character-people.png character-people-?.png".split(),
        *"person-*/scene.json person-*/.pieces/*.npz person-*/.pieces/*.steps/*.npy".split(),
        *(f"person-*/frames-*/{name}" for name in (*SUBJECT, "others/*.png")),
    ],
    "evaluate": ["metrics.json", "table.md", "contact_sheet.png"],
    "demo": [
        *"stages.json report.json contact_sheet.png".split(),
        *(f"{case}/{name}" for case in CASES for name in CASE),
        *(f"sks/{name}" for name in LEARNED),
    ],
    "puppets": ["clip*.mp4", "clip*.masks.npz", "clip*.poses.json", "clip*.txt", "*sheet.png"],
}  # fmt: skip


def delete(
    names: Sequence[str], folder: Path = RUNS, confirm: Callable[[str], bool] | None = None
) -> None:
    """Delete runs or videos by their names, as for `runs.find_run`.

    confirm: asked with a question for each; None: nobody is asked. Prints what is left because it
    is not of the run. Raises UsageError for what is not a run or cannot be distinguished from other
    files, Failure for one that a process works in; nothing is deleted then.
    """
    found = [find_run(name, folder) for name in names]
    for run in found:
        _require_deletable(run)
    for run in found:
        about = f"{run.kind}, {size_in_words(run.bytes)}"
        users = _learned_on(run, folder)
        if users:
            about += f"; the base of {', '.join(users)}"
        if confirm is not None and not confirm(f"Delete {run.path} ({about})?"):
            say(escape(f"{run.path}: kept"))
            continue
        left: list[Path] = []
        if (run.path / MARK).is_file():
            left = _delete_folder(run)
        else:
            _delete_result(run.path)
        say(escape(f"{run.path}: deleted"))
        _tell(run.path, left)


def _require_deletable(run: Run) -> None:
    if run.path.is_symlink():
        raise UsageError(
            f"{run.path} is a link: give {run.path.resolve()} to delete that, or remove the link"
        )
    if not (run.path / MARK).is_file():
        return
    for place in (file.parent for file in run.path.rglob(MARK)):
        if is_running(place):
            process = getattr(read_mark(place), "process", None)
            raise Failure(
                f"{place} is in use by process {process} of aa: stop it, or wait until it has ended"
            )
    if run.kind not in OWN and run.kind != VIDEOS:
        raise UsageError(
            f"{run.path}: which of its files are of `aa {run.kind}` is not known; look at it, and "
            "delete the folder yourself"
        )


def _learned_on(run: Run, folder: Path) -> list[str]:
    """The runs that need a base: their weights work with no other."""
    if run.kind != "base-train":
        return []
    others = [one for one in list_runs(folder).runs if one.kind == "personalize"]
    return [one.name for one in others if base_folder(one.path) == run.path.resolve()]


def _delete_folder(run: Run) -> list[Path]:
    """Delete what is of a run; returns what is left, of it the topmost folders."""
    links: list[Path] = []
    with owned(run.path, run.kind):  # nobody begins to work in it meanwhile
        for path in sorted(run.path.glob("*.json")) if run.kind in (VIDEOS, "swap") else ():
            result = result_of(path)
            if result is not None and run.kind in (VIDEOS, result[1]):
                _delete_result(result[0])
        for path in _own_files(run.path, [*OWN.get(run.kind, []), PAGE]):
            if path.is_symlink() and not path.resolve().is_relative_to(run.path.resolve()):
                links.append(path.readlink())
            path.unlink(missing_ok=True)
        _remove_empty(run.path)
        left = sorted(path for path in run.path.iterdir() if path.name != MARK)
        if left:
            (run.path / MARK).unlink(missing_ok=True)
    if links:
        some = ", ".join(map(str, links[:4])) + ", ..." * (len(links) > 4)
        say(escape(f"{run.path}: only links are deleted, not what they point to: {some}"))
    if any(
        result_of(path) for path in left
    ):  # so that the folder can be used, and deleted, as one of videos
        set_mark(run.path, VIDEOS)
    return left


def _own_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files, and links, below a folder that match a pattern, in the order of the patterns. Nothing
    behind a link or in another run is looked at."""
    files: list[PurePath] = []
    for place, folders, names in os.walk(folder):
        here = Path(place).relative_to(folder)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        files += [here / name for name in (*names, *links)]
    whole = {pattern.split("/")[0] for pattern in patterns if "/" in pattern}
    found: dict[PurePath, None] = {}
    for pattern in patterns:
        found |= {file: None for file in files if _matches(file, pattern)}
    # Links in the place of a folder, such as of a corpus that several bases share
    found |= {file: None for file in files if str(file) in whole and (folder / file).is_symlink()}
    found |= {file: None for file in files if file.name == MARK and file.parent != PurePath()
              and any(other.parent == file.parent for other in found)}  # fmt: skip
    return [folder / file for file in found]


def _matches(file: PurePath, pattern: str) -> bool:
    """Whether a file matches a pattern, which may end with "/**" for all below a folder."""
    if pattern.endswith("/**"):
        parts = len(PurePath(pattern).parts) - 1
        return len(file.parts) > parts and _matches(
            PurePath(*file.parts[:parts]), pattern.removesuffix("/**")
        )
    return len(file.parts) == len(PurePath(pattern).parts) and file.match(pattern)


def _remove_empty(folder: Path) -> None:
    for place, _, _ in os.walk(folder, topdown=False):
        if Path(place) != folder and not any(Path(place).iterdir()):
            Path(place).rmdir()


def _delete_result(result: Path) -> None:
    own = files_of_result(result)
    if result.is_dir() and not result.is_symlink():  # of pictures
        for picture in result.glob("*.png"):
            picture.unlink()
        if not any(result.iterdir()):
            result.rmdir()
        own.remove(result)
    for path in own:
        path.unlink()


def _tell(folder: Path, left: list[Path]) -> None:
    """Print what is left in a folder."""
    if not left:
        return
    names = ", ".join(path.name + "/" * path.is_dir() for path in left[:8])
    more = ", ..." * (len(left) > 8)
    say(escape(f"{folder}: left, since it is not of the run: {names}{more}"))
