"""Clips a second and core that are read for training: shards by their index, a folder of files, and
plain code with the webdataset package, decoding included.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/loader.py

All three give the frames, keypoints and captions of the same H.264 clips, by one thread, in turn
and in another order each round; the clips are synthetic, in the cache of the file system. Seconds
are those of the processor, so other work on the machine counts less. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import webdataset
from rich.progress import track

from animateanywhere.core.frame_size import Size
from animateanywhere.datasets.clip_folder import open_folder
from animateanywhere.datasets.procedural import picture
from animateanywhere.datasets.samples import Samples
from animateanywhere.datasets.shard_corpus import open_shards, write_corpus
from animateanywhere.datasets.shards import Sample, write_shards
from animateanywhere.datasets.views import view
from animateanywhere.media import video
from animateanywhere.pose.skeleton import Poses, poses_text

FPS = 8.0
Clip = tuple[np.ndarray, np.ndarray, list[str]]  # frames, keypoints, captions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"| clips of {options.frames} frames | shards | a folder of files | plain webdataset "
          "| shards / plain |\n|---|---|---|---|---|")  # fmt: skip
    for size in (Size(256, 256), Size(512, 512), Size(448, 768)):
        with tempfile.TemporaryDirectory() as place:
            rates = measured(Path(place), size, options.clips, options.frames, options.rounds)
        shards, folder, plain = (float(np.median(rates[name])) for name in rates)
        ratio = np.median(np.divide(rates["shards"], rates["plain"]))
        print(f"| {size} | {shards:.1f} | {folder:.1f} | {plain:.1f} | {ratio:.2f} |")


def measured(
    place: Path, size: Size, clips: int, frames: int, rounds: int
) -> dict[str, list[float]]:
    """Clips a second of the processor in each round, by the way of reading."""
    write_clips(place, size, clips, frames)
    readers: dict[str, Callable[[], Iterator[Clip]]] = {
        "shards": lambda: by_number(open_shards(place / "shards"), size),
        "folder": lambda: by_number(open_folder(place / "folder"), size),
        "plain": lambda: plainly(place / "shards"),
    }
    first = {name: next(read()) for name, read in readers.items()}
    for frames_of, keypoints, captions in first.values():
        assert frames_of.shape == (frames, size.height, size.width, 3)
        assert keypoints.shape == (frames, 18, 3) and captions[1:] == ["a person"]
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for turn in track(range(rounds), str(size), transient=True):
        names = list(readers)
        for name in names[turn % 3 :] + names[: turn % 3]:
            start = time.process_time()
            count = sum(1 for _ in readers[name]())
            assert count == clips
            rates[name].append(count / (time.process_time() - start))
    return rates


def by_number(samples: Samples, size: Size) -> Iterator[Clip]:
    """All samples in a random order, as training and encoding read them."""
    for number in np.random.default_rng(0).permutation(len(samples)).tolist():
        found = view(samples, number, size, FPS)
        yield np.stack(list(found.frames)), found.keypoints, found.captions


def plainly(folder: Path) -> Iterator[Clip]:
    """All samples in the order of the tars, as users of webdataset and PyAV write it."""
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        with av.open(io.BytesIO(sample["clip.mp4"])) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        keypoints = np.array(json.loads(sample["pose.json"])["keypoints"], np.float32)
        yield np.stack(frames), keypoints, sample["caption.txt"].decode().splitlines()


def write_clips(place: Path, size: Size, clips: int, frames: int) -> None:
    """The same clips, of a window that moves over a procedural picture, as shards and as files."""
    folder = place / "folder"
    folder.mkdir()
    samples = []
    for number in range(clips):
        whole = picture(number, max(size) + 2 * frames)
        rng = np.random.default_rng(number)
        cuts = [whole[step : step + size.height, 2 * step : 2 * step + size.width]
                for step in range(frames)]  # fmt: skip
        points = rng.uniform(0.2, 0.8, (frames, 18, 3)) * [*size, 1]
        poses = poses_text(Poses(points.astype(np.float32), *size, FPS)).encode()
        path = folder / f"clip{number:03d}.mp4"
        video.write(path, cuts, FPS)
        captions = f"somebody {number}\na person\n".encode()
        path.with_suffix(".poses.json").write_bytes(poses)
        path.with_suffix(".txt").write_bytes(captions)
        meta = {**size._asdict(), "frames": frames, "fps": FPS, "license": "cc0-1.0", "source": ""}
        samples.append(Sample(path.stem, {
            "clip.mp4": path.read_bytes(), "pose.json": poses, "caption.txt": captions,
            "meta.json": json.dumps(meta).encode(),
        }))  # fmt: skip
    half = len(samples) // 2
    write_corpus(
        place / "shards",
        write_shards(place / "shards", [lambda: samples[:half], lambda: samples[half:]], {}),
    )


if __name__ == "__main__":
    main()
