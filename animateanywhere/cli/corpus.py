"""The command that builds, checks, shows and encodes a corpus for base training."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.options import (
    Base,
    Caption,
    CaptionFallback,
    CaptionModel,
    Json,
    MaskBackend,
    Models,
    Offline,
    PoseBackend,
    Seed,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable

BUILD = "Options of build"
PAIRS = "Options of pairs"
TAKEN = {
    "check": {"as_json"}, "show": {"out"}, "encode": {"base"},
    "pairs": {"out", "as_json", "seed", "per_folder", "edit", "pose_backend", "mask_backend",
              "caption_model", "models", "offline"},
}  # fmt: skip
NOT_OF_BUILD = {"base", "per_folder", "edit"}


def _require_options_of(action: str, context: typer.Context) -> None:
    """Raise UsageError for an option of another action."""
    for one in context.command.params:
        name = one.name or ""
        source = context.get_parameter_source(name)
        known = name not in NOT_OF_BUILD if action == "build" else name in TAKEN[action]
        given = source is not None and source.name == "COMMANDLINE"
        if given and not known and name not in ("action", "paths"):
            raise UsageError(f"aa corpus {action}: {one.opts[0]} does not belong to {action}")


def corpus(
    context: typer.Context,
    action: Annotated[
        Literal["build", "check", "show", "encode", "pairs"],
        typer.Argument(
            metavar="build|check|show|encode|pairs",
            show_default="required",
            help="What to do: build a corpus, check all of one, write a page that shows it, "
            "compute its latents before training, or write it again with reference pictures of "
            "each person.",
        ),
    ],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATHS",
            show_default="none, for build with --puppets",
            help="For build: videos, pictures, folders of them, and manifests (.csv or .jsonl with "
            "the columns path, caption, license, start, end and reference). For the others: "
            "the folder of a corpus.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="required for build and pairs; the corpus, for show",
            help="Folder to write: the corpus, or the page of show.",
        ),
    ] = None,
    as_json: Json = False,
    base: Base = "mini",
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=BUILD,
            help="Recipe of the base that is to be trained, by its name or as a TOML file: clips "
            "get its size, frame rate and aspect ratios.",
        ),
    ] = "mini",
    puppets: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000,
            rich_help_panel=BUILD,
            help="Number of rendered people to add, with exact masks, poses and captions.",
        ),
    ] = 0,
    license: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="unknown",
            rich_help_panel=BUILD,
            help="License of the inputs, such as cc-by-4.0, where a manifest names none.",
        ),
    ] = "",
    seed: Seed = 0,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            rich_help_panel=BUILD,
            help="What the work runs on: local is this process, ray is Ray Data on all processor "
            "cores or GPUs of this machine or of the cluster at --address.",
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            show_default="none, this machine",
            rich_help_panel=BUILD,
            help="Address of the Ray cluster, such as auto or HOST:6379. Its machines must "
            "see PATHS under the same names.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default="one for each GPU, or else for each processor core",
            rich_help_panel=BUILD,
            help="Number of processes of --engine ray that each load the detectors.",
        ),
    ] = None,
    per_folder: Annotated[
        bool,
        typer.Option(
            "--per-folder",
            rich_help_panel=PAIRS,
            help="All files in one folder of the inputs show one person, so that a clip gets "
            "pictures from the others; without it, only the shots of one file may.",
        ),
    ] = False,
    edit: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            show_default="none: pictures from other clips of the person",
            rich_help_panel=PAIRS,
            help="Image-editing model that changes pose, place and light of a frame, a folder or a "
            "repository of the Hugging Face hub in diffusers' format. A vision-language model "
            "(--caption-model) judges each picture.",
        ),
    ] = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    caption: Caption = "template",
    caption_model: CaptionModel = None,
    caption_fallback: CaptionFallback = None,
    models: Models = None,
    offline: Offline = False,
) -> None:
    """Build, check, show, encode or pair a corpus of people for base training.

    build cuts videos into shots, keeps those that show one person sharply and moving, finds poses
    and masks, and writes WebDataset shards. What cannot be used is set aside, with the reason, in
    rejected.jsonl. To resume after a stop, run the same command again.

    check reads every sample and reports damage, poses out of the frame, missing captions,
    near-duplicates and licenses; exit code 1 if something is damaged or missing. show writes
    contact_sheet.png and report.html. encode computes the latents for the VAE, frame sizes and
    frame rate of --base, which `aa base-train` finds there, and otherwise computes by itself;
    processes of `accelerate launch` share the work. pairs writes the corpus again with reference
    pictures of each clip's person for `aa base-train cast-wan`: from other clips of the person, or
    by --edit; pairs.jsonl names each clip without, with the reason.

    Example: aa corpus build clips --out runs/corpus --license cc-by-4.0

    Example: aa corpus build --puppets 100 --out runs/corpus --engine ray

    Example: aa corpus check runs/corpus

    Example: aa corpus encode runs/corpus --base mini

    Example: aa corpus pairs runs/corpus --out runs/pairs --per-folder
    """
    _require_options_of(action, context)
    if action == "build":
        if out is None:
            raise UsageError("aa corpus build: where to? give --out FOLDER")
        if engine != "ray" and (address is not None or workers is not None):
            raise UsageError("--address and --workers belong to --engine ray")
        require_writable(out)
        from animateanywhere.commands import corpus as command
        from animateanywhere.preprocessing.backends import Backends
        from animateanywhere.preprocessing.weights import WeightsLocation

        location = WeightsLocation(models, offline)
        backends = Backends(
            pose_backend, mask_backend, caption, caption_model, caption_fallback, location
        )
        built = command.build(
            paths or [], out, puppets=puppets, recipe=recipe, license=license, seed=seed,
            backends=backends, engine=command.Engine(engine, address, workers),
        )  # fmt: skip
        typer.echo(command.to_json(built)) if as_json else result(out)
        return
    if len(paths or []) != 1:
        raise UsageError(f"aa corpus {action}: give the folder of one corpus")
    (folder,) = paths or []
    if action == "pairs":
        if out is None:
            raise UsageError("aa corpus pairs: where to? give --out FOLDER")
        require_writable(out)
        from animateanywhere.commands import corpus_pairs
        from animateanywhere.preprocessing.backends import Backends
        from animateanywhere.preprocessing.weights import WeightsLocation

        paired = corpus_pairs.pairs(
            folder, out, per_folder=per_folder, edit=edit, seed=seed,
            backends=Backends(
                pose_backend, mask_backend, caption_model=caption_model,
                location=WeightsLocation(models, offline),
            ),
        )  # fmt: skip
        typer.echo(corpus_pairs.to_json(paired)) if as_json else result(out)
        return
    if action == "encode":
        require_writable(folder)
        from animateanywhere.commands.corpus_encode import corpus_encode

        return result(corpus_encode(folder, base))
    from animateanywhere.commands import corpus_report

    if action == "show":
        require_writable(out or folder)
        return result(corpus_report.show(folder, out))
    report = corpus_report.check(folder)
    if as_json:
        typer.echo(corpus_report.to_json(report))
    else:
        corpus_report.print_report(report)
    if report.verdict == "unusable":
        raise typer.Exit(1)
