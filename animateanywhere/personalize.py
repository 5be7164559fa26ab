"""`aa personalize`: one short clip of a person -> personal weights (section 2.2 of the paper).

Two stages: appearance, on all frames as images; motion, on clips with the temporal layers put in,
where only spatial cross-attention trains. Rerun the same command to go on after a stop.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from torch import Tensor, nn

from animateanywhere import __version__, choose
from animateanywhere.batch import Subject
from animateanywhere.console import say, warn
from animateanywhere.diffusion.losses import reconstruction
from animateanywhere.errors import UsageError
from animateanywhere.extraction.backends import Backends
from animateanywhere.files import require_writable, write_aside
from animateanywhere.machine import FILE as PREDICTION
from animateanywhere.machine import Prediction, compare, in_words, keep
from animateanywhere.methods import animate_anywhere as method
from animateanywhere.metrics import psnr
from animateanywhere.models import lora
from animateanywhere.models.base import (
    Base,
    decode_latents,
    encode_frames,
    load_base,
    motion_unet,
    noise_share,
    to_pixels,
)  # fmt: skip
from animateanywhere.models.personal import EMBEDDING, FILE, save_personal
from animateanywhere.predict import foretell_learning
from animateanywhere.prepare import prepare
from animateanywhere.recipe import Recipe, Stage, load_recipe, to_dict
from animateanywhere.regularize import Regular, regularization
from animateanywhere.rows import Rows, batches, encode_subject
from animateanywhere.training.loop import fit
from animateanywhere.trial import Trial, learned_part, make_trials
from animateanywhere.verdict import read_findings, refuse, tell_findings

LARGE = 256  # pixels a side; above, memory counts more than speed
TABLE = "token_embedding.weight"  # of which one row is saved


def personalize(
    video: Path,
    token: str,
    *,
    class_word: str | None = None,
    base: str = "mini",
    out: Path | None = None,
    scene: str | None = None,
    recipe: str | Path | Recipe | None = None,
    seed: int = 0,
    backends: Backends | None = None,
) -> Path:
    """Learn the person of `video` as the word `token`; return the path of the personal weights.

    class_word: what the person is ("man"), else "person".
    out: the run's folder, default runs/<token>. scene: where the clip plays ("in a room"): named,
    it binds to those words and not to the token. recipe: default is the one the base names.
    backends: what finds poses and masks.
    Raises UsageError for bad input, weights of another run in `out` are replaced.
    """
    begun = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_base(base, device)
    settings = recipe_of(model, recipe)
    out = out or Path("runs") / token
    require_writable(out)
    size, fps = int(model.config["size"]), float(model.config["fps"])
    subject = prepare(
        video,
        out / "subject",
        scene=scene,
        class_word=class_word,
        backends=backends,
        size=size,
        fps=fps,
    )
    path = out / FILE
    pixels = subject.frames.tobytes() + subject.masks.tobytes()
    run = {
        "subject": hashlib.sha256(pixels).hexdigest(),
        "token": token, "class_word": subject.class_word, "base": str(model.config["name"]),
        "base_folder": str(model.folder), "base_hash": model.hash, "seed": str(seed),
        "captions": json.dumps(subject.captions), "recipe": json.dumps(to_dict(settings)),
        "version": __version__, "keypoints": json.dumps(subject.keypoints.round(1).tolist()),
    }  # fmt: skip
    if _same_run(out, run) and path.is_file():
        say(f"{escape(str(path))} is there already, from the same clip and settings")
        return path

    told = _before(model, subject, settings, seed, out, begun, video.name)
    scored = settings.choose.score
    seen = learned_part(subject) if scored else subject
    rows = encode_subject(model, seen, token, settings.personal)
    images = regularization(model, subject.class_word, settings, seed, video=False)
    clips = regularization(model, subject.class_word, settings, seed, video=True)
    tensors: dict[str, Tensor] = {}
    if settings.personal.fit_vae_steps:
        tensors |= _fit_vae(model, seen, images, settings, out, seed)
    trials = make_trials(model, settings, subject, token) if scored else {}
    # all is encoded; its memory goes back
    model.vae = model.vae.cpu() if scored else nn.Identity()
    changed, chosen = _learn(model, settings, rows, images, clips, out, seed, trials)
    if scored:
        choose.plot(out)
        run |= {"chosen": json.dumps(chosen)}
    save_personal(path, tensors | changed, run, half=True)
    compare(out / PREDICTION, told, begun)
    say(f"learned [bold]{escape(token)}[/bold]: {escape(str(path))}")
    say(f'next: aa generate "{token} {subject.class_word} on a beach" --pose dance.mp4')
    return path


def recipe_of(model: Base, recipe: str | Path | Recipe | None) -> Recipe:
    """The recipe that is asked for, else the base's own. Raises UsageError."""
    if recipe is None:
        recipe = model.config.get("personalize", "personalize")
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if not settings.stages("appearance", "motion"):
        raise UsageError(f"recipe {settings.name} learns no person: it is for `aa base-train`")
    return settings


def _before(
    model: Base, subject: Subject, settings: Recipe, seed: int, out: Path, begun: float, clip: str
) -> Prediction | None:
    """Say what learning will take, where that is known; refuse what cannot be done."""
    findings = read_findings(subject.folder)
    told = None
    if not (out / "training").is_dir():  # of a resumed run the rest is not known
        told, more = foretell_learning(model, subject, settings, seed, begun)
        tell_findings("learning", more)
        findings = findings + more
    refuse(clip, findings)
    if told is not None:
        keep(out / PREDICTION, told)
        say(f"learning takes about {in_words(told)} on this machine")
    return told


