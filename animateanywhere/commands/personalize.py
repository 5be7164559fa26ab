"""`aa personalize`: one short clip of a person -> personal weights (section 2.2 of the paper).

Two stages: appearance, on all frames as images; motion, on clips with the temporal layers put in,
where only spatial cross-attention trains. Rerun the same command to go on after a stop.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape
from torch import Tensor, nn

from animateanywhere import __version__
from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.low_memory import room_for_vae, to_device
from animateanywhere.backbones.personal_weights import FILE, save_personal
from animateanywhere.commands.prepare import prepare
from animateanywhere.core.device import best_device, gpu_memory
from animateanywhere.core.estimate import FILE as ESTIMATE
from animateanywhere.core.estimate import Estimate, compare, in_words, keep
from animateanywhere.core.files import require_writable, write_aside
from animateanywhere.core.findings import read_findings, refuse, tell_findings
from animateanywhere.core.messages import say, warn
from animateanywhere.core.paths import RUNS
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import checkpoint_selection
from animateanywhere.methods.animate_anywhere.appearance_search import AUTO, find_appearance
from animateanywhere.methods.animate_anywhere.background_augmentation import augment_backgrounds
from animateanywhere.methods.animate_anywhere.cost.predict import estimate_learning
from animateanywhere.methods.animate_anywhere.cost.vram import fitted
from animateanywhere.methods.animate_anywhere.model_card import write_personal_card
from animateanywhere.methods.animate_anywhere.personal_stages import (
    StageData,
    fit_vae,
    learn,
    recipe_of,
)
from animateanywhere.methods.animate_anywhere.prior_preservation import clip_frames, prior_data
from animateanywhere.methods.animate_anywhere.settings import Recipe, to_dict
from animateanywhere.methods.animate_anywhere.subject_data import encode_subject
from animateanywhere.methods.animate_anywhere.validation import learned_part, make_validations
from animateanywhere.preprocessing.backends import Backends


@dataclass(frozen=True)
class PersonalizeOptions:
    """How a person is learned."""

    class_word: str | None = None  # what the person is ("man"); else "person"
    base: str = "mini"  # its name or folder
    out: Path | None = None  # the run's folder; else runs/<token>
    # Where the clip plays ("in a room"): named, it binds to those words and not to the token
    scene: str | None = None
    # Words for hair and clothes ("in a red shirt"), "" for none, "auto" for those that fit best;
    # else the recipe's
    appearance: str | None = None
    recipe: str | Path | Recipe | None = None  # else the one the base names
    seed: int = 0
    backends: Backends | None = None  # detectors of poses and masks
    # GiB to fit into, by the recipe's first form that does (`cost.vram`); else those of the GPU
    vram: float | None = None
    estimate: bool = True  # say first what it will take, for which a few steps may be profiled


def personalize(
    video: Path, token: str, options: PersonalizeOptions = PersonalizeOptions()
) -> Path:
    """Learn the person of `video` as the word `token`; return the path of the personal weights.

    Raises UsageError for bad input. Weights of another run in the folder are replaced.
    """
    begun = time.monotonic()
    model = load_base(options.base)
    settings = recipe_of(model, options.recipe)
    if options.appearance is not None:
        words = options.appearance.strip()
        settings = replace(settings, extras=replace(settings.extras, appearance=words))
    out = options.out or RUNS / token
    require_writable(out)
    subject = prepare(
        video,
        out / "subject",
        scene=options.scene,
        class_word=options.class_word,
        backends=options.backends,
        size=int(model.config["size"]),
        fps=float(model.config["fps"]),
    )
    vram = options.vram or gpu_memory()
    if vram is not None:
        settings = fitted(model.folder, model.config, settings, vram)
    path, run = out / FILE, _record(model, subject, token, settings, options.seed)
    if _same_run(out, run) and path.is_file():
        say(f"{escape(str(path))} is there already, from the same clip and settings")
        return path

    refuse(video.name, read_findings(subject.folder))
    with to_device(model, best_device(), settings.precision, settings.only_adapters):
        since = begun if options.estimate else None
        estimate = _before(model, subject, settings, options.seed, out, since)
        tensors, found = _learn(model, subject, token, settings, options.seed, out)
    save_personal(path, tensors, run | found, half=True)
    write_personal_card(path, str(model.config.get("license") or ""))
    compare(out / ESTIMATE, estimate, begun)
    say(f"learned [bold]{escape(token)}[/bold]: {escape(str(path))}")
    say(f'next: aa generate "{token} {subject.class_word} on a beach" --pose dance.mp4')
    return path


def _record(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int
) -> dict[str, str]:
    """What a run is known by, and its weights are described by."""
    pixels = subject.frames.tobytes() + subject.masks.tobytes()
    return {
        "subject": hashlib.sha256(pixels).hexdigest(),
        "token": token, "class_word": subject.class_word, "base": str(model.config["name"]),
        "base_folder": str(model.folder), "base_hash": model.hash, "seed": str(seed),
        "captions": json.dumps(subject.captions), "recipe": json.dumps(to_dict(settings)),
        "version": __version__, "keypoints": json.dumps(subject.keypoints.round(1).tolist()),
    }  # fmt: skip


def _learn(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int, out: Path
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Personal weights of a subject, and what was found on the way: its appearance in words, and
    the selected steps."""
    scored = settings.extras.checkpoint_selection
    seen = learned_part(subject) if scored else subject
    if settings.extras.appearance == AUTO:
        words = find_appearance(model, seen)
        settings = replace(settings, extras=replace(settings.extras, appearance=words))
        say(f'the base\'s words for {escape(token)}: "{escape(words)}"; --appearance gives others')
    length = clip_frames(model, settings)
    with room_for_vae(model):
        rows = encode_subject(model, seen, token, settings, length)
    augmented = [
        augment_backgrounds(model, seen, token, settings, seed, frames, out)
        for frames in (1, length)
        if settings.extras.background_augmentation
    ]
    images, clips = augmented or (None, None)
    data = {
        "appearance": StageData(
            rows, prior_data(model, subject.class_word, settings, seed, video=False), images
        ),
        "motion": StageData(
            rows.clips or rows,
            prior_data(model, subject.class_word, settings, seed, video=True),
            clips,
        ),
    }
    tensors: dict[str, Tensor] = {}
    if settings.extras.fit_vae_steps:
        tensors |= fit_vae(model, seen, data["appearance"].prior, settings, out, seed)
    validations = make_validations(model, settings, subject, token) if scored else {}
    # all is encoded; its memory goes back
    model.parts["vae"] = model.vae.cpu() if scored else nn.Identity()
    changed, chosen = learn(model, settings, data, rows.token_index, out, seed, validations)
    found = {"appearance": settings.extras.appearance}
    if scored:
        checkpoint_selection.plot(out)
        found["chosen"] = json.dumps(chosen)
    return tensors | changed, found


def _before(
    model: Base, subject: Subject, settings: Recipe, seed: int, out: Path, begun: float | None
) -> Estimate | None:
    """Say what learning will take, where `begun` is given; refuse what does not fit. Of a resumed
    run the rest is not known."""
    if begun is None or (out / "training").is_dir():
        return None
    estimate, findings = estimate_learning(model, subject, settings, seed, begun)
    tell_findings("learning", findings)
    refuse("learning", findings)
    if estimate is not None:
        keep(out / ESTIMATE, estimate)
        say(f"learning takes about {in_words(estimate)} on this machine")
    return estimate


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
