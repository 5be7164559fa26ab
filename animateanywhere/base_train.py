"""`aa base-train`: a corpus of text, pictures and poses -> a base model (section 2.1 of the paper)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from animateanywhere import puppets
from animateanywhere.batch import Batch, Conditions
from animateanywhere.console import say
from animateanywhere.data.corpus import Corpus, Row, cached, clips_of, open_corpus
from animateanywhere.data.video import contact_sheet
from animateanywhere.diffusion.sampling import make_scheduler, sample
from animateanywhere.files import sha256, write_aside
from animateanywhere.methods import animate_anywhere as method
from animateanywhere.models.base import (
    Base, decode_latents, encode_frames, encode_text, hash_of, load_parts, to_pixels,
    vae_encode, write_base_toml,
)  # fmt: skip
from animateanywhere.models.fresh import create_base, save_part
from animateanywhere.recipe import Recipe, Stage, load_recipe
from animateanywhere.training.loop import fit
from animateanywhere.training.perception import train_perception

BATCH_RENDER = 16  # puppets drawn at once
ENCODE_FRAMES = 32  # frames through the VAE at once
HELD_OUT = 64  # renders that no stage trains on


def base_train(recipe: str | Path | Recipe = "mini", out: Path | None = None) -> Path:
    """Train a base by a recipe into `out` (default runs/base); rerun to go on where it stopped.

    Each stage leaves its part of the base in `out`, its log and checkpoint in
    `out/training/<stage>`. Returns `out`, a base in diffusers layout.
    """
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    out = out or Path("runs") / "base"
    images, clips = corpora(settings, out / "corpus")
    create_base(settings.model, out, lambda: [t for c in (images, clips) for x in c.captions for t in x])
    for number, stage in enumerate(settings.stage):
        folder = out / "training" / stage.name
        done = folder / "done.json"
        if done.is_file():
            say(f"{stage.name}: done before")
            continue
        say(f"stage {stage.name}: {stage.steps} steps")
        run = {"vae": _vae, "image": _image, "video": _video, "perception": _perception}[stage.kind]
        metrics = run(settings, stage, out, images, clips, settings.seed + number)
        with write_aside(done) as aside:
            aside.write_text(json.dumps(metrics, indent=1) + "\n")
    model = settings.model
    write_base_toml(out, {
        "name": settings.name, "size": model.size, "frames": model.frames, "fps": model.fps,
        "personalize": settings.personalize, "hash": hash_of(out),
    })  # fmt: skip
    say(f"the base is in {out}")
    return out


def corpora(settings: Recipe, folder: Path) -> tuple[Corpus, Corpus]:
    """Single frames for the image stage and clips for the video stage."""
    model, corpus = settings.model, settings.corpus
    if corpus.source == "puppets":
        images = open_corpus(
            folder / "images", lambda start: puppet_images(settings, start), corpus.images, 1, model.size
        )
        clips = open_corpus(
            folder / "clips", lambda start: puppet_clips(settings, start), corpus.clips,
            model.frames, model.size,
        )  # fmt: skip
        return images, clips
    source = Path(corpus.source)
    singles = clips_of(source, 1, model.size, model.fps)
    longer = clips_of(source, model.frames, model.size, model.fps)
    return (
        open_corpus(folder / "images", lambda start: singles[start:], len(singles), 1, model.size),
        open_corpus(folder / "clips", lambda s: longer[s:], len(longer), model.frames, model.size),
    )


def puppet_images(settings: Recipe, start: int) -> Iterator[Row]:
    """Single frames of puppets, each another person, scene and motion, from number `start` on."""
    model, corpus = settings.model, settings.corpus
    for first in range(start, corpus.images, BATCH_RENDER):
        seeds = [_seed(settings, "images", n) for n in range(first, first + BATCH_RENDER)]
        specs = [puppets.sample_spec(seed) for seed in seeds]
        times = [float(np.random.default_rng(seed).uniform(0, 4)) for seed in seeds]
        for clip in puppets.render_batch(specs, times, size=model.size):
            yield clip.frames, clip.keypoints, _captions(clip.spec, corpus.captions)


def puppet_clips(settings: Recipe, start: int) -> Iterator[Row]:
    """Clips of puppets of the model's length."""
    model, corpus = settings.model, settings.corpus
    for number in range(start, corpus.clips):
        spec = puppets.sample_spec(_seed(settings, "clips", number))
        clip = puppets.render(spec, frames=model.frames, size=model.size, fps=model.fps)
        yield clip.frames, clip.keypoints, _captions(spec, corpus.captions)


