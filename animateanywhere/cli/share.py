"""Commands that give weights away: to other tools, to a hub."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.options import BaseOfWeights, Overwrite
from animateanywhere.core.files import require_writable


def export(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS", exists=True, help="A personal.safetensors of `aa personalize`."
        ),
    ],
    kind: Annotated[
        Literal["diffusers", "kohya", "comfyui", "base"],
        typer.Option(
            "--format",
            metavar="NAME",
            help="Who is to load it: diffusers, kohya (sd-scripts) or comfyui; base writes a whole "
            "base model that knows the person.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            show_default="beside WEIGHTS",
            help="What to write: a .safetensors file for kohya, otherwise a folder.",
        ),
    ] = None,
    rank: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=512,
            help="Rank of the LoRA to which whole weights are reduced. LoRA keeps its own rank.",
        ),
    ] = 32,
    base: BaseOfWeights = None,
    overwrite: Overwrite = False,
) -> None:
    """Write personal weights in the format of another tool.

    LoRA is written exactly as learned (see the recipe personalize-lora); whole weights are reduced
    to LoRA of --rank.

    Example: aa export runs/sks/personal.safetensors --format comfyui
    """
    require_writable(weights.parent if out is None else out.parent)
    from animateanywhere.commands import export as command

    result(command.export(weights, kind, out, rank=rank, base=base, overwrite=overwrite))


def push(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            exists=True,
            help="Folder of a run, a file of personal weights, or the folder of a base.",
        ),
    ],
    repo: Annotated[
        str,
        typer.Option(
            metavar="USER/NAME",
            help="Repository to upload to. It is created where there is none yet.",
        ),
    ],
    public: Annotated[
        bool,
        typer.Option("--public", help="Create a repository that everyone can load from."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be uploaded, and upload nothing.")
    ] = False,
) -> None:
    """Upload weights or a base, with a model card, to the Hugging Face hub.

    The repository is private unless --public is given. Log in with `hf auth login`, or set
    HF_TOKEN.

    Example: aa push runs/sks --repo me/sks-man --dry-run
    """
    from animateanywhere.commands import push as command

    result(command.push(path, repo, public=public, dry_run=dry_run))
