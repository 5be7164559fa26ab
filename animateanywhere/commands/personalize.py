"""`aa personalize`: one short clip of a person -> personal weights (section 2.2 of the paper).

Two stages: appearance, on all frames as images; motion, on clips with the temporal layers put in,
where only spatial cross-attention trains. Rerun the same command to go on after a stop.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.markup import escape
from torch import Tensor, nn

from animateanywhere import __version__
from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.low_memory import room_for_vae, to_device
from animateanywhere.backbones.personal_weights import FILE, save_personal
from animateanywhere.commands.prepare import prepare
from animateanywhere.core.console import say, warn
from animateanywhere.core.files import require_writable, write_aside
from animateanywhere.core.findings import read_findings, refuse, tell_findings
from animateanywhere.core.hardware import FILE as PREDICTION
from animateanywhere.core.hardware import Prediction, compare, in_words, keep
from animateanywhere.core.paths import RUNS
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import checkpoint_selection
from animateanywhere.methods.animate_anywhere.appearance_search import AUTO, find_looks
from animateanywhere.methods.animate_anywhere.background_augmentation import put_elsewhere
from animateanywhere.methods.animate_anywhere.cost.predict import foretell_learning
from animateanywhere.methods.animate_anywhere.cost.vram import card, fitted
from animateanywhere.methods.animate_anywhere.model_card import write_personal_card
from animateanywhere.methods.animate_anywhere.personal_stages import (
    fit_vae,
    learn,
    recipe_of,
)
from animateanywhere.methods.animate_anywhere.prior_preservation import clip_frames, regularization
from animateanywhere.methods.animate_anywhere.settings import Recipe, to_dict
from animateanywhere.methods.animate_anywhere.subject_data import encode_subject
from animateanywhere.methods.animate_anywhere.validation import learned_part, make_trials
from animateanywhere.preprocessing.backends import Backends


def personalize(
    video: Path,
    token: str,
    *,
    class_word: str | None = None,
    base: str = "mini",
    out: Path | None = None,
    scene: str | None = None,
    looks: str | None = None,
    recipe: str | Path | Recipe | None = None,
    seed: int = 0,
    backends: Backends | None = None,
    vram: float | None = None,
    foretell: bool = True,
) -> Path:
    """Learn the person of `video` as the word `token`; return the path of the personal weights.

    class_word: what the person is ("man"), else "person".
    out: the run's folder, default runs/<token>. scene: where the clip plays ("in a room"): named,
    it binds to those words and not to the token. looks: hair and clothes in words ("in a red
    shirt"), "" for none, "auto" for those that fit best; without, the recipe's. recipe: default is
    the one the base names. backends: what finds poses and masks. foretell: whether to say first
    what it will take, for which a few steps may be measured. vram: GiB to fit into, by the recipe's
    first form that does (`cost.vram`); without, those of the GPU where there is one.
    Raises UsageError for bad input, weights of another run in `out` are replaced.
    """
    begun = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_base(base)
    settings = recipe_of(model, recipe)
    if looks is not None:
        settings = replace(settings, personal=replace(settings.personal, looks=looks.strip()))
    out = out or RUNS / token
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
    vram = vram or card()
    if vram is not None:
        settings = fitted(model.folder, model.config, settings, vram)
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

    with to_device(model, device, settings.precision, settings.only_adapters):
        told = _before(model, subject, settings, seed, out, begun if foretell else None, video.name)
        tensors, found = _learn(model, subject, token, settings, seed, out)
    save_personal(path, tensors, run | found, half=True)
    write_personal_card(path, str(model.config.get("license") or ""))
    compare(out / PREDICTION, told, begun)
    say(f"learned [bold]{escape(token)}[/bold]: {escape(str(path))}")
    say(f'next: aa generate "{token} {subject.class_word} on a beach" --pose dance.mp4')
    return path


def _learn(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int, out: Path
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Personal weights of a subject, and what was found on the way: looks, chosen steps."""
    scored = settings.choose.score
    seen = learned_part(subject) if scored else subject
    if settings.personal.looks == AUTO:
        looks = find_looks(model, seen)
        settings = replace(settings, personal=replace(settings.personal, looks=looks))
        say(f"{escape(token)} {escape(looks)}: in words; --looks says it otherwise")
    length = clip_frames(model, settings)
    with room_for_vae(model):
        rows = encode_subject(model, seen, token, settings.personal, length)
    elsewhere = [
        put_elsewhere(model, seen, token, settings.personal, seed, frames, out)
        for frames in (1, length)
        if settings.personal.elsewhere
    ]
    images = regularization(model, subject.class_word, settings, seed, video=False)
    clips = regularization(model, subject.class_word, settings, seed, video=True)
    tensors: dict[str, Tensor] = {}
    if settings.personal.fit_vae_steps:
        tensors |= fit_vae(model, seen, images, settings, out, seed)
    trials = make_trials(model, settings, subject, token) if scored else {}
    # all is encoded; its memory goes back
    model.parts["vae"] = model.vae.cpu() if scored else nn.Identity()
    changed, chosen = learn(model, settings, rows, elsewhere, images, clips, out, seed, trials)
    found = {"looks": settings.personal.looks}
    if scored:
        checkpoint_selection.plot(out)
        found["chosen"] = json.dumps(chosen)
    return tensors | changed, found


def _before(
    model: Base, subject: Subject, settings: Recipe, seed: int, out: Path, begun: float | None,
    clip: str,
) -> Prediction | None:  # fmt: skip
    """Say what learning will take, where that is known and `begun` given; refuse what cannot be
    done."""
    findings = read_findings(subject.folder)
    told = None
    if (
        begun is not None and not (out / "training").is_dir()
    ):  # of a resumed run the rest is not known
        told, more = foretell_learning(model, subject, settings, seed, begun)
        tell_findings("learning", more)
        findings = findings + more
    refuse(clip, findings)
    if told is not None:
        keep(out / PREDICTION, told)
        say(f"learning takes about {in_words(told)} on this machine")
    return told


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
    (out / checkpoint_selection.FILE).unlink(missing_ok=True)
    with write_aside(record) as aside:
        aside.write_text(text, encoding="utf-8")
    return False
