"""`aa corpus`: a corpus of people for base training, built, checked and shown."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.markup import escape

from animateanywhere.backbones.spec import Model
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import sha256, write_aside
from animateanywhere.core.frame_size import trained_aspects
from animateanywhere.core.json_file import parse_json, read_table
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.core.run_folder import owned
from animateanywhere.datasets.shard_corpus import (
    INDEX,
    open_shards,
    read_corpus_index,
    write_corpus,
)
from animateanywhere.datasets.shards import index_path
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.methods.anycharv import settings as swap
from animateanywhere.methods.context_anyone import settings as cast
from animateanywhere.preprocessing import exact
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.captions import describe
from animateanywhere.preprocessing.corpus import in_process, on_ray
from animateanywhere.preprocessing.corpus.clip import Preprocessor
from animateanywhere.preprocessing.corpus.in_process import GivenUp
from animateanywhere.preprocessing.corpus.inputs import read_inputs
from animateanywhere.preprocessing.corpus.journal import (
    FOLDER,
    PieceJournal,
    ShotJournal,
    clear,
    has_samples,
    write_rejections,
)
from animateanywhere.preprocessing.corpus.puppet import puppet_sources
from animateanywhere.preprocessing.corpus.shots import ShotFinder, Shots
from animateanywhere.preprocessing.corpus.source import (
    Frames,
    Rejection,
    Settings,
    Source,
    frames_of,
)

VERSION = 1  # of what is done here: a change makes unfinished corpora stale
BUILD, REJECTED = "build.json", "rejected.jsonl"
NAMED = 3  # files that a message names


@dataclass(frozen=True)
class Engine:
    """What the steps run on: this process, or Ray at an address (None: this machine) with a number
    of workers (None: one for each GPU or processor core)."""

    name: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: int | None = None


class Built(NamedTuple):
    """A corpus that was built: what its index says, and what was set aside."""

    folder: Path
    about: dict[str, Any]
    rejections: list[Rejection]


def build(
    inputs: Sequence[Path],
    out: Path,
    *,
    puppets: int = 0,
    recipe: str = "mini",
    license: str = "",
    seed: int = 0,
    backends: Backends | None = None,
    engine: Engine | None = None,
) -> Built:
    """Build a corpus of videos, pictures and puppets; the same call goes on after a stop.

    Args:
        inputs: files, folders and manifests (`inputs.read_inputs`).
        out: folder of the corpus.
        puppets: number of rendered people to add.
        recipe: of the base that is to be trained: its size, frame rate, frames and aspects.
        license: of inputs for which a manifest names none.
        seed: of the puppets.

    Raises UsageError for unusable inputs and a folder with other contents, Failure if nothing can
    be used, the disk is full or another process works in the folder.
    """
    engine, backends = engine or Engine(), backends or Backends()
    found = read_inputs(inputs, license, out)
    sources = [*found.sources, *puppet_sources(puppets, license)]
    if not sources:
        raise UsageError(
            f"no video or picture in {', '.join(map(str, inputs)) or 'no input'}: give files, "
            "folders or a manifest (.csv, .jsonl), or --puppets N"
        )
    for note in found.notes:
        say(escape(note))
    if found.others:
        say(escape(f"not read, {len(found.others)} other files: {_some(found.others)}"))
    if engine.name == "ray":
        on_ray.require()
    settings = Settings(corpus_frames(recipe), backends, seed)
    with owned(out, "corpus"):
        record = _record(settings, sources, bool(found.sources))
        if _is_built(out, record):
            clear(out)  # a process that was killed at its very end
            say(escape(f"{out}: built from the same inputs and settings"))
            return Built(out, read_corpus_index(out), read_rejections(out))
        return _build(out, sources, settings, engine, record)


def corpus_frames(recipe: str) -> Frames:
    """The frames that a recipe's base learns: of its aspect ratios, or of the usual ones."""
    model: Model
    names: tuple[str, ...] = ()
    if swap.is_recipe(recipe) or cast.is_recipe(recipe):  # which take squares out of any
        known = swap.load_recipe if swap.is_recipe(recipe) else cast.load_recipe
        model = known(recipe).model
        if not model.tables():
            raise UsageError(f"--recipe {recipe}: it learns from rendered people, and no corpus")
    else:
        settings = load_recipe(recipe)
        model, names = settings.model, settings.aspects
    aspects = trained_aspects(names)
    return frames_of(model.size, model.fps, model.frames, tuple(aspects))


def _build(
    out: Path, sources: list[Source], settings: Settings, engine: Engine, record: dict[str, Any]
) -> Built:
    """`build` in its folder."""
    text = json.dumps(record, indent=1) + "\n"
    if read_table(out / BUILD) != record:
        clear(out)
    with write_aside(out / BUILD) as aside:
        aside.write_text(text, encoding="utf-8")
    shots = ShotJournal(out, sources)
    run = partial(_run, engine, out / FOLDER)
    by_id = {source.id: source for source in sources}
    with progress("finding shots", len(sources), len(shots.found)) as bar:
        for name, result in run(partial(ShotFinder, settings.frames), shots.todo()):
            if isinstance(result, GivenUp):
                result = Shots([], [by_id[name].rejected("crashed", _crash(result))])
            shots.add(name, result)
            bar.advance(1)
    pieces, rejections = shots.all()
    about = {"build": hashlib.sha256(text.encode()).hexdigest()}
    journal = PieceJournal(out, pieces, about)
    by_key = {piece.key: piece for piece in pieces}
    with progress("preprocessing", len(pieces), len(journal.done)) as bar:
        for key, result in run(partial(Preprocessor, settings), journal.todo(pieces)):
            if isinstance(result, GivenUp):
                result = by_key[key].rejected("crashed", _crash(result), settings.frames.fps)
            journal.add(key, result)
            bar.advance(1, **{"set aside": len(journal.rejected)})
    shards = journal.finish()
    rejections += [journal.rejected[key] for key in journal.keys if key in journal.rejected]
    write_rejections(out / REJECTED, rejections)
    if not shards:
        raise Failure(f"{out}: nothing could be used: {_counted(rejections)}; see {out / REJECTED}")
    write_corpus(out, shards, record)
    clear(out)
    built = Built(out, read_corpus_index(out), rejections)
    _say_built(built)
    return built


