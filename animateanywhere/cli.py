"""The command line: flags in, one call of a command function, errors as one line.

Command functions are imported inside, so that `aa --help` loads no torch.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere import __version__
from animateanywhere.errors import Failure, UsageError
from animateanywhere.files import require_writable
from animateanywhere.flags import (
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
)  # fmt: skip
from animateanywhere.words import check_class_word, check_token

app = typer.Typer(
    help="One video of a person in; that person anywhere, doing anything, out.\n\n"
    "Example: aa demo --fast",
    rich_markup_mode=None,  # rich would double the time that --help takes
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"aa {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("base-train")
def _base_train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Its name or file.")] = "mini",
    out: Out = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(exists=True, help="A fine-tune of Stable Diffusion 1.5, one .safetensors."),
    ] = None,
) -> None:
    """Train a base model; without a RECIPE, one like the bundled mini.

    To resume, run the same command again.

    Example: aa base-train tiny --out runs/tiny
    """
    require_writable(out or Path("runs"))
    from animateanywhere.base_train import base_train

    _result(base_train(recipe, out, checkpoint))


@app.command("bases")
def _bases() -> None:
    """List the bases: size, license, which are ready, how to get the others.

    Example: aa bases
    """
    from animateanywhere.bases import bases, show

    rows = bases()
    show(rows)
    for row in rows:
        if row.ready and not sys.stdout.isatty():
            typer.echo(row.name)


@app.command("personalize")
def _personalize(
    video: Clip,
    token: Annotated[str, typer.Option(help="A rare word that is to mean this person.")],
    class_word: ClassWord = None,
    base: Base = "mini",
    out: Out = None,
    scene: Scene = None,
    looks: Annotated[
        str | None, typer.Option(help='Such as "in a red shirt", "" or auto; else as the recipe.')
    ] = None,
    recipe: Recipe = None,
    vram: Annotated[
        float | None,
        typer.Option(min=1, help="GB of a GPU to fit into, by LoRA if need be; else all."),
    ] = None,
    seed: Seed = 0,
    pose: Pose = "auto",
    mask: Mask = "auto",
    caption: Caption = "template",
    caption_model: CaptionModel = None,
    caption_fallback: Fallback = None,
    models: Models = None,
    offline: Offline = False,
) -> None:
    """Learn the person of one short video under a token.

    To resume, run the same command again.

    Example: aa personalize my_video.mp4 --token sks
    """
    check_token(token)
    check_class_word(class_word)
    require_writable(out or Path("runs"))
    from animateanywhere.extraction.backends import Backends
    from animateanywhere.extraction.weights import Place
    from animateanywhere.personalize import personalize

    place = Place(models, offline)
    made = personalize(
        video,
        token,
        class_word=class_word,
        base=base or "mini",
        out=out,
        scene=scene,
        looks=looks,
        recipe=recipe,
        vram=vram,
        seed=seed,
        backends=Backends(pose, mask, caption, caption_model, caption_fallback, place),
    )
    _result(made)


@app.command("generate")
def _generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help='As "sks man on a beach".')],
    pose: Annotated[Path, typer.Option(exists=True, help="Where the motion comes from.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:SCALE]", help="Else the newest of the token; may be given again, to add."
        ),
    ] = None,
    late_only: Annotated[
        bool, typer.Option("--late-only", help="Weights act in the last quarter of the steps.")
    ] = False,
    base: Base = None,
    out: Annotated[Path | None, typer.Option(help="MP4 to write, else one in runs/.")] = None,
    seed: Seed = 0,
    frames: Annotated[int | None, typer.Option(min=1, help="Else as many as --pose.")] = None,
    looks: Annotated[
        str | None, typer.Option(help='Said of the person, else as learned; "" for nothing.')
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, max=100, help="Pull of the prompt, else the base's own.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Of denoising, else the base's own.")
    ] = None,
    sampler: Annotated[Literal["ddim", "dpm++"], typer.Option()] = "dpm++",
    fit: Annotated[
        Literal["none", "frame", "bones"],
        typer.Option(help="Keep the skeleton; or give it the person's place; bone lengths too."),
    ] = "bones",
    free_noise: Annotated[
        bool, typer.Option("--free-noise", help="Of long videos: all windows from the same noise.")
    ] = False,
    contact_sheet: Annotated[Path | None, typer.Option(help="PNG to write as well.")] = None,
    models: Models = None,
    offline: Offline = False,
) -> None:
    """Make a video of PROMPT that moves as --pose: a video, a skeleton video or a poses.json.

    Example: aa generate "sks man on a beach" --pose dance.mp4
    """
    if not prompt.strip():
        raise UsageError('the prompt is empty: say who and where, such as "sks man on a beach"')
    _check_file("--out", out or Path("runs/any.mp4"), ".mp4")
    _check_file("--contact-sheet", contact_sheet, ".png")
    from animateanywhere.extraction.backends import Backends
    from animateanywhere.extraction.weights import Place
    from animateanywhere.generate import generate

    (first, scale), *others = [_scaled(text) for text in weights or []] or [(None, 1.0)]
    made = generate(
        prompt,
        pose,
        weights=first,
        scale=scale,
        others=[(file, share) for file, share in others if file is not None],
        late_only=late_only,
        base=base,
        out=out,
        seed=seed,
        frames=frames,
        looks=looks,
        guidance_scale=guidance,
        steps=steps,
        sampler=sampler,
        fit=fit,
        free_noise=free_noise,
        contact_sheet=contact_sheet,
        backends=Backends(place=Place(models, offline)),
    )
    _result(made)


@app.command("export")
def _export(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", exists=True, help="A personal.safetensors.")
    ],
    kind: Annotated[
        Literal["diffusers", "kohya", "comfyui", "base"],
        typer.Option("--format", help="Who is to load it; base: a whole base with the person."),
    ],
    out: Annotated[Path | None, typer.Option(help="File or folder, else beside WEIGHTS.")] = None,
    rank: Annotated[int, typer.Option(min=1, max=512, help="Of what is no LoRA yet.")] = 32,
    base: Base = None,
) -> None:
    """Write personal weights as other tools load them.

    LoRA is written exactly as learned (see the recipe personalize-lora), whole weights at --rank.

    Example: aa export runs/sks/personal.safetensors --format comfyui
    """
    require_writable(weights.parent if out is None else out.parent)
    from animateanywhere.export import export

    _result(export(weights, kind, out, rank=rank, base=base))


@app.command("push")
def _push(
    path: Annotated[
        Path, typer.Argument(metavar="RUN|BASE", exists=True, help="A run, its weights, or a base.")
    ],
    repo: Annotated[str, typer.Option(help="Where to, as USER/NAME.")],
    public: Annotated[bool, typer.Option("--public", help="Everyone may load it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent.")] = False,
) -> None:
    """Upload weights or a base, with a model card, to a repository of the Hugging Face hub.

    The repository is private unless --public is given.

    Example: aa push runs/sks --repo me/sks-man --dry-run
    """
    from animateanywhere.push import push

    _result(push(path, repo, public=public, dry_run=dry_run))


@app.command("demo")
def _demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/demo"),
    fast: Annotated[bool, typer.Option("--fast", help="A few steps, just to see it run.")] = False,
) -> None:
    """Learn a bundled person, generate three videos, measure and show them.

    Example: aa demo --out runs/demo
    """
    require_writable(out)
    from animateanywhere.demo import demo

    _result(demo(out, fast=fast))


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
    from animateanywhere.data.video import write
    from animateanywhere.puppets import write_clips

    write_clips(out, clips, seed=seed, split=split, frames=frames, size=size, encode=write)
    _result(out)


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
    from animateanywhere.extraction.backends import Backends
    from animateanywhere.extraction.weights import Place
    from animateanywhere.prepare import prepare

    place = Place(models, offline)
    backends = Backends(pose, mask, caption, caption_model, caption_fallback, place)
    prepare(video, out, scene=scene, class_word=class_word, backends=backends)
    _result(out)


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
    require_writable(out or Path("runs"))
    from animateanywhere.check import check, show, to_json
    from animateanywhere.extraction.backends import Backends
    from animateanywhere.extraction.weights import Place

    backends = Backends(pose_backend, mask_backend, place=Place(models, offline))
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
    from animateanywhere.extraction.weights import Place

    require_writable(out or Path("runs"))
    if target is None:
        from animateanywhere.evaluation.bench import benchmark

        names = [name.strip() for name in methods.split(",") if name.strip()]
        folder = benchmark(
            out or Path("runs/bench"),
            subjects=subjects,
            methods=names,
            fast=fast,
            hard=hard,
            base=base or "mini",
            models=Place(models, offline),
        )
        return _result(folder)
    from animateanywhere.evaluate import evaluate, show, to_json
    from animateanywhere.extraction.backends import Backends

    backends = Backends(pose_backend, mask_backend, place=Place(models, offline))
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
        _result(made.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aa` and return its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _quiet()
    debug = os.environ.get("AA_DEBUG", "0") not in ("", "0")
    try:
        code = app(arguments, prog_name="aa", standalone_mode=False)
    except typer.TyperException as error:  # Typer's own words on wrong flags
        return _fail(error.format_message(), 2)
    except (UsageError, Failure) as error:
        if debug:
            traceback.print_exc()
        return _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, ImportError | RuntimeError):
            from animateanywhere.extraction.openpose import torchvision_fault

            if why := torchvision_fault():
                return _fail(why, 2)
        hint = "" if debug else "; set AA_DEBUG=1 for the traceback"
        return _fail(f"unexpected {type(error).__name__}: {error}{hint}", 1)
    if code == 130:
        return _fail("stopped; to go on, run the same command again", 130)
    return code if isinstance(code, int) else 0


def _result(path: Path | str) -> None:
    """Give a script the place of what was made; a person at a terminal was told by the command."""
    from animateanywhere.console import is_first

    if not sys.stdout.isatty() and is_first():
        typer.echo(path)


def _fail(message: str, code: int) -> int:
    typer.secho(f"aa: {' '.join(message.split())}", fg="red", err=True)
    return code


def _quiet() -> None:
    """Keep the libraries' own chatter out of the user's terminal, unless asked for."""
    for name, value in {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "GLOG_minloglevel": "2",
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }.items():
        os.environ.setdefault(name, value)


def _scaled(text: str) -> tuple[Path | None, float]:
    """A file of weights and its scale, of FILE or FILE:SCALE."""
    name, _, scale = text.rpartition(":")
    path, value = (Path(text), 1.0) if Path(text).exists() or not name else (Path(name), -1.0)
    if value < 0:
        with suppress(ValueError):
            value = float(scale)
    if not 0 <= value <= 2:
        raise UsageError(f"--weights {text}: give a file, or FILE:SCALE, 0 to 2, as {name}:0.8")
    if not path.exists():
        raise UsageError(f"--weights {path}: there is no such file")
    return path, value


def _check_file(flag: str, path: Path | None, suffix: str) -> None:
    if path is None:
        return
    if path.suffix.lower() != suffix or path.is_dir():
        raise UsageError(f"{flag} {path}: give the name of a {suffix} file")
    require_writable(path.parent)
