"""The flags that several commands of the command line share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Clip = Annotated[Path, typer.Argument(metavar="VIDEO", exists=True, help="Video of one person.")]
Out = Annotated[Path | None, typer.Option(help="Folder to write, else one in runs/.")]
Recipe = Annotated[str | None, typer.Option(help="Settings: a TOML file, or a recipe's name.")]
Base = Annotated[str | None, typer.Option(help="Base model: its name or folder.")]
Scene = Annotated[str | None, typer.Option(help='Where the video is, such as "in a room".')]
ClassWord = Annotated[str | None, typer.Option(help="Such as man or woman; else person.")]
Pose = Annotated[
    str,
    typer.Option(
        "--pose", help="What finds poses: auto, exact, vitpose, dwpose, mediapipe or openpose."
    ),
]
Mask = Annotated[
    str, typer.Option("--mask", help="What finds masks: auto, exact, grounded-sam or mediapipe.")
]
# Where --pose is a motion, as in `aa check`
PoseBackend = Annotated[str, typer.Option(help="What finds poses, as --pose of `aa prepare`.")]
MaskBackend = Annotated[str, typer.Option(help="What finds masks, as --mask of `aa prepare`.")]
Caption = Annotated[
    Literal["template", "vlm", "openai"],
    typer.Option(help="What writes captions; vlm on this machine, openai sends frames."),
]
CaptionModel = Annotated[
    str | None, typer.Option(help="Of openai, or vlm's folder or name on the hub; else a default.")
]
Fallback = Annotated[Literal["template"] | None, typer.Option(help="Where they give no answer.")]
Models = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of weights for these, else the hub."),
]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed, the same result.")]
