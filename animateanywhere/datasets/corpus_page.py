"""`report.html` and `contact_sheet.png` of a corpus: its statistics, and samples spread over it."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.frame_size import Size, ratio
from animateanywhere.core.messages import progress
from animateanywhere.core.paths import ASSETS
from animateanywhere.datasets.corpus_check import UNKNOWN, read_file, read_frames, require_shape
from animateanywhere.datasets.samples import captions_of, check_sample, notes_of, words_of
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.datasets.subject import overlay_skeletons
from animateanywhere.media.video import contact_sheet, sheet_frames

TEMPLATE = ASSETS / "corpus.html.j2"
SIGN = "<!-- written by aa corpus show -->"
SHEET = "contact_sheet.png"
SAMPLES, ROWS = 48, 12  # samples on the page, and of the contact sheet
FRAMES = 4  # of each sample
HEIGHT = 160  # pixels of a picture on the page
READ = 20_000  # samples, spread over the corpus, whose captions are counted
WORDS = 60
BINS = 16  # of the lengths


class Bar(NamedTuple):
    """A row of a chart: label, number and share of the largest, 0..1."""

    label: str
    number: int
    share: float


def write_page(
    path: Path, corpus: ShardCorpus, rejected: Sequence[Any], problems: Sequence[str] = ()
) -> list[str]:
    """Write the page and, beside it, the contact sheet. Returns the problems that the page names.

    rejected: what was set aside, with `reason`. problems: what is missing or damaged, to which
    samples that cannot be shown are added. Raises UsageError if none can be.
    """
    from jinja2 import Environment

    shown, rows = [], []
    problems = list(problems)
    picked = _spread(len(corpus), SAMPLES)
    with progress("reading samples", len(picked)) as bar:
        for number in picked:
            try:
                card, row = _sample(corpus, number)
                shown.append(card)
                rows.append(row)
            except UsageError as error:
                problems.append(str(error))
            bar.advance(1)
    if not shown:
        raise UsageError(f"{corpus.folder}: no sample can be shown: {problems[0]}")
    counted = _spread(len(corpus), READ)
    contact_sheet(path.parent / SHEET, [rows[i] for i in _spread(len(rows), ROWS)], FRAMES)
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    text = page.render(
        sign=SIGN, name=corpus.folder.resolve().name, about=corpus.about, samples=shown,
        rejected=rejected, counted=len(counted), charts=_charts(corpus, counted, rejected),
        problems=problems,
    )  # fmt: skip
    with write_aside(path) as aside:
        aside.write_bytes(text.encode(errors="replace"))  # file names can be other than UTF-8
    return problems


def _sample(corpus: ShardCorpus, number: int) -> tuple[dict[str, Any], tuple[str, np.ndarray]]:
    """The template's values of a sample, and its row of the contact sheet."""
    sample = corpus.read(number)
    where = str(corpus.shards[corpus.shard[number]])
    meta, all_poses, captions = check_sample(sample, where)
    frames = read_frames(sample, where)
    require_shape(frames, (meta.frames, meta.height, meta.width), f"{where}: {sample.key}")
    some = sheet_frames(len(frames), FRAMES)
    poses = all_poses.keypoints[some]
    pictures = overlay_skeletons(frames[some], poses)
    mask = next((name for name in ("mask.mp4", "mask.png") if name in sample.files), None)
    cut = frames[some]
    if mask is not None:
        masks = read_file(sample, mask, where)
        require_shape(masks, frames.shape[:3], f"{where}: {sample.key}.{mask}")
        share = masks[some, ..., :1] / np.float32(255)
        cut = (cut * share + 255 * (1 - share)).astype(np.uint8)
    about = {**meta._asdict(), "notes": notes_of(sample)}
    strips = [frames[some], pictures, *([cut] if mask else [])]
    card = {
        "key": sample.key, "captions": captions, "about": about, "mask": mask is not None,
        "strips": [_data_url(strip) for strip in strips],
        "references": [_data_url(read_file(sample, name, where))
                       for name in sorted(sample.files) if name.startswith("reference")],
    }  # fmt: skip
    row = frames[some] if len(frames) > 1 else np.concatenate(strips)
    return card, (f"{meta.source}: {captions[0]}", row)


def _charts(corpus: ShardCorpus, counted: Sequence[int], rejected: Sequence[Any]) -> dict[str, Any]:
    """The charts of the page, by title."""
    sizes = [Size(*row) for row in corpus.sizes.tolist()]
    words: Counter[str] = Counter()
    lengths = []
    for number in counted:
        try:
            captions = captions_of(corpus.read(number, ["caption.txt"]), corpus.name(number, ""))
        except UsageError:  # `aa corpus check` names it
            continue
        for caption in captions:
            own = words_of(caption)
            lengths.append(len(own))
            words.update(own)
    seconds = (corpus.frames / np.maximum(corpus.fps, 1e-9))[corpus.frames > 1]
    licenses = {name or UNKNOWN: count for name, count in corpus.about["licenses"].items()}
    charts = {
        "Sizes": _bars(Counter(f"{size} ({ratio(size)})" for size in sizes)),
        "Lengths of clips, seconds": _histogram(seconds),
        "Licenses": _bars(licenses),
        "Words of a caption": _histogram(np.array(lengths)),
        "Most frequent words": _bars(dict(words.most_common(WORDS))),
        "Set aside": _bars(Counter(one.reason for one in rejected)),
    }
    return {title: bars for title, bars in charts.items() if bars}


def _histogram(values: np.ndarray) -> list[Bar]:
    if not len(values):
        return []
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:
        return [Bar(f"{low:g}", len(values), 1.0)]
    if values.dtype.kind == "i":
        step = ceil((high - low + 1) / BINS)  # whole numbers in each
        counts = np.bincount((values - int(low)) // step)
        firsts = [int(low) + step * place for place in range(len(counts))]
        labels = [str(one) if step == 1 else f"{one} to {one + step - 1}" for one in firsts]
    else:
        counts, edges = np.histogram(values, bins=min(BINS, len(np.unique(values))))
        labels = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(edges)]
    return [Bar(label, count, count / counts.max())
            for label, count in zip(labels, counts.tolist(), strict=True)]  # fmt: skip


def _bars(counts: dict[str, int]) -> list[Bar]:
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return [Bar(label, count, count / rows[0][1]) for label, count in rows]


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` numbers, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def _data_url(frames: np.ndarray) -> str:
    """Frames uint8 (F, H, W, 3) beside each other as a JPEG."""
    pictures: Iterable[Image.Image] = (Image.fromarray(frame) for frame in frames)
    width = max(round(frames.shape[2] * HEIGHT / frames.shape[1]), 1)
    scaled = [one.resize((width, HEIGHT), Image.Resampling.LANCZOS) for one in pictures]
    strip = Image.fromarray(np.concatenate([np.asarray(one) for one in scaled], axis=1))
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
