"""The sampling of `aa swap`: a scene of any length in chunks, each of which is kept when done, and
the denoising steps of the one at work."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.backbones.base import Base
from animateanywhere.collage.limb_collage import Collage
from animateanywhere.collage.views import steadied, views_of
from animateanywhere.core.device import best_device, peak_memory
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate, in_words, with_part
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import progress, say, warn
from animateanywhere.diffusion.kept_steps import clear_kept, count_kept
from animateanywhere.methods.anycharv import generation, geometry
from animateanywhere.methods.anycharv.long_scene import (
    Chunk,
    Piece,
    Swap,
    read_piece,
    sample_chunk,
    shared_frames,
    windows_of,
    write_piece,
)
from animateanywhere.methods.anycharv.route import Route
from animateanywhere.methods.anycharv.stitch import Keep, cut_out
from animateanywhere.pose.retarget import fit_in_place
from animateanywhere.preprocessing.quality.clip import frames_in_words
from animateanywhere.preprocessing.scene.parts import Part, read_part
from animateanywhere.preprocessing.scene.prepared import Scene
from animateanywhere.preprocessing.scene.scan import FULL, read_scene

PIECES = ".pieces"  # folder of what is done
WORTH = 60  # passes through the network, for a time to be estimated
UNTOUCHED = 0.05  # share of the region: where less of it has changed, nobody was put
MANY = 0.25  # share of the frames


@dataclass(frozen=True)
class Plan:
    """What is swapped, and how.

    grow: of the box, as a share of its longer side. build: keypoints (K, 18, 3) of the body whose
    proportions the skeleton gets; None: it keeps its own. settings: text of all of them. collage:
    of the character's limbs, laid over what the network drew.
    """

    base: Base
    route: Route
    character: Any  # of `Route.read_character`
    scene: Scene
    sampling: generation.Options
    grow: float
    keep: Keep
    build: np.ndarray | None
    settings: str
    collage: Collage | None = None

    @property
    def side(self) -> int:
        """Pixels of the square that the network sees."""
        return int(self.base.frame.width)

    def swap(self, sampling: generation.Options) -> Swap:
        """What swaps the person in a clip."""
        return lambda scene, region, poses, on_step: self.route.swap_latents(
            self.base, self.character, scene, region, poses, sampling, on_step
        )


def sample_scene(
    plan: Plan, estimate: Estimate | None = None
) -> tuple[list[Path], Estimate | None]:
    """Sample all chunks of a scene, but those that an earlier run of the same command has left;
    returns the files of the pieces in order, and the estimate of what was new: the one given, or
    another that is made on the way."""
    folder = plan.scene.folder / PIECES
    steps = plan.sampling.steps or 1
    paths: list[Path] = []
    shares: list[np.ndarray] = []
    before: Piece | None = None
    digest = hashlib.sha256(plan.settings.encode()).hexdigest()
    left = passes_of(plan, steps)
    with progress("swapping", total=left) as bar:
        for chunk, frames in with_frames(plan, chunks_of(plan)):
            digest = chunk.digest(digest)
            path = folder / f"{chunk.first:05}-{digest}.npz"
            # Those of another device differ in their last digits
            kept = path.with_name(f"{path.stem}-{best_device()}.steps")
            piece, each = read_piece(path), windows_of(plan.base, chunk.stop - chunk.first)
            if piece is None:
                waiting = left - each * count_kept(kept)
                if estimate is None and waiting > WORTH:
                    estimate = _estimate(plan, chunk, frames, waiting)
                piece = sample_chunk(
                    plan.base, plan.swap(replace(plan.sampling, steps_folder=kept)), chunk, frames,
                    plan.scene.facts.size, before, plan.keep, partial(bar.advance, each),
                )  # fmt: skip
                write_piece(path, piece)
            else:
                bar.advance(each * steps)
            clear_kept(kept)
            left -= each * steps
            paths.append(path)
            shares.append(piece.share)
            before = piece
    _warn_unchanged(np.concatenate(shares))
    return paths, estimate


def estimate_scene(plan: Plan) -> Estimate:
    """The time of a whole scene by one pass through the network, and the memory of that."""
    chunk, frames = next(with_frames(plan, chunks_of(plan)))
    return _estimate(plan, chunk, frames, passes_of(plan, plan.sampling.steps or 1))


def passes_of(plan: Plan, steps: int) -> int:
    """The passes of all chunks through the network."""
    shared = shared_frames(plan.base)
    lengths = (part.stop - part.first + (0 if part.begins else shared) for part in plan.scene.parts)
    return steps * sum(windows_of(plan.base, length) for length in lengths)


def chunks_of(plan: Plan) -> Iterator[Chunk]:
    """The chunks of a scene, in order."""
    stretch: list[Part] = []
    for part in plan.scene.parts:
        if part.begins and stretch:
            yield from _chunks(plan, stretch)
            stretch = []
        stretch.append(part)
    yield from _chunks(plan, stretch)


def _chunks(plan: Plan, parts: Sequence[Part]) -> Iterator[Chunk]:
    """The chunks of one stretch; of its parts' masks only one part's are in memory."""
    side, shared = plan.side, shared_frames(plan.base)
    boxes, poses = [], []
    for part in parts:
        content = read_part(part)
        boxes.append(geometry.person_boxes(content.masks, part.squares, content.keypoints))
        poses.append(content.keypoints)
    known = np.concatenate(boxes)
    if not np.isfinite(known).any():
        frames = frames_in_words(range(parts[0].first, parts[-1].stop))
        raise UsageError(
            f"{parts[0].folder}: neither masks nor poses show the person in {frames}: put one "
            "of them back, or delete the folder to have them found again"
        )
    region = geometry.regions(known, plan.grow)
    squares = geometry.network_squares(region, plan.scene.facts.fps)
    keypoints = np.concatenate(poses)
    if plan.build is not None:
        keypoints = fit_in_place(keypoints, plan.build)
    keypoints = geometry.in_squares(keypoints, squares, side)
    tail: list[np.ndarray] = []
    begin = parts[0].first
    for part in parts:
        here = slice(part.first - begin, part.stop - begin)
        content = read_part(part)
        old = geometry.moved_masks(content.masks, part.squares, squares[here], side)
        others = geometry.moved_masks(content.others, part.squares, squares[here], side)
        place = geometry.box_masks(region[here], squares[here], side)
        if plan.sampling.mask == "fine":  # without a mask, the box
            outlined = content.masks.any((1, 2))
            place[outlined] = geometry.fine_masks(old, plan.grow)[outlined]
        rows = [squares[here], place, old, others, keypoints[here]]
        carried = len(tail[0]) if tail else 0
        if carried:
            rows = [np.concatenate(both) for both in zip(tail, rows, strict=True)]
        given = 0 if part is parts[-1] else shared
        yield Chunk(part.first - carried, part.stop, carried, given, *rows)
        tail = [row[-shared:] for row in rows]


def with_frames(plan: Plan, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, np.ndarray]]:
    """Each chunk with the squares of its frames, uint8 (n, S, S, 3), cut out of the scene as it is
    read."""
    slices = read_scene(plan.scene.facts, FULL)
    some = next(slices)
    frames = np.empty((0, plan.side, plan.side, 3), np.uint8)
    for chunk in chunks:
        rows = [frames[len(frames) - chunk.carried :]] if chunk.carried else []
        number = chunk.first + chunk.carried
        while number < chunk.stop:
            while some.first + len(some.frames) <= number:
                some = next(slices)
            stop = min(chunk.stop, some.first + len(some.frames))
            where = chunk.squares[number - chunk.first : stop - chunk.first]
            rows.append(
                cut_out(some.frames[number - some.first : stop - some.first], where, plan.side)
            )
            number = stop
        frames = np.concatenate(rows)
        yield chunk, frames


def _estimate(plan: Plan, chunk: Chunk, frames: np.ndarray, left: int) -> Estimate:
    """Estimate and print the time of so many passes from one of them."""
    some = slice(0, int(plan.base.config["frames"]))  # a window
    begun = time.monotonic()
    one = plan.swap(replace(plan.sampling, steps=1))
    one(frames[some], chunk.region[some].astype(np.float32) / 255, chunk.poses[some], lambda: None)
    # Each pass is repeated without the character, where guidance asks for it
    seconds = (time.monotonic() - begun) * left
    estimate = Estimate(seconds, peak_memory(), {"swapping": seconds})
    if plan.collage is not None:
        estimate = with_part(estimate, "limbs", _laying(plan.collage, plan, chunk))
    say(f"swapping takes about {in_words(estimate)} on this machine")
    return estimate


def _laying(collage: Collage, plan: Plan, chunk: Chunk) -> float:
    """Estimate the seconds in which limbs are laid over all frames at the size of the scene, from
    the largest of a chunk."""
    poses, index = steadied(chunk.poses), int(chunk.squares[:, 2].argmax())
    side = int(chunk.squares[index, 2])
    larger = side / plan.side
    points = poses[index] * np.array([larger, larger, 1], np.float32)
    view = views_of(poses, chunk.poses).one(index, larger)
    begun = time.monotonic()
    collage.layer(points, square(side), view)
    return (time.monotonic() - begun) * (plan.scene.total - len(plan.scene.passed_through))


def _warn_unchanged(shares: np.ndarray) -> None:
    """Warn where the network left the person's place as it was."""
    share = float((shares < UNTOUCHED).mean())
    if share >= MANY:
        warn(
            f"the person's place hardly changed in {share:.0%} of the frames: nobody was put "
            "there; another --seed or --guidance may help, or a base that was trained longer"
        )
