"""`aa check`: whether a clip can be learned, and a motion followed, before any long work."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.frame_shape import in_frames
from animateanywhere.backbones.low_memory import to_device
from animateanywhere.commands.check_report import FOLDER, Report, about, report_of
from animateanywhere.commands.prepare import clip_size, people_picture, prepare
from animateanywhere.core.device import best_device, memory_now, peak_memory
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate
from animateanywhere.core.files import require_writable, write_aside
from animateanywhere.core.findings import Finding, read_findings
from animateanywhere.core.frame_size import Aspect, Size
from animateanywhere.core.json_file import read_json
from animateanywhere.datasets.subject import Subject, read_settings
from animateanywhere.media import provenance
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere.cost.predict import (
    Prepared,
    estimate_generation,
    estimate_learning,
)
from animateanywhere.methods.animate_anywhere.generation import steps_of
from animateanywhere.methods.animate_anywhere.personal_stages import recipe_of
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.driving import Driving, read_driving
from animateanywhere.preprocessing.quality.motion import motion_findings


def check(
    video: Path,
    pose: Path | None = None,
    *,
    base: str = "mini",
    recipe: str | None = None,
    class_word: str | None = None,
    scene: str | None = None,
    person: int | None = None,
    size: Size | None = None,
    aspect: Aspect | None = None,
    out: Path | None = None,
    backends: Backends | None = None,
    part: Part = WHOLE,
    pose_part: Part = WHOLE,
) -> Report:
    """Check a clip to learn from and a motion to follow, and estimate time and memory.

    The subject is prepared into `out`, by default runs/check/<clip>/subject, where users can look
    at it, correct it, and give it to `aa personalize`. scene: as for `prepare`. size, aspect: of
    the frames, as for `frame_shape.in_frames`. part, pose_part: of the clip and of the motion.
    Faults of the files themselves are findings; other wrong use raises UsageError.
    """
    model = load_base(base)
    passes = to_device(model, best_device())  # as generation has it
    loaded = memory_now()
    settings = recipe_of(model, recipe)
    out = out or FOLDER / video.stem / "subject"
    require_writable(out)
    found: dict[str, list[Finding]] = {video.name: []}
    estimates: dict[str, Estimate] = {}
    subject, prepared = None, Prepared(0.0, 0.0, 0.0)
    try:
        model = in_frames(model, clip_size(video), "the video", size, aspect)
        subject, prepared = _prepare(model, video, out, class_word, scene, person, backends, part)
        found[video.name] += [*read_findings(out), *_origin(video)]
    except UsageError as error:
        found[video.name].append(about(video, error))
    if subject is not None:
        with passes:
            start = prepared._replace(held=loaded + prepared.held)
            learning, more = estimate_learning(model, subject, settings, 0, start)
        found[video.name] += more
        if learning is not None:
            estimates["personalize"] = learning
    if pose is not None:
        found.setdefault(pose.name, [])
        try:
            driving, spent = _read(model, pose, backends, prepared, pose_part)
            found[pose.name] += _origin(pose)
            found[pose.name] += _compare(driving, subject, float(model.config["fps"]))
            model = in_frames(model, driving.size, "the motion", size, aspect)
            with passes:
                start = spent._replace(held=loaded + spent.held)
                frames, steps = len(driving.keypoints), steps_of(model)
                generation, more = estimate_generation(model, frames, steps, start)
            found[pose.name] += [finding for finding in more if finding not in found[video.name]]
            if generation is not None:
                estimates["generate"] = generation
        except UsageError as error:
            found[pose.name].append(about(pose, error))
    files = {} if subject is None else {"subject": out}
    if (persons := people_picture(out)).is_file():
        files["persons of the clip"] = persons
    return report_of(found, estimates, files)


def _prepare(
    model: Base,
    video: Path,
    out: Path,
    class_word: str | None,
    scene: str | None,
    person: int | None,
    backends: Backends | None,
    part: Part,
) -> tuple[Subject, Prepared]:
    """The subject, and the time and memory of preparing it, now or when it was prepared."""
    record = out.with_name(f"{out.name}.json")
    key, begun, held = read_settings(out).get("key"), time.monotonic(), memory_now()
    subject = prepare(
        video, out, scene=scene, class_word=class_word, backends=backends, person=person,
        size=model.frame, fps=float(model.config["fps"]), part=part, report=False,
    )  # fmt: skip
    if key == read_settings(out)["key"]:
        with suppress(OSError, ValueError, TypeError):  # missing or damaged
            return subject, Prepared(**read_json(record))
    took = Prepared(time.monotonic() - begun, max(memory_now() - held, 0), peak_memory())
    with write_aside(record) as aside:
        aside.write_text(json.dumps(took._asdict()) + "\n", encoding="utf-8")
    return subject, took


def _read(
    model: Base, pose: Path, backends: Backends | None, prepared: Prepared, part: Part
) -> tuple[Driving, Prepared]:
    """The motion, and the time and memory of reading it; prepared: those of the subject."""
    begun, held, peak = time.monotonic(), memory_now(), peak_memory()
    driving = read_driving(pose, float(model.config["fps"]), backends=backends, part=part)
    seconds, held = time.monotonic() - begun, max(memory_now() - held, 0.0)
    if driving.kind == "person":  # the detector may have been loaded for the subject already
        held = max(held, prepared.held)
    return driving, Prepared(seconds, held, peak_memory() if peak_memory() > peak else 0.0)


def _compare(driving: Driving, subject: Subject | None, fps: float) -> list[Finding]:
    if driving.pictures is not None:
        text = "a skeleton in colors other than OpenPose's: used as it is, nothing can be compared"
        return [Finding("warning", "skeleton", text)]
    reference = None if subject is None else subject.keypoints
    theirs = None if subject is None else subject.size
    return motion_findings(driving.keypoints, driving.size, reference, theirs, fps)


def _origin(path: Path) -> list[Finding]:
    """A note where the metadata of a file says that it was generated."""
    origin = provenance.read(path)
    if origin is None or not origin.is_generated:
        return []
    return [Finding("note", "provenance", origin.in_words())]
