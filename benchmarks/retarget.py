"""Accuracy of fitting a driving skeleton to another body, on rendered people with ground truth.

    .venv/bin/python benchmarks/retarget.py --picture retarget.png

A pair is a driver A and a subject B, different people with different cameras. The driving motion is
16 frames of A; the reference is 32 frames of B with another motion; the truth is B with A's motion,
at B's place and with B's camera. Half of the pairs are people as rendered by `aa puppets`, who
differ in size, shoulders, hips and head; the others also differ in the lengths of arms and legs
(factors from 0.85 to 1.15).

Prints a Markdown table: the mean distance of joints that are visible in driving and truth, in
pixels of a 128-pixel frame, in percent of its height, and relative to `none`; the same after the
best shift and scale of the whole clip; the sliding of the standing foot, in pixels per frame (see
the rows `none` and `truth` for comparison); and the error of the height of the lower ankle.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import progress
from animateanywhere.media import video
from animateanywhere.pose import retarget, skeleton
from animateanywhere.puppets import Spec, render, sample_spec

SIZE = 128
FRAME = square(SIZE)
MODES: tuple[retarget.Fit, ...] = ("none", "frame", "bones")


class Pair(NamedTuple):
    """Keypoints (F, 18, 3) in pixels, and whether one of the two walks across the frame."""

    driving: np.ndarray
    reference: np.ndarray
    truth: np.ndarray
    across: bool


def person(seed: int, split: str, limbs: bool) -> Spec:
    spec = sample_spec(seed, split)
    if not limbs:
        return spec
    legs, arms = np.random.default_rng(seed).uniform(0.85, 1.15, 2)
    return replace(spec, identity=replace(spec.identity, legs=float(legs), arms=float(arms)))


def pair(seed: int, split: str, limbs: bool) -> Pair:
    a, b = person(2 * seed, split, limbs), person(2 * seed + 1, split, limbs)
    truth = replace(b, motion=a.motion, object=a.object)
    across = any(s.motion.name in ("walk", "run") and s.motion.travel > 0 for s in (a, b))
    clips = ((a, 16), (b, 32), (truth, 16))
    return Pair(*(render(spec, frames, SIZE).keypoints for spec, frames in clips), across)


def compare(fitted: np.ndarray, one: Pair) -> list[float]:
    """Distance, distance after shift and scale, slide of the standing foot, error of its height."""
    visible = (one.driving[..., 2] > 0.5) & (one.truth[..., 2] > 0.5)
    a, b = fitted[visible][:, :2], one.truth[visible][:, :2]
    return [distance(a, b), distance(aligned(a, b), b), slide(fitted, one), height(fitted, one)]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.hypot(*(a - b).T).mean())


def aligned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Points a (N, 2), shifted and scaled to lie nearest to b."""
    around, target = a - a.mean(0), b - b.mean(0)
    return around * (around * target).sum() / max((around**2).sum(), 1e-9) + b.mean(0)


def slide(points: np.ndarray, one: Pair) -> float:
    """Mean horizontal motion, in pixels per frame, of the standing foot: the ankle that is lower,
    and near the ground, in two consecutive frames of the driving motion; NaN if there is none."""
    ankles = one.driving[:, [10, 13]]
    low = np.where(ankles[..., 2] > 0.5, ankles[..., 1], -np.inf)
    standing = (low >= low.max() - 3) & (low == low.max(1, keepdims=True))
    both = standing[1:] & standing[:-1]
    moves = np.abs(np.diff(points[:, [10, 13], 0], axis=0))[both]
    return float(moves.mean()) if len(moves) else np.nan


def height(points: np.ndarray, one: Pair) -> float:
    """Mean vertical distance of the lower ankle from the true one, in pixels; NaN if no ankle is
    visible."""
    ankles = [10, 13]
    visible = (one.driving[:, ankles, 2] > 0.5) & (one.truth[:, ankles, 2] > 0.5)
    low = [
        np.where(visible, x[:, ankles, 1], -np.inf).max(1)[visible.any(1)]
        for x in (points, one.truth)
    ]
    return float(np.abs(low[0] - low[1]).mean()) if visible.any() else np.nan


def table(name: str, pairs: list[Pair]) -> None:
    rows = {}
    for mode in MODES:
        fitted = [retarget.fit(p.driving, FRAME, FRAME, mode, p.reference) for p in pairs]
        rows[mode] = np.nanmean([compare(f, p) for f, p in zip(fitted, pairs, strict=True)], 0)
    for mode, (error, aligned_error, sliding, ground) in rows.items():
        ratios = error / rows["none"][0], aligned_error / rows["none"][1]
        print(
            f"| {name} | {len(pairs)} | {mode} | {error:.2f} | {100 * error / SIZE:.1f} "
            f"| {ratios[0]:.2f} | {aligned_error:.2f} | {ratios[1]:.2f} | {sliding:.2f} "
            f"| {ground:.2f} |"
        )
    true = np.nanmean([slide(p.truth, p) for p in pairs])
    print(f"| {name} | {len(pairs)} | truth | 0 | 0 | 0 | 0 | 0 | {true:.2f} | 0 |")


def draw(path: Path, pairs: list[Pair]) -> None:
    """Write a contact sheet with the middle frame of each pair: driving, fitted, truth, and fitted
    over truth (gray)."""
    columns = []
    for one in pairs[:8]:
        fitted = retarget.fit(one.driving, FRAME, FRAME, "bones", one.reference)
        fitted[..., 2] = one.driving[..., 2]
        at = len(fitted) // 2
        three = np.stack([x[at] for x in (one.driving, fitted, one.truth)])
        three[..., :2] *= 2
        pictures = skeleton.draw(three, 2 * SIZE, 2 * SIZE)
        gray = (pictures[2].max(-1, keepdims=True) > 60) * np.uint8(110)
        over = np.where(pictures[1].max(-1, keepdims=True) > 60, pictures[1], gray)
        columns.append([*pictures, over])
    labels = ("driving", "fitted (bones)", "truth", "fitted over truth (gray)")
    rows = [np.stack(row) for row in zip(*columns, strict=True)]
    video.contact_sheet(path, list(zip(labels, rows, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=12, help="number for each kind and split")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    kinds = [(limbs, split) for limbs in (True, False) for split in ("train", "held-out")]
    groups: dict[tuple[bool, str], list[Pair]] = {}
    with progress("rendering people", total=len(kinds) * options.pairs) as bar:
        for limbs, split in kinds:
            groups[limbs, split] = []
            for seed in range(5000, 5000 + options.pairs):
                groups[limbs, split].append(pair(seed, split, limbs))
                bar.advance(1)
    print("| people | pairs | fit | error, px | % | ratio | aligned, px | ratio | slide | ground |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (limbs, split), pairs in groups.items():
        table(f"{'own limbs' if limbs else 'as drawn'}, {split}", pairs)
    every = [p for pairs in groups.values() for p in pairs]
    table("all", every)
    table("all, both in place", [p for p in every if not p.across])
    table("all, one or both walk across", [p for p in every if p.across])
    if options.picture is not None:
        draw(options.picture, groups[True, "held-out"])


if __name__ == "__main__":
    main()
