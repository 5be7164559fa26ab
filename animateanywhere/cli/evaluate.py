"""The command that measures videos."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.options import (
    Json,
    MaskBackend,
    Models,
    Offline,
    OldSeer,
    PoseBackend,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.paths import RUNS

BENCHMARK = "Benchmark options"


def evaluate(
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="VIDEO|RUN",
            exists=True,
            show_default="none, with --bench only",
            help="A video of any tool, or the folder of a run, whose videos are all measured.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            exists=True,
            show_default="the subject of the run",
            help="The person who should be seen: a video, a picture or a subject folder.",
        ),
    ] = None,
    pose: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            exists=True,
            show_default="the file that the video's JSON file names",
            help="Motion that was to be followed: a video of a person, a skeleton video or a "
            "poses.json, or the folder that it is in.",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            show_default="the one in the video's JSON file",
            help="Prompt that the video was made with.",
        ),
    ] = None,
    detector: Annotated[
        Literal["auto", "puppets", "backends"],
        typer.Option(
            help="What finds the person in a video: puppets is the bundled network, for rendered "
            "people only; backends are --pose-backend and --mask-backend; auto decides by the run.",
        ),
    ] = "auto",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Look at 16 frames and load no network for likeness; with --bench, learn fewer "
            "people in fewer steps.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="runs/evaluate/NAME; with --bench runs/bench, runs/bench-swap or "
            "runs/bench-cast",
            help="Folder for metrics.json, tables and contact sheets.",
        ),
    ] = None,
    as_json: Json = False,
    bench: Annotated[
        Literal["puppets", "swap", "cast"] | None,
        typer.Option(
            show_default="none",
            rich_help_panel=BENCHMARK,
            help="Run a benchmark on rendered people instead of measuring a video: puppets learns "
            "them, swap puts them into scenes as `aa swap` does, cast makes videos of them from "
            "one picture as `aa cast` does.",
        ),
    ] = None,
    subjects: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default="12, 24 for swap, or 3 with --fast",
            rich_help_panel=BENCHMARK,
            help="Number of people.",
        ),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            show_default="all, or some of them with --fast",
            rich_help_panel=BENCHMARK,
            help="Methods to compare, separated by commas, such as ours,dreambooth; a + joins two.",
        ),
    ] = "",
    hard: Annotated[
        bool,
        typer.Option(
            "--hard",
            rich_help_panel=BENCHMARK,
            help="Learn from textured scenes that are not named, with a moving camera and twice "
            "the steps.",
        ),
    ] = False,
    people: Annotated[
        Literal["plain", "detailed"] | None,
        typer.Option(
            show_default="as in the corpus of the base",
            rich_help_panel=BENCHMARK,
            help="Learn people whose clothes and hair can be named, or people with prints, "
            "scarves, tattoos and faces that words describe coarsely or not at all.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="mini, or mini-swap or mini-cast with --bench swap or cast",
            rich_help_panel=BENCHMARK,
            help="Base model to measure: a name that `aa bases` lists as ready, or its folder.",
        ),
    ] = None,
    ablations: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            show_default="none",
            rich_help_panel=BENCHMARK,
            help="With --bench swap: train this recipe for swaps, such as mini-swap or the path of "
            "a shorter one, and the paper's ablations of it, and compare these bases.",
        ),
    ] = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    models: Models = None,
    offline: Offline = False,
    _seer: OldSeer = None,
) -> None:
    """Measure a video, also one of another tool, or all videos of a run.

    Measures poses, likeness to the reference, match with the prompt, leakage of the reference's
    background, steadiness and motion, as far as the options and the weights at hand allow, and says
    what it left out.

    With --bench, people whose true videos are known are learned and generated by this method and by
    those that it is compared with. To resume after a stop, run the same command again.

    Example: aa evaluate video.mp4 --reference clip.mp4 --pose dance.mp4

    Example: aa evaluate --bench puppets --fast

    Example: aa evaluate --bench swap --fast

    Example: aa evaluate --bench swap --ablations mini-swap

    Example: aa evaluate --bench cast --fast
    """
    if (target is None) == (bench is None):
        raise UsageError(
            "what to evaluate? give a video, the folder of a run, or --bench puppets, swap or cast"
        )
    if bench is None and (subjects or methods or hard or people):
        raise UsageError("--subjects, --methods, --hard and --people belong to --bench")
    if bench in ("swap", "cast") and (hard or people):
        raise UsageError("--hard and --people belong to --bench puppets")
    if ablations is not None and bench == "cast":
        raise UsageError(
            "--ablations belongs to --bench swap; --bench cast takes them by --methods, such as "
            "third,no_emphasis, and the recipe from its --base"
        )
    if ablations is not None and (bench != "swap" or base is not None):
        raise UsageError(
            "--ablations belongs to --bench swap, and trains its bases: leave --base out"
        )
    require_writable(out or RUNS)
    from animateanywhere.preprocessing.weights import WeightsLocation

    names = [name.strip() for name in methods.split(",") if name.strip()]
    if ablations is not None:
        from animateanywhere.commands.swap_ablations import swap_ablations

        place = out or RUNS / "bench-swap"
        return result(swap_ablations(ablations, place, subjects=subjects, methods=names, fast=fast))
    if bench == "swap":
        from animateanywhere.commands.swap_benchmark import swap_benchmark

        return result(
            swap_benchmark(
                out or RUNS / "bench-swap",
                subjects=subjects,
                methods=names,
                fast=fast,
                base=base or "mini-swap",
            )
        )
    if bench == "cast":
        from animateanywhere.commands.cast_benchmark import cast_benchmark

        folder = cast_benchmark(
            out or RUNS / "bench-cast",
            subjects=subjects,
            methods=names,
            fast=fast,
            base=base or "mini-cast",
        )
        if as_json:
            found = folder / f"metrics-cast{'-fast' * fast}.json"
            return typer.echo(found.read_text(encoding="utf-8"), nl=False)
        return result(folder)
    if target is None:
        from animateanywhere.commands.benchmark import benchmark

        folder = benchmark(
            out or RUNS / "bench",
            subjects=subjects,
            methods=names,
            fast=fast,
            hard=hard,
            people=people,
            base=base or "mini",
            models=WeightsLocation(models, offline),
        )
        return result(folder)
    from animateanywhere.commands import evaluate as command
    from animateanywhere.preprocessing.backends import Backends

    backends = Backends(pose_backend, mask_backend, location=WeightsLocation(models, offline))
    evaluation = command.evaluate(
        target,
        reference=reference,
        pose=pose,
        prompt=prompt,
        out=out,
        detector=detector,
        fast=fast,
        backends=backends,
    )
    command.show(evaluation)
    if as_json:
        typer.echo(command.to_json(evaluation))
    else:
        result(evaluation.out)
