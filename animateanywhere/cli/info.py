"""Commands that show what there is: the demo, the bases, networks, rendered people."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.options import Seed
from animateanywhere.core.files import require_writable
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import owned


def demo(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder to write everything to.")
    ] = RUNS / "demo",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="Train a fifth of the steps and generate one video and the swap."
        ),
    ] = False,
) -> None:
    """Learn a bundled person, generate three videos, put the person into another one's scene, and
    measure and show all of it.

    Takes some minutes without a GPU and needs no network. contact_sheet.png shows the videos,
    report.json has the numbers.

    Example: aa demo --out runs/demo
    """
    require_writable(out)
    from animateanywhere.commands import demo as command

    result(command.demo(out, fast=fast))


def bases() -> None:
    """List the base models: size, license, needs, and how to get them.

    Example: aa bases
    """
    from animateanywhere.commands import bases as command

    rows = command.bases()
    command.show(rows)
    for row in rows:
        if row.ready and not sys.stdout.isatty():
            typer.echo(row.name)


def models(
    action: Annotated[
        Literal["fetch"] | None,
        typer.Argument(
            metavar="fetch",
            show_default="list them",
            help="Download networks, unless they are there.",
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAMES",
            show_default="mediapipe, the default detector",
            help="Networks to download, as the list calls them.",
        ),
    ] = None,
) -> None:
    """List the networks that find people and poses or measure videos, and download them.

    `aa models fetch` downloads MediaPipe's published package by pip and keeps only the two networks
    in it, 9 MB, in the user's cache or the folder AA_CACHE. The package itself is not installed.
    Networks with other names come from their hub into its cache, after a line with their size.

    Example: aa models fetch

    Example: aa models fetch clip dino
    """
    from animateanywhere.commands import models as command

    if action == "fetch":
        for folder in command.fetch(names or ()):
            result(folder)
        return
    rows = command.models()
    command.show(rows)
    for row in rows:
        if row.ready and not sys.stdout.isatty():
            typer.echo(f"{row.name}\t{row.ready}")


def puppets(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write the clips to.")],
    clips: Annotated[int, typer.Option(metavar="N", min=1, help="Number of clips to render.")],
    split: Annotated[
        Literal["train", "held-out"],
        typer.Option(
            help="People to show: those that base models are trained on, or others.",
        ),
    ] = "train",
    frames: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of frames of each clip, 8 a second.")
    ] = 16,
    size: Annotated[
        int,
        typer.Option(
            metavar="PIXELS", min=32, max=1024, help="Width and height of the frames, in pixels."
        ),
    ] = 128,
    seed: Seed = 0,
) -> None:
    """Render people with exact masks, poses and captions.

    Such clips are what the bundled base was trained on, and good for experiments: the true video of
    everybody in every scene can be rendered.

    Example: aa puppets --out runs/puppets --clips 8
    """
    require_writable(out)
    from animateanywhere.media.video import write
    from animateanywhere.puppets import write_clips

    with owned(out, "puppets", lambda folder: any(folder.glob("clip[0-9]*.poses.json"))):
        write_clips(out, clips, seed=seed, split=split, frames=frames, size=size, encode=write)
    result(out)
