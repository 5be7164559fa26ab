"""The command that prepares a corpus for base training."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.options import Base
from animateanywhere.core.files import require_writable


def corpus(
    action: Annotated[
        Literal["encode"],
        typer.Argument(metavar="encode", help="What to do: compute the latents of a corpus."),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS",
            exists=True,
            file_okay=False,
            help="Folder of a corpus: of shards, or of clips and pictures with poses and captions.",
        ),
    ],
    base: Base = "mini",
) -> None:
    """Compute the latents of a corpus before base training, which then reads nothing else.

    They are written into the corpus, for the VAE, frame sizes and frame rate of --base; `aa
    base-train` finds them there, and computes them by itself where they are missing. Processes of
    `accelerate launch` share the work. To resume after a stop, run the same command again.

    Example: aa corpus encode runs/corpus --base mini
    """
    require_writable(folder)
    from animateanywhere.commands import corpus_encode as command

    result(command.corpus_encode(folder, base))
