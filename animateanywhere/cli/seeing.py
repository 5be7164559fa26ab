"""Commands that show and look: bases, the demo, rendered people, subjects, checks, measures."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import app, result
from animateanywhere.cli.options import (
    Base,
    Caption,
    CaptionModel,
    ClassWord,
    Clip,
    Fallback,
    Mask,
    MaskBackend,
    Models,
    Offline,
    Out,
    Pose,
    PoseBackend,
    Recipe,
    Scene,
    Seed,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.naming import check_class_word
from animateanywhere.core.paths import RUNS


@app.command("bases")
def _bases() -> None:
    """List the bases: size, license, which are ready, how to get the others.

    Example: aa bases
    """
    from animateanywhere.commands.bases import bases, show

    rows = bases()
    show(rows)
    for row in rows:
        if row.ready and not sys.stdout.isatty():
            typer.echo(row.name)


@app.command("demo")
def _demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/demo"),
    fast: Annotated[bool, typer.Option("--fast", help="A few steps, just to see it run.")] = False,
) -> None:
    """Learn a bundled person, generate three videos, measure and show them.

    Example: aa demo --out runs/demo
    """
    require_writable(out)
    from animateanywhere.commands.demo import demo

    result(demo(out, fast=fast))


@app.command("puppets")
def _puppets(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")],
    seed: Seed = 0,
    split: Annotated[Literal["train", "held-out"], typer.Option(help="Whom to show.")] = "train",
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip, 8 a second.")] = 16,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Pixels a side.")] = 128,
) -> None:
    """Render people with exact masks, poses and captions.

    Example: aa puppets --out runs/puppets --clips 8
    """
    require_writable(out)
    from animateanywhere.media.video import write
    from animateanywhere.puppets import write_clips

    write_clips(out, clips, seed=seed, split=split, frames=frames, size=size, encode=write)
    result(out)


@app.command("prepare")
def _prepare(
    video: Clip,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/subject"),
    scene: Scene = None,
    class_word: ClassWord = None,
    pose: Pose = "auto",
    mask: Mask = "auto",
    caption: Caption = "template",
    caption_model: CaptionModel = None,
    caption_fallback: Fallback = None,
    models: Models = None,
    offline: Offline = False,
) -> None:
    """Turn a video into a subject folder: frames, masks, poses, captions, report.

    Example: aa prepare my_video.mp4 --scene "in a room"
    """
    check_class_word(class_word)
    require_writable(out)
    from animateanywhere.commands.prepare import prepare
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    place = WeightsLocation(models, offline)
    backends = Backends(pose, mask, caption, caption_model, caption_fallback, place)
    prepare(video, out, scene=scene, class_word=class_word, backends=backends)
    result(out)


@app.command("check")
def _check(
    video: Clip,
    pose: Annotated[Path | None, typer.Option(exists=True, help="Motion to follow.")] = None,
    base: Base = "mini",
    recipe: Recipe = None,
    class_word: ClassWord = None,
    out: Annotated[Path | None, typer.Option(help="Subject folder, else in runs/check.")] = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    models: Models = None,
    offline: Offline = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say what is wrong with a video, before any work.

    Looks over the VIDEO to learn from, and the --pose to follow, and foretells time and memory of
    `aa personalize` and `aa generate`, from a few steps of them.

    The verdict is ready or usable with warnings (exit code 0) or unusable (1).

    Example: aa check my_video.mp4 --pose dance.mp4
    """
    check_class_word(class_word)
    require_writable(out or RUNS)
    from animateanywhere.commands.check import check, show, to_json
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    backends = Backends(pose_backend, mask_backend, location=WeightsLocation(models, offline))
    report = check(
        video,
        pose,
        base=base or "mini",
        recipe=recipe,
        class_word=class_word,
        out=out,
        backends=backends,
    )
    if as_json:
        typer.echo(to_json(report))
    else:
        show(report)
    if report.verdict == "unusable":
        raise typer.Exit(1)


@app.command("evaluate")
def _evaluate(
    target: Annotated[
        Path | None,
        typer.Argument(metavar="VIDEO|RUN", exists=True, help="Any video; or a run's folder."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(exists=True, help="The person: clip, picture, subject folder.")
    ] = None,
    pose: Annotated[
        Path | None, typer.Option(exists=True, help="Motion it was to follow, or its folder.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="What it was to show.")] = None,
    out: Out = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="16 frames and no other networks; a short benchmark.")
    ] = False,
    bench: Annotated[
        Literal["puppets"] | None, typer.Option(help="The benchmark on rendered people instead.")
    ] = None,
    subjects: Annotated[int | None, typer.Option(min=1, help="People of the benchmark.")] = None,
    methods: Annotated[
        str, typer.Option(help="Of the benchmark: ours,dreambooth,... else all.")
    ] = "",
    hard: Annotated[
        bool, typer.Option("--hard", help="Benchmark: scene not named, camera moves, more steps.")
    ] = False,
    base: Base = "mini",
    seer: Annotated[
        Literal["auto", "puppets", "backends"],
        typer.Option(help="Who sees persons: puppets for rendered ones; auto knows which."),
    ] = "auto",
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    models: Models = None,
    offline: Offline = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure a video, also another tool's, or all videos of a run.

    Pose, likeness to the reference, prompt, leak of its scene, steadiness and motion, as far as
    the options and the weights at hand allow; what is left out is said.

    With --bench, people whose true videos are known are learned and generated, by our method and by
    those it is compared with; to go on after a stop, run the same command again.

    Example: aa evaluate video.mp4 --reference clip.mp4 --pose dance.mp4

    For the benchmark: aa evaluate --bench puppets --fast
    """
    if (target is None) == (bench is None):
        raise UsageError("what to evaluate? give a video, the folder of a run, or --bench puppets")
    if bench is None and (subjects or methods or hard):
        raise UsageError("--subjects, --methods and --hard belong to --bench puppets")
    from animateanywhere.preprocessing.weights import WeightsLocation

    require_writable(out or RUNS)
    if target is None:
        from animateanywhere.commands.benchmark import benchmark

        names = [name.strip() for name in methods.split(",") if name.strip()]
        folder = benchmark(
            out or Path("runs/bench"),
            subjects=subjects,
            methods=names,
            fast=fast,
            hard=hard,
            base=base or "mini",
            models=WeightsLocation(models, offline),
        )
        return result(folder)
    from animateanywhere.commands.evaluate import evaluate, show, to_json
    from animateanywhere.preprocessing.backends import Backends

    backends = Backends(pose_backend, mask_backend, location=WeightsLocation(models, offline))
    made = evaluate(
        target,
        reference=reference,
        pose=pose,
        prompt=prompt,
        out=out,
        seer=seer,
        fast=fast,
        backends=backends,
    )
    show(made)
    if as_json:
        typer.echo(to_json(made))
    else:
        result(made.out)