def _seed(settings: Recipe, kind: str, number: int) -> int:
    return settings.seed * 10_000_000 + {"images": 0, "clips": 5_000_000}[kind] + number


def _captions(spec: puppets.Spec, count: int) -> list[str]:
    """Varied captions of a clip; the last leaves the looks out, as captions of a subject do."""
    full = [puppets.caption(spec, seed=spec.seed + n) for n in range(count - 1)]
    return [*full, puppets.caption(spec, seed=spec.seed, looks=False)]


def _vae(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """An autoencoder whose latents are noisy while it trains, so that they come out smooth."""
    base = _parts(settings, out)

    def loss(vae: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(images.frames), (stage.batch,), generator=generator).sort().values
        x = to_pixels(torch.from_numpy(images.frames[rows.numpy(), 0])).to(_device(vae))
        latents = vae_encode(vae, x)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        y = vae.decode(latents + 0.1 * noise).sample
        pixel = F.l1_loss(y, x) + F.mse_loss(y, x)
        edges = sum(F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (2, 3))
        return pixel + edges + 1e-3 * latents.square().mean(), {"pixel": float(pixel.detach())}

    held_out = np.concatenate([
        c.frames for c in puppets.render_batch(
            [puppets.sample_spec(n, split="held-out") for n in range(HELD_OUT)],
            [0.5] * HELD_OUT, size=settings.model.size)
    ])  # fmt: skip
    folder = out / "training" / stage.name

    def show(step: int) -> None:
        rebuilt = decode_latents(base.vae, encode_frames(base.vae, held_out[:8]))
        rows = [("render", held_out[:8]), ("through the VAE", rebuilt)]
        contact_sheet(folder / "samples" / f"{step:06d}.png", rows)

    fit(base.vae, stage, loss, folder, seed, show)
    base.vae.register_to_config(scaling_factor=1.0)
    some = np.linspace(0, len(images.frames) - 1, min(256, len(images.frames))).astype(int)
    std = float(encode_frames(base.vae, images.frames[some, 0]).std())
    base.vae.register_to_config(scaling_factor=1 / std)
    save_part(base.vae, out / "vae")
    rebuilt = decode_latents(base.vae, encode_frames(base.vae, held_out))
    error = (rebuilt.astype(float) - held_out) ** 2
    return {"psnr_held_out": float(np.mean(-10 * np.log10(error.mean((1, 2, 3)) / 255**2)))}


def _image(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """Text-image-pose triplets: the spatial UNet, and the text encoder where the recipe says so."""
    base = _parts(settings, out)
    model = nn.ModuleDict({"unet": base.unet, "text_encoder": base.text_encoder})
    batch = _batches(base, stage, out, [(images, 0.75), (clips, 0.25)])

    def loss(model: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return method.loss(
            model["unet"], batch(generator), generator, base.scheduler, settings.loss
        )

    folder = out / "training" / stage.name
    show = _samples(settings, base, base.unet, folder, frames=1)
    fit(model, stage, loss, folder, seed, show)
    save_part(base.unet, out / "unet")
    save_part(base.text_encoder, out / "text_encoder")
    return _last_loss(folder)


def _video(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """Text-video-pose triplets: the temporal layers, put into the frozen image UNet."""
    base = _parts(settings, out)
    unet = method.build(base, settings.loss, video=True)
    batch = _batches(base, stage, out, [(clips, 1.0)])

    def loss(unet: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return method.loss(unet, batch(generator), generator, base.scheduler, settings.loss)

    folder = out / "training" / stage.name
    show = _samples(settings, base, unet, folder, frames=settings.model.frames)
    fit(unet, stage, loss, folder, seed, show)
    adapter: Any = base.motion_adapter
    adapter.load_state_dict(
        {k: v for k, v in unet.state_dict().items() if "motion_modules" in k}, strict=True
    )
    save_part(adapter, out / "motion_adapter")
    return _last_loss(folder)


def _perception(
    settings: Recipe, stage: Stage, out: Path, images: Corpus, clips: Corpus, seed: int
) -> dict[str, float]:
    """The network that measures pose, mask and scene of what the base makes."""
    return train_perception(out / "perception", stage.steps, stage.batch, seed)


def _parts(settings: Recipe, out: Path) -> Base:
    """The base as far as it is trained."""
    model = settings.model
    return load_parts(out, {"size": model.size, "frames": model.frames, "fps": model.fps})


def _batches(
    base: Base, stage: Stage, out: Path, sources: list[tuple[Corpus, float]]
) -> Callable[[torch.Generator], Batch]:
    """Encode the corpora once; then draw batches, a share of the rows from each corpus."""
    latents = [_cache(base, out, c, "latents", lambda c, i: c.frames[i]) for c, _ in sources]
    poses = [_cache(base, out, c, "pose_latents", Corpus.skeletons) for c, _ in sources]
    shares = torch.tensor([share for _, share in sources])

    def draw(generator: torch.Generator) -> Batch:
        picked: list[tuple[np.ndarray, np.ndarray]] = []
        captions = []
        for source in torch.multinomial(shares, stage.batch, True, generator=generator).tolist():
            corpus = sources[source][0]
            row = _index(len(corpus.frames), generator)
            first = _index(corpus.frames.shape[1] - stage.frames + 1, generator)
            cut = slice(first, first + stage.frames)
            picked.append((latents[source][row, cut], poses[source][row, cut]))
            words = corpus.captions[row]
            dropped = float(torch.rand((), generator=generator)) < stage.dropout
            captions.append("" if dropped else words[_index(len(words), generator)])
        device = base.unet.device
        return Batch(
            *(torch.from_numpy(np.stack(x)).float().to(device) for x in zip(*picked, strict=True)),
            text_states=encode_text(base, captions),
        )

    return draw


def _index(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _cache(
    base: Base, out: Path, corpus: Corpus, what: str, frames: Callable[[Corpus, int], np.ndarray]
) -> np.ndarray:
    """Latents of a corpus (N, F, C, h, w), kept beside it under the VAE's hash."""
    key = sha256(next((out / "vae").glob("*.safetensors")))[:12]
    path = corpus.folder / f"{what}.{key}.npy"
    name = f"{what} of {corpus.folder.name}"

    def encode(start: int, stop: int) -> np.ndarray:
        pixels = np.stack([frames(corpus, index) for index in range(start, stop)])
        latents = encode_frames(base.vae, pixels.reshape(-1, *pixels.shape[2:]))
        return latents.unflatten(0, pixels.shape[:2]).cpu().numpy()

    rows = max(1, ENCODE_FRAMES // corpus.frames.shape[1])
    return cached(path, len(corpus.frames), encode, name, rows)


def _samples(
    settings: Recipe, base: Base, unet: nn.Module, folder: Path, frames: int
) -> Callable[[int], None]:
    """Pictures made while training, always of the same held-out people, scenes and poses."""
    count = 8 if frames == 1 else 2
    model = settings.model
    clips = [
        puppets.render(puppets.sample_spec(n, split="held-out"), frames, model.size, model.fps)
        for n in range(count)
    ]
    skeletons = [
        Corpus(folder, clip.frames[None], clip.keypoints[None], []).skeletons(0) for clip in clips
    ]

    def show(step: int) -> None:
        scheduler = make_scheduler(base.scheduler.config)
        made = []
        for number, (clip, skeleton) in enumerate(zip(clips, skeletons, strict=True)):
            with torch.no_grad():
                text = encode_text(base, [clip.caption, ""])
                poses = encode_frames(base.vae, skeleton)[None]  # (1, F, C, h, w)
                conditions = Conditions(poses, text[:1], text[1:])
                noise = torch.randn(poses.shape, generator=torch.Generator().manual_seed(number))
                walk = method.denoiser(unet, conditions, 3.0, 0.7)
                latents = sample(walk, noise.to(poses), scheduler, 15)
            made.append(decode_latents(base.vae, latents[0]))
        columns = list(zip([c.frames for c in clips], skeletons, made, strict=True))
        names = ("render", "pose", f"step {step}")
        if frames == 1:
            rows = [(n, np.concatenate(x)) for n, x in zip(names, zip(*columns), strict=True)]
        else:
            rows = [(n, x) for column in columns for n, x in zip(names, column, strict=True)]
        contact_sheet(folder / "samples" / f"{step:06d}.png", rows)

    return show


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _last_loss(folder: Path) -> dict[str, float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    recent = [json.loads(line)["loss"] for line in lines[-20:]]
    return {"loss": float(np.mean(recent))}
