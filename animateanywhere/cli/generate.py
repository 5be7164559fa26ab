"""The command that generates videos."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.options import (
    SAMPLING,
    BaseOfWeights,
    FrameAspect,
    FrameSize,
    Models,
    MotionFrames,
    MotionStart,
    Offline,
    OldLooks,
    Overwrite,
    PersonToFollow,
    PoseBackend,
    PoseFps,
    Seed,
    Steps,
    frame_shape,
    scale_of,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.formats import GIF_FPS, format_of
from animateanywhere.core.paths import RUNS


def generate(
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT", help='Who is to be seen and where, such as "sks man on a beach".'
        ),
    ],
    pose: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            exists=True,
            help="Motion to follow: a video of a person, a skeleton video or a poses.json.",
        ),
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:SCALE]",
            show_default="the newest in runs/ whose token the prompt names",
            help="Personal weights and their strength, from 0 to 2 and 1 where it is left out. "
            "Give it again to add the weights of another run.",
        ),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:SCALE]",
            show_default="none",
            help="LoRA that another tool made for the same base, such as LCM or a style, and its "
            "strength, from 0 to 2. Give it again to add another one.",
        ),
    ] = None,
    late_only: Annotated[
        bool,
        typer.Option(
            "--late-only",
            help="Use the personal weights in the last quarter of the steps only, and the base "
            "alone before.",
        ),
    ] = False,
    base: BaseOfWeights = None,
    negative: Annotated[
        str,
        typer.Option(
            metavar="WORDS",
            show_default="none",
            help="What is not to be seen, such as blurry or extra fingers. It needs a guidance "
            "scale above 1.",
        ),
    ] = "",
    appearance: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            show_default="as learned",
            help="Hair and clothes of the person, in words that are added to the prompt; "
            '"" adds none.',
        ),
    ] = None,
    fit: Annotated[
        Literal["none", "frame", "bones"],
        typer.Option(
            help="How the skeleton is fitted to the learned person: none keeps it as it is, frame "
            "gives it the person's height and place, bones also the lengths of the person's bones.",
        ),
    ] = "bones",
    collage: Annotated[
        bool | None,
        typer.Option(
            "--collage/--no-collage",
            show_default="from the base: on with mini",
            help="Lay the learned person's own limbs, of the clip beside the weights and turned "
            "onto the bones of the motion, over what the network drew: prints and faces that a "
            "small network does not draw. Clothes are the person's own, whatever the prompt says.",
        ),
    ] = None,
    steady_background: Annotated[
        bool | None,
        typer.Option(
            "--steady-background/--no-steady-background",
            show_default="from the base: on with mini, where limbs are laid",
            help="Steady what trembles from frame to frame behind the person, but not what really "
            "moves, by medians over time.",
        ),
    ] = None,
    person: PersonToFollow = None,
    frames: MotionFrames = None,
    start: MotionStart = 0,
    pose_fps: PoseFps = None,
    size: FrameSize = None,
    aspect: FrameAspect = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="a new file in runs/TOKEN",
            help="File to write: .mp4, .webm, .gif, .webp, or a name without a suffix for a folder "
            "of PNG pictures. A JSON file beside it records all settings.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    fps: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=1,
            max=120,
            show_default="that of the base",
            help="Frames per second of the file. Generation keeps the base's rate: frames are "
            "repeated or left out, and none is made in between.",
        ),
    ] = None,
    loop: Annotated[
        bool,
        typer.Option(
            "--loop",
            help="Let the end of the video lead to its beginning. If the motion does not end where "
            "it begins, the video plays forth and back.",
        ),
    ] = False,
    no_audio: Annotated[
        bool,
        typer.Option("--no-audio", help="Leave out the sound of the driving video."),
    ] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="none",
            help="PNG file to write as well: the skeleton before and after fitting, and the video.",
        ),
    ] = None,
    steps: Steps = None,
    guidance: Annotated[
        float | None,
        scale_of("Scale of classifier-free guidance: the higher, the closer to the prompt."),
    ] = None,
    sampler: Annotated[
        Literal["ddim", "dpm++", "lcm", "unipc"] | None,
        typer.Option(
            metavar="NAME",
            show_default="from the base",
            rich_help_panel=SAMPLING,
            help="Sampler: ddim, dpm++, lcm (for an LCM LoRA) or unipc (for Wan-based models).",
        ),
    ] = None,
    free_noise: Annotated[
        bool,
        typer.Option(
            "--free-noise",
            rich_help_panel=SAMPLING,
            help="Start all windows of a long video from the same noise (FreeNoise).",
        ),
    ] = False,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            rich_help_panel=SAMPLING,
            help="Compile the network first. This takes about a minute and makes each step faster.",
        ),
    ] = False,
    pose_backend: PoseBackend = "auto",
    models: Models = None,
    offline: Offline = False,
    _looks: OldLooks = None,
) -> None:
    """Generate a video of the prompt that follows a motion.

    The prompt says who and where, --pose how to move. The same arguments give the same video. A
    word in brackets counts more, as in "(red hat:1.3)" or "(red hat)", or less, as in "[red hat]".

    Example: aa generate "sks man on a beach" --pose dance.mp4
    """
    shape = frame_shape(size, aspect)
    suffix = format_of(out or RUNS / "any.mp4")
    if suffix == ".gif" and (fps or 0) > GIF_FPS:
        raise UsageError(f"--fps {fps:g}: a GIF shows at most {GIF_FPS:g} frames per second")
    check_file("--contact-sheet", contact_sheet, ".png")
    from animateanywhere.commands import generate as command
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    files = [_scaled("--weights", text) for text in weights or []]
    first, scale = files[0] if files else (None, 1.0)
    video = command.generate(
        prompt,
        pose,
        command.GenerateOptions(
            weights=first,
            scale=scale,
            others=files[1:],
            lora=[_scaled("--lora", text) for text in lora or []],
            late_only=late_only,
            base=base,
            out=out,
            overwrite=overwrite,
            seed=seed,
            frames=frames,
            size=shape[0],
            aspect=shape[1],
            appearance=appearance,
            negative=negative,
            guidance_scale=guidance,
            steps=steps,
            sampler=sampler,
            fit=fit,
            collage=collage,
            steady_background=steady_background,
            person=person,
            free_noise=free_noise,
            compiled=compiled,
            part=Part(start, None, pose_fps),
            fps=fps,
            loop=loop,
            no_audio=no_audio,
            contact_sheet=contact_sheet,
            backends=Backends(pose_backend, location=WeightsLocation(models, offline)),
        ),
    )
    result(video)


def _scaled(flag: str, text: str) -> tuple[Path, float]:
    """A file of weights and its scale, of FILE or FILE:SCALE; a file's name may hold a colon."""
    if Path(text).exists():
        return Path(text), 1.0
    name, colon, scale = text.rpartition(":")
    if not colon:
        raise UsageError(f"{flag} {text}: there is no such file")
    value = -1.0
    with suppress(ValueError):
        value = float(scale)
    if not 0 <= value <= 2:
        raise UsageError(f"{flag} {text}: give a file, or FILE:SCALE, 0 to 2, as {name}:0.8")
    if not Path(name).exists():
        raise UsageError(f"{flag} {name}: there is no such file")
    return Path(name), value


def check_file(flag: str, path: Path | None, suffix: str) -> None:
    """Raise UsageError where a file to write has another suffix, or cannot be written."""
    if path is None:
        return
    if path.suffix.lower() != suffix or path.is_dir():
        raise UsageError(f"{flag} {path}: give the name of a {suffix} file")
    require_writable(path.parent)
