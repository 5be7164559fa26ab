"""Checks of a whole corpus: every sample is read, decoded and compared with all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256
from animateanywhere.core.findings import Finding, Verdict, verdict
from animateanywhere.core.frame_size import Size, ratio
from animateanywhere.core.messages import progress
from animateanywhere.datasets.corpus_survey import survey
from animateanywhere.datasets.near_duplicates import is_plain, near_duplicates, perceptual_hash
from animateanywhere.datasets.samples import check_sample, frames_file, notes_of, words_of
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.datasets.shards import Sample, meta_of
from animateanywhere.media.memory import Crop, decode_clip, decode_picture
from animateanywhere.pose.skeleton import Poses
from animateanywhere.pose.visibility import has_person

OUTSIDE = 0.02  # of a side: a visible keypoint may lie so far out of the frame, by rounding
NAMED = 20  # damaged samples and groups of near-duplicates that are listed; all are counted
UNKNOWN = "unknown"  # license of a sample that names none


class Facts(NamedTuple):
    """What is counted of a sample."""

    size: Size
    frames: int
    seconds: float
    license: str
    source: str
    captions: list[str]
    seen: float  # share of the frames with a person
    files: list[str]
    notes: list[str]
    plain: bool  # too plain to be compared
    hash: np.ndarray


class CorpusReport(NamedTuple):
    """Findings, statistics and, by their keys, groups of near-duplicates."""

    verdict: Verdict
    findings: list[Finding]
    statistics: dict[str, Any]
    duplicates: list[list[str]]


def check_corpus(folder: Path) -> CorpusReport:
    """Read and decode every sample of a corpus, and compare shards with their hashes.

    Raises UsageError if the folder has neither the index of a corpus nor shards.
    """
    corpus, problems, extra = survey(folder)
    findings = [Finding("unusable", "corpus", text) for text in problems]
    for path in extra:
        text = f"{path}: not of this corpus, but other readers take all shards of a folder; move it"
        findings.append(Finding("warning", "shard", text))
    findings += _shard_findings(corpus)
    facts: dict[int, Facts] = {}
    damaged = []
    with progress("checking samples", len(corpus)) as bar:
        for number in range(len(corpus)):
            try:
                facts[number] = sample_facts(corpus, number)
            except UsageError as error:
                damaged.append(str(error))
            bar.advance(1)
    findings += [Finding("unusable", "sample", text) for text in damaged[:NAMED]]
    if len(damaged) > NAMED:
        text = f"{len(damaged) - NAMED} more samples are damaged"
        findings.append(Finding("unusable", "sample", text))
    groups = _duplicates(corpus, facts)
    for group in groups[:NAMED]:
        text = f"near-duplicates: {', '.join(group[:4])}{', ...' if len(group) > 4 else ''}"
        findings.append(Finding("warning", "duplicates", text))
    if len(groups) > NAMED:
        text = f"{len(groups) - NAMED} more groups of near-duplicates"
        findings.append(Finding("warning", "duplicates", text))
    rows = list(facts.values())
    without = sum(fact.license == UNKNOWN for fact in rows)
    if without:
        text = f"{without} of {len(rows)} samples name no license"
        findings.append(Finding("warning", "license", text))
    return CorpusReport(verdict(findings), findings, statistics(corpus, rows), groups)


def sample_facts(corpus: ShardCorpus, number: int) -> Facts:
    """What is counted of a sample, once all its files are read, checked and decoded. Raises
    UsageError, which names shard and key, if one is wrong."""
    sample = corpus.read(number)
    where = str(corpus.shards[corpus.shard[number]])
    meta, poses, captions = check_sample(sample, where)
    check_poses(poses, Size(meta.width, meta.height), f"{where}: {sample.key}.pose.json")
    frames = read_frames(sample, where)
    require_shape(frames, (meta.frames, meta.height, meta.width), f"{where}: {sample.key}")
    for name in ("mask.mp4", "mask.png"):
        if name in sample.files:
            require_shape(read_file(sample, name, where), frames.shape[:3],
                           f"{where}: {sample.key}.{name}")  # fmt: skip
    for name in sample.files:
        if name.startswith("reference"):
            read_file(sample, name, where)
    return Facts(
        Size(meta.width, meta.height), meta.frames,
        meta.frames / meta.fps if meta.frames > 1 else 0.0, meta.license or UNKNOWN, meta.source,
        captions, float(has_person(poses.keypoints).mean()),
        sorted(sample.files), notes_of(sample),
        is_plain(frames), perceptual_hash(frames),
    )  # fmt: skip


def check_poses(poses: Poses, size: Size, where: str) -> None:
    """Raise UsageError, which names `where`, for keypoints of frames of another size, out of them,
    or with a confidence out of 0..1."""
    if (poses.width, poses.height) != size:
        raise UsageError(
            f"{where}: of frames of {poses.width}x{poses.height} pixels, where the sample has "
            f"{size}"
        )
    points = poses.keypoints
    if ((points[..., 2] < 0) | (points[..., 2] > 1)).any():
        raise UsageError(f"{where}: a confidence is not in 0 to 1")
    shown = points[points[..., 2] > 0, :2] / np.array(size)
    if ((shown < -OUTSIDE) | (shown > 1 + OUTSIDE)).any():
        raise UsageError(f"{where}: a keypoint lies out of the frame")


def read_frames(sample: Sample, where: str) -> np.ndarray:
    """The frames of a sample, uint8 (F, H, W, 3). Raises UsageError, which names `where`."""
    return read_file(sample, frames_file(sample.files, f"{where}: {sample.key}"), where)


def read_file(sample: Sample, name: str, where: str) -> np.ndarray:
    """A clip or picture of a sample, uint8 (F, H, W, 3). Raises UsageError, which names `where`."""
    data, label = sample.files[name], f"{where}: {sample.key}.{name}"
    if name.endswith(".mp4"):
        fps = meta_of(sample, where).fps
        return np.stack(list(decode_clip(data, label, fps, _whole)))
    return decode_picture(data, label, _whole)[None]


def _whole(size: Size) -> Crop:
    return Crop(size, size)


def require_shape(frames: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    """Raise UsageError, which names `where`, for frames (F, H, W, C) of another shape (F, H, W)."""
    if frames.shape[:3] != shape:
        found, wanted = (f"{f} frames of {w}x{h}" for f, h, w in (frames.shape[:3], shape))
        raise UsageError(f"{where}: {found} pixels, where meta.json says {wanted}")


def _shard_findings(corpus: ShardCorpus) -> Iterator[Finding]:
    """Shards whose bytes are not those of the index."""
    with progress("checking shards", len(corpus.shards)) as bar:
        for path, row in zip(corpus.shards, corpus.about["shards"], strict=True):
            try:
                if sha256(path) != row["sha256"]:
                    text = f"{path}: its bytes are not those of the index (SHA-256)"
                    yield Finding("unusable", "shard", text)
            except OSError as error:
                text = f"{path}: cannot be read ({error.strerror})"
                yield Finding("unusable", "shard", text)
            bar.advance(1)


def _duplicates(corpus: ShardCorpus, facts: dict[int, Facts]) -> list[list[str]]:
    some = [number for number, fact in facts.items() if not fact.plain]
    if len(some) < 2:
        return []
    hashes = np.stack([facts[number].hash for number in some])
    sources = np.unique([facts[number].source for number in some], return_inverse=True)[1]
    return [[corpus.key(some[row]) for row in group] for group in near_duplicates(hashes, sources)]


def statistics(corpus: ShardCorpus, facts: list[Facts]) -> dict[str, Any]:
    """Counts of the readable samples: kinds, sizes, lengths, words, licenses, files, notes."""
    clips = [fact for fact in facts if fact.frames > 1]
    words: Counter[str] = Counter()
    for fact in facts:
        for caption in fact.captions:
            words.update(words_of(caption))
    return {
        "samples": len(corpus), "readable": len(facts), "clips": len(clips),
        "pictures": len(facts) - len(clips), "shards": len(corpus.shards),
        "bytes": sum(int(row["size"]) for row in corpus.about["shards"]),
        "seconds": round(sum(fact.seconds for fact in clips), 3),
        "lengths": _counts(f"{int(fact.seconds)} to {int(fact.seconds) + 1} s" for fact in clips),
        "sizes": _counts(str(fact.size) for fact in facts),
        "aspects": _counts(ratio(fact.size) for fact in facts),
        "licenses": _counts(fact.license for fact in facts),
        "captions": sum(len(fact.captions) for fact in facts),
        "different captions": len({text for fact in facts for text in fact.captions}),
        "words": dict(words.most_common(40)), "different words": len(words),
        "frames with a person": round(float(np.mean([fact.seen for fact in facts])), 4)
        if facts else 0.0,
        "files": _counts(name for fact in facts for name in fact.files),
        "samples with notes": sum(bool(fact.notes) for fact in facts),
        "samples with references": sum("reference0.png" in fact.files for fact in facts),
    }  # fmt: skip


def _counts(values: Iterator[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
