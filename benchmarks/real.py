"""How far the bundled base goes on real footage: a clip learned, then made again from its poses.

    .venv/bin/python benchmarks/real.py CLIP.mp4 ... --driving SKELETON.mp4 --out runs/real

Each clip is learned by the default recipe ("sks man", `--scene`). Its first 16 frames are made
again from their own poses and compared with what was filmed: color error inside the person's mask
(CIEDE2000 pixel by pixel, and of the mean color of each frame), SSIM of the whole frame and of the
person. Beside them stand the VAE's round trip, which is the ceiling, and the base told in words
only. With --driving, "sks man on a beach" is made too. Look at OUT/<clip>/contact_sheet.png.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from animateanywhere.data import skeleton, video
from animateanywhere.data.subject import read_subject
from animateanywhere.generate import generate
from animateanywhere.metrics import psnr
from animateanywhere.models.base import decode_latents, encode_frames, load_base
from animateanywhere.models.personal import load_personal
from animateanywhere.personalize import personalize

FRAMES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--driving", type=Path)
    parser.add_argument("--scene", default="in a room", help="where the clips were filmed")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    options = parser.parse_args()
    print("| clip | made by | masked ΔE | mean color ΔE | SSIM | SSIM of the person | PSNR, dB |")
    print("|---|---|---|---|---|---|---|")
    for clip in options.clips:
        one(clip, options.out / clip.stem, options.driving, options.scene)


def one(clip: Path, out: Path, driving: Path | None, scene: str) -> None:
    weights = personalize(clip, "sks", class_word="man", scene=scene, out=out)
    subject = read_subject(out / "subject")
    frames, masks = subject.frames[:FRAMES], subject.masks[:FRAMES]
    height, width = frames.shape[1:3]
    keypoints = subject.keypoints[:FRAMES]
    poses = out / "own.poses.json"
    skeleton.write_poses(poses, skeleton.Poses(keypoints, width, height, subject.fps))

    rows = [("filmed", frames), ("pose", skeleton.draw(keypoints, height, width))]
    base = load_base("mini")
    rows.append(("VAE alone", decode_latents(base.vae, encode_frames(base.vae, frames))))
    load_personal(weights, base)
    rows.append(("VAE as fitted", decode_latents(base.vae, encode_frames(base.vae, frames))))
    for name, prompt, own in (
        ("personalized", f"a sks man {scene}", weights),
        ("words only", f"a man {scene}", None),
    ):
        made = generate(
            prompt, poses, weights=own, base="mini", out=out / f"again-{name.split()[0]}.mp4",
            fit="none",
        )  # fmt: skip
        rows.append((name, video.read(made).frames))
    for name, made in rows[2:]:
        print(f"| {clip.stem} | {name} | " + " | ".join(compare(made, frames, masks)) + " |")
    if driving is not None:
        made = generate("sks man on a beach", driving, weights=weights, out=out / "beach.mp4",
                        frames=FRAMES)  # fmt: skip
        rows.append(("sks man on a beach", video.read(made).frames))
    video.contact_sheet(out / "contact_sheet.png", rows)


def compare(made: np.ndarray, filmed: np.ndarray, masks: np.ndarray) -> list[str]:
    """The numbers of a row; made, filmed (F, H, W, 3) uint8, masks (F, H, W) in [0, 1]."""
    a, b = rgb2lab(made), rgb2lab(filmed)
    weight = masks / np.maximum(masks.sum((1, 2), keepdims=True), 1e-6)  # (F, H, W)
    pixels = (deltaE_ciede2000(a, b) * weight).sum((1, 2)).mean()
    means = [(x * weight[..., None]).sum((1, 2)) for x in (a, b)]  # (F, 3)
    maps = [
        structural_similarity(x, y, channel_axis=-1, full=True)[1].mean(-1)
        for x, y in zip(made, filmed, strict=True)
    ]
    person = (np.stack(maps) * weight).sum((1, 2)).mean()
    numbers = (pixels, deltaE_ciede2000(*means).mean(), np.mean(maps), person, psnr(made, filmed))
    return [f"{x:.2f}" for x in numbers]


if __name__ == "__main__":
    main()