def _crash(given_up: GivenUp) -> str:
    return f"the process ended {given_up.attempts} times at it: killed, or out of memory"


def _run(
    engine: Engine, folder: Path, make: Callable[[], Any], items: Sequence[tuple[str, Any]]
) -> Iterator[tuple[str, Any]]:
    if engine.name == "ray":
        return on_ray.run(make, items, engine.address, engine.workers)
    return in_process.run(make, items, folder)


def _record(settings: Settings, sources: Sequence[Source], files: bool) -> dict[str, Any]:
    """What a corpus is made from, as JSON data. Raises UsageError where weights are missing.

    files: whether there are others than puppets.
    """
    frames, backends = settings.frames, settings.backends
    chosen = {"pose": "", "mask": "", "caption": ""}
    if files:
        paths = [one.path for one in sources if one.path]
        for kind, beside in (("pose", exact.poses_file), ("mask", exact.masks_file)):
            if all(beside(path) for path in paths):
                continue
            wanted = getattr(backends, kind)
            where = Path("CLIP.mp4")
            chosen[kind] = "exact" if wanted == "exact" else choose_backend(kind, backends, where)
        if any(not one.captions for one in sources if one.path):
            describe.check_available(backends)
            chosen["caption"] = f"{backends.caption} {backends.caption_model or ''}".strip()
    rows = [(one.id, _files(one), one.captions, one.license, one.start, one.end)
            for one in sources]  # fmt: skip
    return {
        "version": VERSION,
        "frame sizes": [str(size) for size in frames.sizes],
        "frame rate": frames.fps,
        "frames of a clip": [frames.fewest, frames.most],
        "backends": chosen,
        "seed": settings.seed,
        "number of inputs": len(sources),
        "inputs": hashlib.sha256(repr(rows).encode()).hexdigest(),
    }


def _files(source: Source) -> list[tuple[str, int, int]]:
    """Name, size and time of the last change of all files that a source is read from."""
    if source.path is None:
        return []
    some = [source.path, exact.poses_file(source.path), exact.masks_file(source.path)]
    found = [path for path in (*some, *source.references) if path is not None and path.exists()]
    files = [file for path in found
             for file in (sorted(path.iterdir()) if path.is_dir() else [path])]  # fmt: skip
    return [(path.name, about.st_size, about.st_mtime_ns)
            for path in files if path.is_file() for about in [path.stat()]]  # fmt: skip


def _is_built(out: Path, record: dict[str, Any]) -> bool:
    """Whether a folder has the finished corpus of a record; if it is damaged, it is unfinished
    afterwards. Raises UsageError if it has samples of another one."""
    before = read_table(out / BUILD)
    if not before:  # damaged; the index of a finished corpus has it too
        with suppress(UsageError):
            before = read_corpus_index(out)["about"]
    other = [name for name in record if before.get(name) != record[name]]
    if other and not has_samples(out):
        return False
    if other:
        raise UsageError(
            f"{out}: a corpus of other inputs or settings ({', '.join(other)}): give another "
            "--out, or delete it"
        )
    if not (out / INDEX).is_file():
        return False
    try:
        open_shards(out)
    except UsageError:
        warn(escape(f"{out}: parts of the corpus are damaged or missing; they are made again"))
        _reopen(out)
        return False
    return True


def _reopen(out: Path) -> None:
    """Make a corpus unfinished: without the indexes that are not those of the corpus."""
    with suppress(UsageError):
        for row in read_corpus_index(out)["shards"]:
            index = index_path(out / row["name"])
            if index.is_file() and sha256(index) != row["index_sha256"]:
                index.unlink()
    (out / INDEX).unlink()


def to_json(built: Built) -> str:
    """A built corpus as one JSON object: its index without the shards, and what was set aside."""
    about = {key: value for key, value in built.about.items() if key not in ("shards", "about")}
    reasons = Counter(one.reason for one in built.rejections)
    rows = [one._asdict() for one in built.rejections]
    return json.dumps({**about, "shards": len(built.about["shards"]),
                       "reasons": dict(reasons.most_common()), "rejected": rows})  # fmt: skip


def read_rejections(folder: Path) -> list[Rejection]:
    """What was set aside when a corpus was built; [] if that is not known."""
    try:
        lines = (folder / REJECTED).read_text(encoding="utf-8").split("\n")
        found = [Rejection(**parse_json(line)) for line in lines if line]
        return found if all(isinstance(one.reason, str) for one in found) else []
    except (OSError, ValueError, TypeError):
        return []


def _say_built(built: Built) -> None:
    about, folder = built.about, built.folder
    say(escape(
        f"{folder}: {about['clips']} clips ({about['seconds']:.0f} s) and {about['pictures']} "
        f"pictures; shards: {len(about['shards'])}, {about['bytes'] / 1e6:.1f} MB"
    ))  # fmt: skip
    if built.rejections:
        text = f"set aside: {_counted(built.rejections)}; {folder / REJECTED} names each"
        warn(escape(text))


def _counted(rejections: Sequence[Rejection]) -> str:
    """Such as "12 too short, 3 no person"."""
    counts = Counter(one.reason for one in rejections).most_common()
    return ", ".join(f"{count} {reason}" for reason, count in counts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
