"""How well VAEs reconstruct pictures they were not trained on: renders, faces, real frames.

    .venv/bin/python benchmarks/vae.py VAE_FOLDER [VAE_FOLDER ...] [--out runs/vae/sheet]

VAE_FOLDER is the folder `vae` of a base. Prints a Markdown table of PSNR in dB, at 128 pixels: on
held-out renders, as the `vae` stage measures it; on held-out portraits (`puppets.sample_portrait`),
and in their faces only; on frames of real clips and on photographs (--folder, for tests only); and
on renders after adding noise of 0.2 standard deviations to their latents. Then "coarse", the share
of the latents' variance that remains after averaging 2x2 of them (latents with more of it are
easier to generate), and the processor time per picture in milliseconds. With --out, contact sheets
show pictures at three times their size: a row of originals, then a row for each VAE.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from animateanywhere import puppets
from animateanywhere.backbones.base import load_config
from animateanywhere.backbones.vae import VAES, decode_latents, encode_frames
from animateanywhere.media.video import read
from animateanywhere.methods.animate_anywhere.base_samples import held_out_puppets
from animateanywhere.metrics import person_psnr, psnr

SIZE, FRAMES, PORTRAITS = 128, 6, 32
CLIPS = (
    "AnyCharV/dance1.mp4", "AnyCharV/dance1_upper.mp4", "AnyCharV/surf.mp4",
    "ControlVideo/moonwalk.mp4", "Tune-A-Video/man-surfing.mp4", "finetrainers/hiker.mp4",
    "mmpose/demo.mp4",
)  # fmt: skip
PHOTOS = (
    "AnyCharV/human6.jpg", "MimicMotion/demo1.jpg", "Make-A-Protagonist/wt_1024.jpg",
    "magic-animate/demo4.png", "magic-animate/multi1_source.png", "mmpose/coco_000000000785.jpg",
)  # fmt: skip
SHEET = 10  # pictures on a sheet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vae", type=Path, nargs="+", metavar="VAE_FOLDER")
    parser.add_argument(
        "--folder", type=Path, default=Path("../shared/real"),
        help="folder of real clips and photographs [default: ../shared/real]",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, help="beginning of the paths of contact sheets [default: no sheets]"
    )
    given = parser.parse_args()

    renders = np.concatenate([clip.frames for clip in held_out_puppets(SIZE)])
    specs = [puppets.sample_portrait(n, "held-out") for n in range(PORTRAITS)]
    closer = puppets.render_batch(specs, [0.5] * PORTRAITS, size=SIZE)
    faces = np.concatenate([clip.parts for clip in closer]) == puppets.PARTS.index("face")
    sets = {"renders": renders, "portraits": np.concatenate([clip.frames for clip in closer])}
    for kind, names in (("real clips", CLIPS), ("photos", PHOTOS)):
        found = [given.folder / name for name in names if (given.folder / name).is_file()]
        if found:
            sets[kind] = np.concatenate([squares(path) for path in found])

    columns = [
        *sets, "faces of portraits", "renders, noise 0.2", "coarse", "encode ms", "decode ms",
    ]  # fmt: skip
    print("| VAE | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    rows: dict[str, list[np.ndarray]] = {
        kind: [x[:: max(len(x) // SHEET, 1)]] for kind, x in sets.items()
    }
    for folder in given.vae:
        vae = load(folder)
        reconstructed = {
            kind: decode_latents(vae, encode_frames(vae, x)) for kind, x in sets.items()
        }
        values = [psnr(reconstructed[kind], x) for kind, x in sets.items()]
        values.append(person_psnr(reconstructed["portraits"], sets["portraits"], faces))
        latents = encode_frames(vae, renders)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        values.append(psnr(decode_latents(vae, latents + 0.2 * latents.std() * noise), renders))
        values.append(float(F.avg_pool2d(latents, 2).var() / latents.var()))
        cells = [f"{value:.2f}" for value in values] + [f"{ms:.1f}" for ms in milliseconds(vae)]
        print(f"| {folder} | " + " | ".join(cells) + " |", flush=True)
        for kind, x in reconstructed.items():
            rows[kind].append(x[:: max(len(x) // SHEET, 1)])
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        for kind, strips in rows.items():
            sheet = np.concatenate([np.concatenate(list(x[:SHEET]), 1) for x in strips])
            picture = Image.fromarray(sheet)
            picture = picture.resize(
                (3 * picture.width, 3 * picture.height), Image.Resampling.NEAREST
            )
            picture.save(given.out.with_name(f"{given.out.name}-{kind.replace(' ', '-')}.png"))


def load(folder: Path) -> Any:
    """The VAE in a folder, float32."""
    kind = VAES[load_config(folder)["_class_name"]]
    return kind.from_pretrained(folder, torch_dtype=torch.float32).eval()


def squares(path: Path) -> np.ndarray:
    """Up to FRAMES evenly spaced frames of a video or picture, cropped to a square and resized:
    uint8 (N, SIZE, SIZE, 3)."""
    frames = read(path, size=512).frames
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))]
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 3, (width - side) // 2
    cut = frames[:, top : top + side, left : left + side]
    small = [Image.fromarray(x).resize((SIZE, SIZE), Image.Resampling.LANCZOS) for x in cut]
    return np.stack([np.asarray(x) for x in small])


def milliseconds(vae: Any) -> tuple[float, float]:
    """Processor time per picture to encode and to decode, in milliseconds."""
    frames = np.zeros((16, SIZE, SIZE, 3), np.uint8)
    spent = []
    for turn in range(3):
        start = time.process_time()
        latents = encode_frames(vae, frames)
        middle = time.process_time()
        decode_latents(vae, latents)
        if turn:
            spent.append((middle - start, time.process_time() - middle))
    encode, decode = np.min(spent, 0) / len(frames) * 1000
    return float(encode), float(decode)


if __name__ == "__main__":
    main()