def _learn(
    model: Base,
    settings: Recipe,
    rows: Rows,
    images: Regular,
    clips: Regular,
    out: Path,
    seed: int,
    trials: Mapping[str, Trial],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Run the stages; return what changed, by the names of personal weights, and the chosen step
    of each stage that has a trial, else it is the last."""
    changed: dict[str, Tensor] = {}
    chosen: dict[str, int] = {}
    index = rows.token_index
    before = copy.deepcopy(model.unet).requires_grad_(False) if settings.loss.keep else None
    for number, stage in enumerate(settings.stages("appearance", "motion")):
        model.text_encoder.to(rows.latents.device)
        unet = method.build(model, settings.loss, video=stage.kind == "motion")
        if model.config["size"] > LARGE:
            unet.enable_gradient_checkpointing()
        if settings.personal.train_text_encoder and stage.kind == "appearance":
            stage = replace(stage, train=(*stage.train, r"^text_encoder\."))
        table: Any = model.text_encoder.get_input_embeddings().weight
        text_learns = any("text_encoder" in p or "token_embedding" in p for p in stage.train)
        # Where the background counts in full, a caption must name the true place.
        elsewhere = settings.personal.elsewhere if settings.loss.weaken else 0.0
        regular = clips if stage.kind == "motion" else images
        batch = batches(model, stage, rows, regular, text_learns, elsewhere)
        untouched: Any = before
        if before is not None and stage.kind == "motion":
            untouched = motion_unet(before, model.motion_adapter).eval()
        parts = nn.ModuleDict({"unet": unet})
        if text_learns:
            parts["text_encoder"] = model.text_encoder
        else:  # its states are cached
            model.text_encoder.cpu()
        if stage.lora_rank:
            names = lora.inject(parts, stage.lora_rank, stage.train, seed + number)
            stage = replace(stage, train=tuple(f"^{re.escape(name)}$" for name in names))

        def loss(parts: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            made = batch(generator)  # noqa: B023 - used within this turn of the loop only
            shift = stage.timestep_shift  # noqa: B023
            return method.loss(
                parts["unet"], made, generator, model.scheduler, settings.loss, shift,
                untouched, noise_share(model),  # noqa: B023
            )  # fmt: skip

        only = torch.zeros_like(table[:, :1])
        only[index] = 1  # of the embedding, the token's row alone learns
        table.requires_grad_(True)
        hook = table.register_hook(lambda gradient, only=only: gradient * only)
        folder, score = out / "training" / stage.name, None
        if stage.name in trials:
            score = choose.scorer(model, parts, stage, trials[stage.name], settings, out)
        trained = fit(parts, stage, loss, folder, seed + number, on_save=score)
        hook.remove()
        if score is not None:
            chosen[stage.name] = choose.restore(trained, stage, out)
        learned: dict[str, Tensor] = {n: p for n, p in trained.items() if not n.endswith(TABLE)}
        if stage.lora_rank:  # the next stage goes on from the sum
            learned = {n: p for n, p in learned.items() if not n.startswith("unet.")}
            learned |= lora.merge(unet)
        if stage.kind == "motion":  # the image UNet carries on what cross-attention learned
            own = dict(model.unet.named_parameters())
            for name, value in unet.named_parameters():
                if name in own:
                    own[name].data.copy_(value.data)
        learned = {name: value.detach().cpu().clone() for name, value in learned.items()}
        changed = lora.follow(changed, learned)
    changed[EMBEDDING] = model.text_encoder.get_input_embeddings().weight[index : index + 1]
    return changed, chosen


def _fit_vae(
    model: Base, subject: Subject, regular: Regular, settings: Recipe, out: Path, seed: int
) -> dict[str, Tensor]:
    """Fit the VAE's decoder to footage it rebuilds badly, held to its old self on other scenes."""
    vae: Any = model.vae
    latents = encode_frames(vae, subject.frames)
    before = psnr(decode_latents(vae, latents), subject.frames)
    if before >= settings.personal.fit_vae_below:
        return {}
    say(f"the VAE rebuilds this clip at {before:.1f} dB only: fitting its decoder")
    others = regular.latents.flatten(0, 1)
    pixels = to_pixels(torch.from_numpy(subject.frames)).to(latents)
    kept = to_pixels(torch.from_numpy(decode_latents(vae, others))).to(latents)
    scale = vae.config.scaling_factor

    def loss(vae: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(pixels), (6,), generator=generator)
        more = torch.randint(len(kept), (2,), generator=generator)
        made = vae.decode(torch.cat([latents[rows], others[more]]) / scale).sample
        wanted = torch.cat([pixels[rows], kept[more]])
        return reconstruction(made, wanted, torch.ones_like(wanted)), {}

    stage = Stage(
        "vae", "vae", settings.personal.fit_vae_steps, learning_rate=5e-4, train=("^decoder",),
        weight_decay=0.0, log_every=1,
    )  # fmt: skip
    trained = fit(vae, stage, loss, out / "training" / "vae", seed)
    after = psnr(decode_latents(vae, latents), subject.frames)
    say(f"VAE on this clip: {before:.1f} dB before, {after:.1f} dB after")
    return {f"vae.{name}": value.detach().clone() for name, value in trained.items()}


def _same_run(out: Path, run: dict[str, str]) -> bool:
    """Whether `out` holds the same run; a training of other settings there is cleared."""
    record = out / "run.json"
    text = json.dumps(run, indent=1) + "\n"
    if record.is_file() and record.read_text(encoding="utf-8") == text:
        return True
    if record.is_file():
        warn(f"{escape(str(out))} held a run with another clip or settings: starting anew")
        (out / FILE).unlink(missing_ok=True)
    shutil.rmtree(out / "training", ignore_errors=True)
    (out / choose.FILE).unlink(missing_ok=True)
    with write_aside(record) as aside:
        aside.write_text(text, encoding="utf-8")
    return False
