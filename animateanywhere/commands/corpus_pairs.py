"""`aa corpus pairs`: a corpus with reference pictures of each clip's person, for `aa cast`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256, write_aside
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.core.run_folder import owned
from animateanywhere.datasets.samples import CLIP, check_sample
from animateanywhere.datasets.shard_corpus import (
    INDEX,
    ShardCorpus,
    open_shards,
    write_corpus,
)
from animateanywhere.datasets.shards import Sample
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions.vlm import SMOLVLM
from animateanywhere.preprocessing.corpus.editing import Editor
from animateanywhere.preprocessing.corpus.journal import PieceJournal, clear, has_samples
from animateanywhere.preprocessing.corpus.portraits import Found, Portraits
from animateanywhere.preprocessing.corpus.row import picture_bytes
from animateanywhere.preprocessing.corpus.source import Unfit

RECORD, PAIRS = "pairs.json", "pairs.jsonl"
COUNT = 2  # reference pictures of a clip, from other clips


class Paired(NamedTuple):
    """A corpus with references: how many clips got some, and why others did not, by their keys."""

    folder: Path
    paired: int
    had: int  # clips that came with some
    left_out: dict[str, dict[str, str]]


class Item(NamedTuple):
    """A sample of the corpus by its number."""

    key: str
    number: int


def pairs(
    folder: Path, out: Path, *, per_folder: bool = False, edit: str | None = None, seed: int = 0,
    backends: Backends | None = None,
) -> Paired:  # fmt: skip
    """Write a corpus again with reference pictures of each clip's person; the same call goes on
    after a stop.

    Args:
        folder: of the corpus, which is only read.
        out: of the new one.
        per_folder: all files in one folder of the corpus's inputs show one person; otherwise only
            the shots of one file may.
        edit: image-editing model, a folder or a repository, that makes the pictures; None: they are
            taken from other clips of the person.
        backends: of an editing model: the judge, the pose detector and the segmentation.

    Raises UsageError for a damaged corpus, a folder with other contents and models that are
    missing.
    """
    corpus = open_shards(folder)
    if out.resolve() == folder.resolve():
        raise UsageError(f"--out {out}: give another folder than the corpus")
    backends = backends or Backends()
    record: dict[str, Any] = {
        "corpus": sha256(folder / INDEX), "per_folder": per_folder, "edit": _named(edit or ""),
        "seed": seed,
    }  # fmt: skip
    if edit is not None:  # what decides which edits are good, and cuts them out
        judge = backends.caption_model or SMOLVLM.repo
        record |= {"judge": _named(judge), "pose": backends.pose, "mask": backends.mask}
    with owned(out, "corpus"):
        _require_same(out, record)
        if not (out / INDEX).is_file():
            editor = None if edit is None else Editor(edit, backends, seed)
            _make(corpus, out, record, Portraits(corpus, per_folder, seed), editor)
        clear(out)
        paired = _read(out)
        with write_aside(out / PAIRS) as aside:
            rows = [{"key": key, **why} for key, why in paired.left_out.items()]
            aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _say(paired)
    return paired


def _named(model: str) -> str:
    """A model without the place of its folder."""
    return Path(model).resolve().name if model and Path(model).is_dir() else model


def _require_same(out: Path, record: dict[str, Any]) -> None:
    before = read_table(out / RECORD)
    if before != record and (before or has_samples(out) or (out / INDEX).exists()):
        other = [name for name in record if before.get(name) != record[name]]
        raise UsageError(
            f"{out}: a corpus of other inputs or settings ({', '.join(other)}): give another "
            "--out, or delete it"
        )
    with write_aside(out / RECORD) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _make(
    corpus: ShardCorpus, out: Path, record: dict[str, Any], portraits: Portraits,
    editor: Editor | None,
) -> None:  # fmt: skip
    """Write the shards of a corpus with references, and its index."""
    items = [Item(corpus.key(number), number) for number in range(len(corpus))]
    journal = PieceJournal(out, items, record)
    with progress("reference pictures", len(items), len(journal.done)) as bar:
        for key, item in journal.todo(items):
            sample = corpus.read(item.number)
            check_sample(sample, str(corpus.folder))
            journal.add(key, _with_references(sample, item.number, portraits, editor))
            bar.advance(1)
    write_corpus(out, journal.finish(), {**corpus.about["about"], "pairs": record})


def _with_references(
    sample: Sample, number: int, portraits: Portraits, editor: Editor | None
) -> Sample:
    """A sample with references, or with the reason in its meta.json why it has none."""
    if CLIP not in sample.files or references_in(sample.files):
        return sample
    about: dict[str, Any]
    found: list[Found] = []
    try:
        if editor is None:
            found = portraits.others(number, COUNT)
        else:
            found = [editor.reference(portraits.of(number), number)]
        about = {"references": [one.origin for one in found]}
    except Unfit as error:
        about = {"no_reference": {"reason": error.reason, "text": str(error)}}
    meta = json.loads(sample.files["meta.json"]) | about
    files = {f"reference{n}.png": picture_bytes(one.picture, "PNG") for n, one in enumerate(found)}
    files["meta.json"] = (json.dumps(meta, indent=1) + "\n").encode()
    return Sample(sample.key, {**sample.files, **files})


def references_in(names: Iterator[str] | Any) -> list[str]:
    """The names of reference pictures among those of a sample's files."""
    return sorted(name for name in names if name.startswith("reference"))


def _read(out: Path) -> Paired:
    """What became of the clips of a corpus with references."""
    corpus = open_shards(out)
    paired, had, left_out = 0, 0, dict[str, dict[str, str]]()
    for number in range(len(corpus)):
        if not corpus.has(number, CLIP):
            continue
        meta = json.loads(corpus.read(number, ["meta.json"]).files["meta.json"])
        if "no_reference" in meta:
            left_out[corpus.key(number)] = meta["no_reference"]
        elif "references" in meta:
            paired += 1
        else:
            had += 1
    return Paired(out, paired, had, left_out)


def _say(made: Paired) -> None:
    kept = f", {made.had} had some" if made.had else ""
    say(escape(f"{made.folder}: {made.paired} clips with reference pictures{kept}"))
    if made.left_out:
        reasons = Counter(why["reason"] for why in made.left_out.values()).most_common()
        counted = ", ".join(f"{count} {reason}" for reason, count in reasons)
        warn(escape(
            f"{len(made.left_out)} without: {counted}; {made.folder / PAIRS} names each. Training "
            "takes another moment of such a clip itself"
        ))  # fmt: skip


def to_json(made: Paired) -> str:
    """A corpus with references as one JSON object."""
    reasons = Counter(why["reason"] for why in made.left_out.values())
    return json.dumps({"paired": made.paired, "had": made.had, "reasons": dict(reasons),
                       "left_out": made.left_out})  # fmt: skip
