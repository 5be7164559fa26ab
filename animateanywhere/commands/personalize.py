"""`aa personalize`: learn a person from one short clip (section 2.2 of the paper).

There are two stages: appearance, on all frames as images; motion, on clips with temporal layers, in
which only spatial cross-attention is trained. Run the same command again to resume.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape
from torch import Tensor, nn

from animateanywhere import __version__
from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.frame_shape import in_frames
from animateanywhere.backbones.low_memory import to_device
from animateanywhere.backbones.personal_weights import FILE, save_personal
from animateanywhere.commands.personal_run import bind, finished, is_run, keep_earlier, read_run
from animateanywhere.commands.prepare import clip_size, prepare
from animateanywhere.commands.prepared import digest, require_no_settings, take_over
from animateanywhere.core.device import best_device, gpu_memory
from animateanywhere.core.estimate import FILE as ESTIMATE
from animateanywhere.core.estimate import Estimate, compare, in_words, keep
from animateanywhere.core.files import require_writable, write_aside
from animateanywhere.core.findings import read_findings, refuse, warn_findings
from animateanywhere.core.frame_size import Aspect, Size
from animateanywhere.core.messages import say
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import owned
from animateanywhere.datasets.subject import Subject, is_prepared, read_subject
from animateanywhere.media.pictures import clip_digest
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere import checkpoint_selection
from animateanywhere.methods.animate_anywhere.appearance_search import AUTO, find_appearance
from animateanywhere.methods.animate_anywhere.cost import history
from animateanywhere.methods.animate_anywhere.cost.predict import estimate_learning
from animateanywhere.methods.animate_anywhere.cost.vram import fitted
from animateanywhere.methods.animate_anywhere.model_card import write_personal_card
from animateanywhere.methods.animate_anywhere.personal_stages import (
    fit_vae,
    learn,
    recipe_of,
)
from animateanywhere.methods.animate_anywhere.prior_preservation import prior_data
from animateanywhere.methods.animate_anywhere.settings import Recipe, to_dict
from animateanywhere.methods.animate_anywhere.stage_data import make_data
from animateanywhere.methods.animate_anywhere.validation import learned_part, make_validations
from animateanywhere.preprocessing.backends import Backends


@dataclass(frozen=True)
class PersonalizeOptions:
    """Options of `personalize`."""

    class_word: str | None = None  # noun for the person ("man"); None: "person"
    base: str = "mini"  # name or folder
    out: Path | None = None  # folder of the run; None: runs/<token>
    # Where the clip was filmed ("in a room"). Named in the captions, the scene is bound to these
    # words and not to the token.
    scene: str | None = None
    # Words for hair and clothes ("in a red shirt"), "" for none, "auto" to search them; None: as
    # the recipe says
    appearance: str | None = None
    person: int | None = None  # number of the one to learn, of several in the video
    recipe: str | Path | Recipe | None = None  # None: the base's own
    # Of the frames, as for `frame_shape.in_frames`; None: that of the clip, where the base can
    size: Size | None = None
    aspect: Aspect | None = None
    seed: int = 0
    part: Part = WHOLE  # of the clip
    backends: Backends | None = None  # detectors of poses and masks
    # Memory in GiB; the recipe is adapted until it fits (`cost.vram`). None: that of the GPU
    vram: float | None = None
    estimate: bool = True  # print time and memory first; may profile a few steps


def personalize(
    video: Path, token: str, options: PersonalizeOptions = PersonalizeOptions()
) -> Path:
    """Learn the person in `video` under the word `token`; return the path of the personal weights.

    video: a clip, or a subject folder as `prepare` wrote and the user corrected it; the settings of
    the preparation must not be given then.
    Run again with the same arguments, it resumes or does nothing. With another clip or other
    settings, the finished weights in the folder stay until the new ones are complete, and a copy of
    them and their files is kept in `earlier/1`, `earlier/2`... Raises UsageError for unusable
    input, a folder of other files, a recipe that is not for the base, and if memory is too small;
    Failure if another process works in the folder.
    """
    begun = time.monotonic()
    model = load_base(options.base)
    source = read_subject(video).size if is_prepared(video) else clip_size(video)
    model = in_frames(model, source, "the video", options.size, options.aspect)
    settings = recipe_of(model, options.recipe)
    if options.appearance is not None:
        words = options.appearance.strip()
        settings = replace(settings, extras=replace(settings.extras, appearance=words))
    out = options.out or RUNS / token
    require_writable(out)
    with owned(out, "personalize", is_run):
        return _learn_video(video, token, model, settings, options, out, begun)


def _learn_video(
    video: Path, token: str, model: Base, settings: Recipe, options: PersonalizeOptions, out: Path,
    begun: float,
) -> Path:  # fmt: skip
    """`personalize` in its folder."""
    subject, source = _subject_of(video, model, options, out)
    vram = options.vram or gpu_memory()
    if vram is not None:
        settings = fitted(model.folder, model.config, settings, vram)
    path, run = out / FILE, _record(model, subject, token, settings, options.seed)
    bind(out, run, {"clip": source, "base_folder": str(model.folder)})
    if finished(path, run):
        say(f"{escape(str(path))} already exists, from the same clip and settings")
        return path

    refuse(video.name, read_findings(subject.folder))
    with to_device(model, best_device(), settings.precision, settings.only_adapters):
        since = begun if options.estimate else None
        estimate = _estimate(model, subject, settings, options.seed, out, since)
        tensors, found = _learn(model, subject, token, settings, options.seed, out)
    keep_earlier(out)
    save_personal(path, tensors, run | found, half=True)
    write_personal_card(path, str(model.config.get("license") or ""))
    history.add(model, settings, estimate, compare(out / ESTIMATE, estimate, begun))
    say(f"learned [bold]{escape(token)}[/bold]: {escape(str(path))}")
    say(f'next: aa generate "{token} {subject.class_word} on a beach" --pose dance.mp4')
    return path


def _subject_of(
    video: Path, model: Base, options: PersonalizeOptions, out: Path
) -> tuple[Subject, str]:
    """The subject in `out`, from a video or a prepared folder, and what identifies its source."""
    former, place = read_run(out).get("clip"), out / "subject"
    if is_prepared(video):
        part = options.part if options.part != WHOLE else None
        require_no_settings(video, {
            "--class-word": options.class_word, "--scene": options.scene,
            "--person": options.person, "--start, --frames or --input-fps": part,
        })  # fmt: skip
        prepared = read_subject(video)
        source = digest(prepared)
        if former != source:
            keep_earlier(out)
        return take_over(prepared, place, former, model), source
    backends = options.backends or Backends()
    found_by = backends.pose, backends.mask, backends.caption, backends.caption_model
    named = options.person, options.scene, options.class_word
    wanted = f"{[*options.part]} {model.frame} {named} {found_by}"
    source = f"{clip_digest(video)} {wanted}" if video.exists() else ""
    if former != source:
        keep_earlier(out)  # `prepare` replaces the subject
    subject = prepare(
        video,
        place,
        scene=options.scene,
        class_word=options.class_word,
        person=options.person,
        backends=options.backends,
        size=model.frame,
        fps=float(model.config["fps"]),
        part=options.part,
    )
    return subject, source


def _record(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int
) -> dict[str, str]:
    """What identifies a run; also metadata of its weights."""
    return {
        "subject": subject.digest(),
        "token": token, "class_word": subject.class_word, "base": str(model.config["name"]),
        "base_hash": model.hash, "seed": str(seed),
        "captions": json.dumps(subject.captions), "recipe": json.dumps(to_dict(settings)),
        "version": __version__, "keypoints": json.dumps(subject.keypoints.round(1).tolist()),
        "frame": str(subject.size),
    }  # fmt: skip


def _learn(
    model: Base, subject: Subject, token: str, settings: Recipe, seed: int, out: Path
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Learn a subject. Returns the personal weights, and further metadata: the words for the
    appearance, and the selected steps."""
    scored = settings.extras.checkpoint_selection
    training = learned_part(subject) if scored else subject
    if settings.extras.appearance == AUTO:
        words = _appearance(model, training, out)
        settings = replace(settings, extras=replace(settings.extras, appearance=words))
        say(f'appearance of {escape(token)}: "{escape(words)}"; --appearance sets other words')
    data, token_index = make_data(model, training, token, settings, seed, out)
    tensors: dict[str, Tensor] = {}
    if settings.extras.fit_vae_steps:
        others = prior_data(model, subject.class_word, settings, seed, video=False)
        tensors |= fit_vae(model, training, others, settings, out, seed)
    validations = make_validations(model, settings, subject, token) if scored else {}
    # Everything is encoded: free the VAE's memory
    model.parts["vae"] = model.vae.cpu() if scored else nn.Identity()
    changed, selected = learn(model, settings, data, token_index, out, seed, validations)
    found = {"appearance": settings.extras.appearance}
    if scored:
        checkpoint_selection.plot(out)
        found["selected_steps"] = json.dumps(selected)
    return tensors | changed, found


def _appearance(model: Base, subject: Subject, out: Path) -> str:
    """Words for the appearance, searched once in a run: a GPU may not find the same again."""
    kept = out / "training" / "appearance.txt"
    if not kept.is_file():
        words = find_appearance(model, subject)
        with write_aside(kept) as aside:
            aside.write_text(words, encoding="utf-8")
    return kept.read_text(encoding="utf-8")


def _estimate(
    model: Base, subject: Subject, settings: Recipe, seed: int, out: Path, begun: float | None
) -> Estimate | None:
    """Estimate and print time and memory, unless `begun` is None or the run is resumed. Raises
    UsageError if memory is too small."""
    if begun is None or (out / "training").is_dir():
        return None
    estimate, findings = estimate_learning(model, subject, settings, seed, begun)
    warn_findings("learning", findings)
    refuse("learning", findings)
    if estimate is not None:
        keep(out / ESTIMATE, estimate)
        say(f"learning takes about {in_words(estimate)} on this machine")
    return estimate
