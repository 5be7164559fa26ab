"""Report of a benchmark: means with confidence intervals, a table, and the aims reached."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Printed
from scipy.stats import bootstrap

from animateanywhere.core.files import finite, write_aside
from animateanywhere.core.json_file import read_json
from animateanywhere.core.messages import say, warn
from animateanywhere.evaluation.report_page import Cell, Table, markdown

LEVEL = 0.95  # of the confidence intervals
LEAST = 1e-5  # of a value that another one is divided by: less is 0 but for rounding
COLUMNS = {
    "person_delta_e": "person ΔE ↓", "person_psnr": "person PSNR, dB ↑",
    "person_ssim": "person SSIM ↑", "retrieval_12": "recognized among 12 ↑",
    "retrieval_rank_12": "rank ↓", "retrieval_100": "among 100 ↑", "retrieval_rank_100": "rank ↓",
    "faces_visible": "faces visible ↑", "silhouette_iou": "silhouette IoU ↑", "pck": "PCK ↑",
    "pck_either_side": "PCK, either side ↑",
    "scene_accuracy": "scene ↑", "scene_delta_e": "scene ΔE ↓", "object_present": "object ↑",
    "leak": "leak ↓", "flicker": "flicker ↓", "dynamic_degree": "motion of the truth's",
    "fvd": "FVD ↓",
}  # fmt: skip
PARTS = ("top", "bottom", "hair", "face", "skin", "shoes", "other")
Means = dict[str, dict[str, dict[str, float]]]  # method -> metric -> mean, low, high, of
Ratios = dict[str, dict[str, dict]]
Aim = dict[str, Any]


def write_report(
    out: Path, setting: str, titles: dict[str, str], base: str,
    fvd: dict[str, float] | None = None, *,
    columns: Mapping[str, str] | None = None,
    aims: Callable[[Means, Ratios], list[Aim]] | None = None,
    strata: Mapping[str, str] | None = None,
    held_against: str | None = None,
) -> list[Table]:  # fmt: skip
    """Write `metrics-SETTING.json` and `table-SETTING.md` of all methods scored on a base.

    titles: the names of the known methods, in the table's order. fvd: of some methods, over all
    videos at once, so without an interval. columns, aims: those of another benchmark than
    `--bench puppets`. strata: titles of kinds of cases, each with a table of its own, of the
    metrics `METRIC@STRATUM`. held_against: a method whose ratios to all others stand in a table of
    their own, as ours do. Means are over subjects, whose cases are averaged first. Returns the
    tables, for `report_page.write_page`.
    """
    columns = COLUMNS if columns is None else columns
    scores = {name: found for name in titles if (found := read_scores(out / setting / name, base))}
    methods = {
        name: {
            metric: interval([row[metric] for row in rows.values() if metric in row])
            for metric in sorted({metric for row in rows.values() for metric in row})
        }
        for name, rows in scores.items()
    }
    for name, value in (fvd or {}).items():
        methods[name]["fvd"] = {"mean": value, "low": value, "high": value, "of": len(scores[name])}
    each = [f"{metric}@{stratum}" for metric in columns for stratum in strata or {}]
    ratios = score_ratios(scores, [*columns, *each])
    others = score_ratios(scores, [*columns, *each], held_against) if held_against else {}
    reached = (aims or check_aims)(methods, ratios)
    report = {
        "setting": setting,
        "base": base,
        "subjects": {name: sorted(rows) for name, rows in scores.items()},
        "methods": methods,
        "ratios": ratios,
        "aims": reached,
    }
    if others:
        report[f"ratios_of_{held_against}"] = others
    tables = [
        *means_tables(methods, titles, columns), *ratio_tables(ratios, titles, columns),
        *ratio_tables(others, titles, columns, titles[held_against] if held_against else ""),
        *aim_tables(reached), *strata_tables(methods, titles, columns, strata or {}),
    ]  # fmt: skip
    path = out / f"metrics-{setting}.json"
    with write_aside(path) as aside:
        text = json.dumps(finite(report), indent=1, allow_nan=False)
        aside.write_text(text + "\n", encoding="utf-8")
    with write_aside(out / f"table-{setting}.md") as aside:
        aside.write_text("\n".join(map(markdown, tables)), encoding="utf-8")
    show(methods, titles, reached, columns)
    say(f"wrote {path}")
    return tables


def read_scores(folder: Path, base: str) -> dict[str, dict[str, float]]:
    """Subject -> metric -> value of a method's folder, for the subjects scored on `base`."""
    out = {}
    for file in sorted(folder.glob("*/scores.json")):
        try:
            record = read_json(file)
            if record["key"]["base"] == base:
                out[file.parent.name] = record["scores"]
        except (OSError, ValueError, TypeError, KeyError):
            warn(escape(f"{file}: damaged; left out of the report"))
    return out


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean with its bootstrap interval (percentiles, 95 %), and the number of values, "of"."""
    some = np.array([value for value in values if not np.isnan(value)])
    if not len(some):
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan"), "of": 0}
    center = low = high = float(some.mean())
    if len(some) > 1 and np.isfinite(some).all() and np.ptp(some) > 0:
        low, high = _bounds((some,), np.mean)
    return {"mean": center, "low": low, "high": high, "of": len(some)}


def score_ratios(
    scores: dict[str, dict[str, dict[str, float]]], columns: Iterable[str] = COLUMNS,
    mine: str = "ours",
) -> Ratios:  # fmt: skip
    """Ratio of a method's mean to each other one's, per metric, over the subjects that both
    learned.

    Intervals by a paired bootstrap over subjects, so that a hard subject counts on both sides.
    """
    out: dict[str, dict[str, dict]] = {}
    for name, rows in scores.items():
        both = sorted(rows.keys() & scores.get(mine, {}).keys())
        if name == mine or not both:
            continue
        out[name] = {}
        for metric in columns:
            pairs = [(scores[mine][n].get(metric), rows[n].get(metric)) for n in both]
            some = np.array([p for p in pairs if None not in p], float)
            if not np.isfinite(some).all() or not (some.size and (some[:, 1] > LEAST).all()):
                continue  # no ratio to zero
            own, theirs = some.T
            value = low = high = float(_ratio(own, theirs))
            if len(some) > 1:
                low, high = _bounds((own, theirs), _ratio, paired=True)
            out[name][metric] = {"mean": value, "low": low, "high": high, "of": len(some)}
    return out


def aim(
    text: str, found: dict[str, float] | None, low: float, high: float, valid: bool = True
) -> Aim:
    """An aim of our method: the measured mean with its interval, and whether it is reached.

    "surely" means that the whole confidence interval is within the limits. valid: False where the
    videos are too bad for the measure to say anything good of them: nothing is reached then.
    """
    value = found["mean"] if found else float("nan")
    sure = valid and found is not None and low <= found["low"] and found["high"] <= high
    limits = {bound: found[bound] if found else float("nan") for bound in ("low", "high")}
    reached = valid and low <= value <= high
    return {"aim": text, "value": value, **limits, "reached": reached, "surely": sure}


def check_aims(methods: Means, ratio: Ratios) -> list[Aim]:
    """The aims of our method, see `aim`."""
    mine = methods.get("ours", {})

    def against(name: str, metric: str) -> dict[str, float] | None:
        return ratio.get(name, {}).get(metric)

    colors, least = "person_delta_e", -float("inf")
    return [
        aim("person ΔE at most 6.0", mine.get(colors), least, 6.0),
        aim("person ΔE at most 0.7 of words alone", against("words_only", colors), least, 0.7),
        aim("person ΔE at most 0.6 of DreamBooth's", against("dreambooth", colors), least, 0.6),
        aim("person SSIM at least 0.55", mine.get("person_ssim"), 0.55, 1),
        aim("recognized among 12 in at least 0.9", mine.get("retrieval_12"), 0.9, 1),
        aim("faces visible in at least 0.8", mine.get("faces_visible"), 0.8, 1),
        aim("PCK at least 0.95", mine.get("pck"), 0.95, 1),
        aim("object shown in at least 0.6", mine.get("object_present"), 0.6, 1),
        aim("scene accuracy at least 0.98", mine.get("scene_accuracy"), 0.98, 1),
        aim("flicker at most 1.2", mine.get("flicker"), least, 1.2),
        aim("leak at most 0.02", mine.get("leak"), least, 0.02),
        aim("leak at most half of DreamBooth's", against("dreambooth", "leak"), least, 0.5),
        aim("motion within 10 % of the truth's", mine.get("dynamic_degree"), 0.9, 1.1),
    ]


def means_tables(
    methods: Means, titles: dict[str, str], known: Mapping[str, str] = COLUMNS
) -> list[Table]:
    """Means and intervals, one row per method, and the color error by body part."""
    parts = {f"delta_e_{part}": part for part in PARTS}
    return [
        _table("", "", methods, titles, measured_columns(methods, known)),
        _table("", "ΔE of", methods, titles, parts)._replace(title="Colors by body part"),
    ]


def _table(
    title: str, corner: str, methods: Means, titles: dict[str, str], columns: Mapping[str, str]
) -> Table:
    """Means and intervals, one row per method that has any of the columns."""
    rows = []
    for name, metrics in methods.items():
        some = [metrics[metric]["of"] for metric in columns if metric in metrics]
        if some:
            cells = [_cell(metrics.get(metric)) for metric in columns]
            rows.append([Cell(titles[name]), *cells, Cell(str(int(max(some))))])
    return Table(title, [corner, *columns.values(), "people"], rows)


def strata_tables(
    methods: Means, titles: dict[str, str], columns: Mapping[str, str], strata: Mapping[str, str]
) -> list[Table]:
    """A table for each kind of cases that was measured."""
    tables = []
    for stratum, title in strata.items():
        some = {f"{metric}@{stratum}": words for metric, words in columns.items()}
        some = measured_columns(methods, some)
        if some:
            tables.append(_table(title, "", methods, titles, some))
    return tables


def ratio_tables(
    ratios: Ratios, titles: dict[str, str], known: Mapping[str, str] = COLUMNS,
    mine: str = "ours",
) -> list[Table]:  # fmt: skip
    """The mean of a method with the title `mine` over each other one's, with paired intervals; []
    without any."""
    measured = {metric for found in ratios.values() for metric in found}
    columns = {metric: words.rstrip(" ↓↑") for metric, words in known.items() if metric in measured}
    table = _table("", f"{mine} over", ratios, titles, columns)
    return [table] if columns else []


def aim_tables(reached: list[Aim]) -> list[Table]:
    """The aims that could be measured; [] without any."""
    rows = [
        [Cell(aim["aim"]), Cell(format_cell({**aim, "mean": aim["value"]})), Cell(_verdict(aim))]
        for aim in reached
        if not np.isnan(aim["value"])
    ]
    return [Table("", ["aim", "found", ""], rows)] if rows else []


def _cell(found: dict[str, float] | None) -> Cell:
    return Cell(format_cell(found), found["low"], found["high"]) if found else Cell("–")


def _verdict(aim: dict[str, Any]) -> str:
    if not aim["reached"]:
        return "missed"
    return "reached, with its whole interval" if aim["surely"] else "reached"


def measured_columns(methods: Means, known: Mapping[str, str] = COLUMNS) -> dict[str, str]:
    """The columns of the metrics that at least one method has."""
    some = {metric for found in methods.values() for metric in found}
    return {metric: words for metric, words in known.items() if metric in some}


def format_cell(found: dict[str, float] | None) -> str:
    """Such as "7.91 (7.02–8.80)", or "1.00" without an interval."""
    if not found or np.isnan(found["mean"]):
        return "–"
    if np.isinf(found["mean"]):
        return "∞"
    digits = 1 if abs(found["mean"]) >= 10 else 2
    if found["low"] == found["high"]:
        return f"{found['mean']:.{digits}f}"
    return "{mean:.{d}f} ({low:.{d}f}–{high:.{d}f})".format(**found, d=digits)


def show(
    methods: Means, titles: dict[str, str], reached: list[Aim],
    columns: Mapping[str, str] = COLUMNS,
) -> None:  # fmt: skip
    """Print means and aims to standard error."""
    table = Printed(title="against the true renders")
    for column in ("", *(titles[name] for name in methods)):
        table.add_column(column)
    for metric, words in measured_columns(methods, columns).items():
        means = [found.get(metric, {}).get("mean", float("nan")) for found in methods.values()]
        table.add_row(words, *("–" if np.isnan(m) else f"{m:.3g}" for m in means))
    console = Console(stderr=True, emoji=False)
    console.print(table)
    for aim in reached:
        if not np.isnan(aim["value"]):
            console.print(f"{aim['aim']}: {aim['value']:.3g}, {_verdict(aim)}", highlight=False)


def _ratio(mine: np.ndarray, theirs: np.ndarray, axis: int = -1) -> Any:
    return mine.mean(axis=axis) / theirs.mean(axis=axis)


def _bounds(samples: tuple[np.ndarray, ...], of: Any, paired: bool = False) -> tuple[float, float]:
    found = bootstrap(
        samples, of, confidence_level=LEVEL, n_resamples=2000, method="percentile", paired=paired,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)
