"""Commands that come before any long work: a subject folder, a check of the files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.options import (
    INPUT,
    INPUT_FPS_HELP,
    LEAST,
    MOST,
    Base,
    Caption,
    CaptionFallback,
    CaptionModel,
    ClassWord,
    Clip,
    FrameAspect,
    Frames,
    FrameSize,
    InputFps,
    Json,
    MaskBackend,
    Models,
    MotionFrames,
    MotionStart,
    Offline,
    OldMask,
    OldPose,
    Overwrite,
    Person,
    PersonToFollow,
    PoseBackend,
    PoseFps,
    PoseStart,
    Recipe,
    Scene,
    Start,
    frame_shape,
    more_pictures,
    one_of_several,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.naming import check_class_word
from animateanywhere.core.paths import RUNS


def prepare(
    video: Clip,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Subject folder to write.")] = (
        RUNS / "subject"
    ),
    scene: Scene = None,
    class_word: ClassWord = None,
    person: Person = None,
    start: Start = 0,
    frames: Frames = None,
    input_fps: InputFps = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            show_default="128x128",
            help="Width and height in pixels that the crops are scaled to.",
        ),
    ] = None,
    aspect: Annotated[
        str | None,
        typer.Option(
            metavar="W:H",
            show_default="1:1",
            help="Aspect ratio of the crops, such as 9:16, or source for that of the video. They "
            "have about as many pixels as 128x128.",
        ),
    ] = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    caption: Caption = "template",
    caption_model: CaptionModel = None,
    caption_fallback: CaptionFallback = None,
    models: Models = None,
    offline: Offline = False,
    _pose: OldPose = None,
    _mask: OldMask = None,
) -> None:
    """Turn a video into a subject folder: frames, masks, poses, captions.

    Its report.html shows all of them. What you correct in the folder is kept when the command runs
    again. `aa personalize` prepares its video by itself.

    Example: aa prepare my_video.mp4 --scene "in a room"
    """
    check_class_word(class_word)
    frame, ratio = frame_shape(size, aspect)
    require_writable(out)
    from animateanywhere.commands import prepare as command
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    location = WeightsLocation(models, offline)
    backends = Backends(
        pose_backend, mask_backend, caption, caption_model, caption_fallback, location
    )
    command.prepare(
        video, out, scene=scene, class_word=class_word, size=frame, aspect=ratio,
        backends=backends, person=person, part=Part(start, frames, input_fps),
    )  # fmt: skip
    result(out)


def check(
    video: Clip,
    pose: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            show_default="none",
            help="Motion to check as well: a video of a person, a skeleton video or a poses.json.",
        ),
    ] = None,
    scene: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO",
            exists=True,
            show_default="none",
            help="Check for `aa swap` instead: a scene, and VIDEO is a picture of the character.",
        ),
    ] = None,
    cast: Annotated[
        bool,
        typer.Option("--cast", help="Check for `aa cast` instead: VIDEO is a picture of a person."),
    ] = False,
    also: Annotated[
        list[Path] | None,
        more_pictures("Another picture of the same person, with --scene or --cast."),
    ] = None,
    base: Base = "mini",
    recipe: Recipe = None,
    class_word: ClassWord = None,
    place: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            show_default="none",
            help="Where the video was filmed: what `aa prepare` and `aa personalize` call --scene.",
        ),
    ] = None,
    person: Person = None,
    character_person: Annotated[
        int | None,
        one_of_several(
            "With --scene, number of the character where the picture shows several persons."
        ),
    ] = None,
    size: FrameSize = None,
    aspect: FrameAspect = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="runs/check/VIDEO/subject; for a scene, where `aa swap` reads it",
            help="Folder to write, with what was found in the video, scene or picture.",
        ),
    ] = None,
    as_json: Json = False,
    start: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            rich_help_panel=INPUT,
            help="Where to start in VIDEO, or in the scene of --scene.",
        ),
    ] = 0,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default="64; of a scene all, up to 9000",
            rich_help_panel=INPUT,
            help="Largest number of frames: of VIDEO 8 to 64, at the frame rate of the base; with "
            "--scene, of the scene, at its own rate, at most 30 a second.",
        ),
    ] = None,
    input_fps: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            min=0.01,
            max=240,
            show_default="as the file says; a folder: that of the base, of a scene 8",
            rich_help_panel=INPUT,
            help=INPUT_FPS_HELP.format(what="VIDEO itself, with --scene of the scene"),
        ),
    ] = None,
    pose_start: PoseStart = 0,
    pose_fps: PoseFps = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    models: Models = None,
    offline: Offline = False,
) -> None:
    """Check a video and a motion before any long work.

    Reports what is wrong with the video to learn from and with the motion of --pose, and estimates
    time and memory of `aa personalize` and `aa generate` from a few steps of each. The subject
    folder that it writes can be corrected and given to `aa personalize` in place of the video. With
    --scene, reports what is wrong with a character and a scene for `aa swap`, and how they suit
    each other; with --cast, what a picture shows for `aa cast`, and what would be made up.

    The verdict is "ready" or "usable with warnings", both with exit code 0, or "unusable", with
    exit code 1.

    Example: aa check my_video.mp4 --pose dance.mp4
    """
    check_class_word(class_word)
    shape = frame_shape(size, aspect)
    require_writable(out or RUNS)
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    backends = Backends(pose_backend, mask_backend, location=WeightsLocation(models, offline))
    if (pose is not None) + (scene is not None) + cast > 1:
        raise UsageError(
            "--scene is for `aa swap`, --cast for `aa cast`, --pose for `aa generate`: give one of "
            "them"
        )
    if also and scene is None and not cast:
        raise UsageError("--also: only with --scene or --cast; one clip is learned")
    if character_person is not None and scene is None:
        raise UsageError("--character-person: only with --scene")
    of_clips: dict[str, object] = {
        "--recipe": recipe, "--class-word": class_word, "--place": place, "--size": size,
        "--aspect": aspect,
    }  # fmt: skip
    if cast:
        of_clips |= {"--start": start or None, "--frames": frames, "--input-fps": input_fps}
    if scene is None and not cast and frames is not None and not LEAST <= frames <= MOST:
        raise UsageError(
            f"--frames {frames}: a video to learn from has {LEAST} to {MOST}; of a scene (--scene) "
            "any number can be checked"
        )
    for name, value in of_clips.items() if scene is not None or cast else ():
        if value is not None:
            raise UsageError(f"{name}: not with {'--cast' if cast else '--scene'}")
    pictures, part = [video, *(also or ())], Part(start, frames, input_fps)
    if scene is not None:
        from animateanywhere.commands.scene_folder import require_idle_folder

        if out is None:
            require_idle_folder(scene)  # before what follows is loaded
        from animateanywhere.commands.check_swap import check_swap

        found = check_swap(
            pictures, scene, person=person, character_person=character_person,
            base=None if base == "mini" else base, out=out, backends=backends, part=part,
        )  # fmt: skip
        return _report(found, as_json)
    if cast:
        from animateanywhere.commands.check_cast import check_cast

        return _report(check_cast(pictures, person=person, out=out, backends=backends), as_json)
    from animateanywhere.commands.check import check as check_clip

    report = check_clip(
        video,
        pose,
        base=base,
        recipe=recipe,
        class_word=class_word,
        scene=place,
        size=shape[0],
        aspect=shape[1],
        person=person,
        out=out,
        backends=backends,
        part=part,
        pose_part=Part(pose_start, None, pose_fps),
    )
    _report(report, as_json)


def _report(report: Any, as_json: bool) -> None:
    """Print a report; ends with code 1 if it says "unusable"."""
    from animateanywhere.commands import check_report

    if as_json:
        typer.echo(check_report.to_json(report))
    else:
        check_report.show(report)
    if report.verdict == "unusable":
        raise typer.Exit(1)


def pose(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="VIDEO",
            exists=True,
            help="Motion: a video of a person, a skeleton video or a poses.json.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="What to write: a .mp4 file or a folder of PNG pictures, with skeletons in "
            "OpenPose's colors, or a .json file with the keypoints.",
        ),
    ],
    person: PersonToFollow = None,
    frames: MotionFrames = None,
    start: MotionStart = 0,
    pose_fps: PoseFps = None,
    overwrite: Overwrite = False,
    pose_backend: PoseBackend = "auto",
    models: Models = None,
    offline: Offline = False,
) -> None:
    """Write the motion of a video as skeleton pictures, for ControlNets in other tools.

    The skeleton keeps its size and place; `aa generate` needs no such file, and fits the motion to
    the learned person.

    Example: aa pose dance.mp4 --out skeletons.mp4
    """
    require_writable(out.parent)
    from animateanywhere.commands import pose as command
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    backends = Backends(pose_backend, location=WeightsLocation(models, offline))
    part = Part(start, frames, pose_fps)
    result(command.pose(source, out, backends, person, part, overwrite))
