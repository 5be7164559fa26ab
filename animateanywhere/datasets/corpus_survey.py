"""What is there of a damaged corpus: the samples of the shards that can be read, and what is wrong
with the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.shard_corpus import (
    INDEX,
    ShardCorpus,
    joined,
    named_shard,
    read_corpus_index,
    summary,
)
from animateanywhere.datasets.shards import Shard

COUNTS = ("samples", "pictures", "clips", "frames", "seconds", "bytes", "licenses", "aspects",
          "sizes")  # fmt: skip


class Survey(NamedTuple):
    """The samples of the shards that can be read. problems: what is missing, damaged or does not
    agree, a line each. extra: shards that the corpus does not name."""

    corpus: ShardCorpus
    problems: list[str]
    extra: list[Path]


def survey(folder: Path) -> Survey:
    """Survey a corpus, also without its index where there are shards. Raises UsageError if the
    folder has neither."""
    problems: list[str] = []
    about, tars = None, sorted(folder.glob("*.tar"))
    try:
        about = read_corpus_index(folder)
    except UsageError as error:
        if not tars:
            raise
        problems.append(str(error))
    shards: list[Shard] = []
    paths = tars if about is None else [folder / row["name"] for row in about["shards"]]
    for number, path in enumerate(paths):
        try:
            shards.append(named_shard(path, about["shards"][number] if about else None))
        except UsageError as error:
            problems.append(str(error))
    keys = Counter(entry.key for shard in shards for entry in shard.samples)
    problems += [f"{folder}: {count} samples have the key {key}; build the corpus again"
                 for key, count in keys.items() if count > 1]  # fmt: skip
    own = summary(shards, about["about"] if about else {})
    if about is not None and not problems:
        wrong = [name for name in COUNTS if about[name] != own[name]]
        if wrong:
            problems.append(f"{folder / INDEX}: {', '.join(wrong)}: not those of the shards; build "
                            "the corpus again")  # fmt: skip
    if not keys and not problems:
        problems.append(f"{folder}: contains no sample; run `aa corpus build` again")
    extra = [path for path in tars if about is not None and path not in paths]
    return Survey(joined(folder, shards, own), problems, extra)
