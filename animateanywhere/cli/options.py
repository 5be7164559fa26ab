"""The options that several commands of the command line share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Aspect, Size, parse_aspect, parse_size

PREPROCESSING = "Preprocessing options"

Clip = Annotated[
    Path,
    typer.Argument(
        metavar="VIDEO",
        exists=True,
        help="Video that shows one person for at least one second: a file or a folder of pictures.",
    ),
]
INPUT = "Part of the input"
LEAST, MOST = 8, 64  # frames of a clip to learn from
INPUT_FPS_HELP = (
    "Frames per second of {what} itself: of a folder of pictures, or of a file whose rate is wrong."
)
Start = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        rich_help_panel=INPUT,
        help="Where in VIDEO to start. What is learned from lasts at most 64 frames from there.",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=LEAST,
        max=MOST,
        show_default="64",
        rich_help_panel=INPUT,
        help="Largest number of frames of VIDEO to learn from, at the frame rate of the base.",
    ),
]
InputFps = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        min=0.01,
        max=240,
        show_default="as the file says; a folder: that of the base",
        rich_help_panel=INPUT,
        help=INPUT_FPS_HELP.format(what="VIDEO"),
    ),
]
MotionStart = Annotated[
    float,
    typer.Option(
        "--start",
        "--pose-start",
        metavar="SECONDS",
        min=0,
        rich_help_panel=INPUT,
        help="Where in the motion to start.",
    ),
]
MotionFrames = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        show_default="all of the motion, up to 512",
        help="Largest number of frames.",
    ),
]
PoseStart = Annotated[
    float,
    typer.Option(
        "--pose-start",
        metavar="SECONDS",
        min=0,
        rich_help_panel=INPUT,
        help="Where in the motion to start.",
    ),
]
PoseFps = Annotated[
    float | None,
    typer.Option(
        "--pose-fps",
        metavar="RATE",
        min=0.01,
        max=240,
        show_default="as the file says; a folder: that of the base",
        rich_help_panel=INPUT,
        help=INPUT_FPS_HELP.format(what="the motion"),
    ),
]
SceneFps = Annotated[
    float | None,
    typer.Option(
        "--scene-fps",
        metavar="RATE",
        min=0.01,
        max=240,
        show_default="as the file says; a folder: 8",
        rich_help_panel=INPUT,
        help=INPUT_FPS_HELP.format(what="the scene"),
    ),
]
SAMPLING = "Sampling options"
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1000,
        show_default="from the base",
        rich_help_panel=SAMPLING,
        help="Number of denoising steps.",
    ),
]
Sampler = Annotated[
    Literal["ddim", "dpm++", "unipc"] | None,
    typer.Option(
        metavar="NAME",
        show_default="from the base",
        rich_help_panel=SAMPLING,
        help="Sampler: ddim, dpm++ or unipc.",
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default="the one that the base names",
        help="Recipe with the settings of the training: its name, or the path of a TOML file.",
    ),
]
Base = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Base model: a name that `aa bases` lists as ready, or the path of its folder.",
    ),
]
BaseOfWeights = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default="the base that the weights were learned on",
        help="Base model: a name that `aa bases` lists as ready, or the path of its folder.",
    ),
]
Scene = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        show_default="none, or what --caption finds",
        help='Where the video was filmed, such as "in a room". '
        "Named, the place does not become a part of what the token means.",
    ),
]
FrameSize = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH",
        show_default="of about the pixels that the base was trained on",
        help="Width and height of the frames in pixels, such as 512x768. Both are multiples of 8, "
        "with Wan-based models of 16.",
    ),
]
FrameAspect = Annotated[
    str | None,
    typer.Option(
        "--aspect",
        metavar="W:H",
        show_default="source, or of those that the base was trained on the nearest",
        help="Aspect ratio of the frames, such as 9:16, 16:9, 1:1 or 4:5, or source for that of "
        "the video. The number of pixels stays about that of the base.",
    ),
]
ClassWord = Annotated[
    str | None,
    typer.Option(
        metavar="WORD",
        show_default="person",
        help="What the person is in one word, such as man or woman.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        max=2**32 - 1,
        help="Seed of the random numbers. The same seed gives the same result on one machine.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace existing files of the same name, whoever wrote them.",
    ),
]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        help="The people shown agreed to it: do not ask. At a terminal that is asked once; "
        "AA_CONSENT=yes or no answers as well.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")
]


def one_of_several(meaning: str) -> Any:
    """The option that takes the number of a person; meaning: its help."""
    return typer.Option(metavar="N", min=1, show_default="the only one", help=meaning)


def more_pictures(meaning: str) -> Any:
    """The option that takes further pictures of a person; meaning: its help."""
    return typer.Option(metavar="PICTURE", exists=True, show_default="none", help=meaning)


def scale_of(meaning: str) -> Any:
    """The option that takes a scale of guidance; meaning: its help."""
    return typer.Option(
        metavar="SCALE", min=0, max=100, show_default="from the base", rich_help_panel=SAMPLING,
        help=meaning,
    )  # fmt: skip


Person = Annotated[
    int | None,
    one_of_several(
        "Number of the person to learn where the video shows several; 1 is the most prominent. A "
        "picture with the numbers is written when there are several."
    ),
]
PersonToFollow = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        show_default="1, the most prominent",
        help="Number of the person to follow where the motion shows several. A picture with the "
        "numbers is written when there are several.",
    ),
]
PoseBackend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=PREPROCESSING,
        help="Pose detector: auto, exact, vitpose, dwpose, mediapipe (its BlazePose networks, run "
        "by LiteRT) or openpose. With auto, a file of poses beside the video is used, or the best "
        "detector that needs no download.",
    ),
]
MaskBackend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=PREPROCESSING,
        help="Segmentation of the person: auto, exact, grounded-sam or mediapipe (BlazePose). With "
        "auto, a file of masks beside the video or its alpha channel is used, or the best backend "
        "that needs no download.",
    ),
]
Caption = Annotated[
    Literal["template", "vlm", "openai"],
    typer.Option(
        metavar="NAME",
        rich_help_panel=PREPROCESSING,
        help="Caption backend: template, vlm (a vision-language model on this machine), "
        "or openai (sends a few frames to a service that speaks OpenAI's protocol).",
    ),
]
CaptionModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default="the backend's own",
        rich_help_panel=PREPROCESSING,
        help="Model that writes the captions: for vlm a folder or a repository of the Hugging Face "
        "hub, for openai the name of a model.",
    ),
]
CaptionFallback = Annotated[
    Literal["template"] | None,
    typer.Option(
        show_default="stop with an error",
        rich_help_panel=PREPROCESSING,
        help="Caption backend to fall back to when the model gives no usable answer.",
    ),
]
Models = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        show_default="the Hugging Face cache or hub",
        rich_help_panel=PREPROCESSING,
        help="Folder with the weights of detectors and other public models, one folder for each.",
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        rich_help_panel=PREPROCESSING,
        help="Download nothing and use only weights that are on this machine.",
    ),
]


def frame_shape(size: str | None, aspect: str | None) -> tuple[Size | None, Aspect | None]:
    """The values of --size and --aspect. Raises UsageError for wrong ones, and if both are
    given."""
    if size is not None and aspect is not None:
        raise UsageError("--size and --aspect: give one of them")
    return parse_size(size), parse_aspect(aspect)


def renamed(old: str, new: str) -> Any:
    """A hidden option of an earlier name, which gives the option `new` its value and warns.

    Works for one release: remove it with the next.
    """

    def take(context: typer.Context, value: str | None) -> None:
        if value is not None:
            warning = f"aa: warning: {old} is now {new}; the old name ends with the next release"
            typer.secho(warning, fg="yellow", err=True)
            name = new.removeprefix("--").replace("-", "_")
            context.default_map = {**(context.default_map or {}), name: value}

    # Eager: before the option `new` looks for its default
    return typer.Option(old, hidden=True, is_eager=True, callback=take)


OldLooks = Annotated[str | None, renamed("--looks", "--appearance")]
OldPose = Annotated[str | None, renamed("--pose", "--pose-backend")]
OldMask = Annotated[str | None, renamed("--mask", "--mask-backend")]
OldSeer = Annotated[str | None, renamed("--seer", "--detector")]
