"""Commands that make something: a base, a person's weights, videos, files for other tools."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import app, result
from animateanywhere.cli.options import (
    Base,
    Caption,
    CaptionModel,
    ClassWord,
    Clip,
    Fallback,
    Mask,
    Models,
    Offline,
    Out,
    Pose,
    Recipe,
    Scene,
    Seed,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.naming import check_class_word, check_token
from animateanywhere.core.paths import RUNS


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
    require_writable(out or RUNS)
    from animateanywhere.commands.base_train import base_train

    result(base_train(recipe, out, checkpoint))


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
    require_writable(out or RUNS)
    from animateanywhere.commands.personalize import personalize
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    place = WeightsLocation(models, offline)
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
    result(made)


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
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:SCALE]", help="Another tool's LoRA on the base: LCM, a style."),
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
    sampler: Annotated[
        Literal["ddim", "dpm++", "lcm", "unipc"] | None, typer.Option(help="Else the base's own.")
    ] = None,
    fit: Annotated[
        Literal["none", "frame", "bones"],
        typer.Option(help="Keep the skeleton; or give it the person's place; bone lengths too."),
    ] = "bones",
    free_noise: Annotated[
        bool, typer.Option("--free-noise", help="Of long videos: all windows from the same noise.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="For long videos: a minute first, then faster.")
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
    from animateanywhere.commands.generate import generate
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    files = [_scaled("--weights", text) for text in weights or []]
    first, scale = files[0] if files else (None, 1.0)
    made = generate(
        prompt,
        pose,
        weights=first,
        scale=scale,
        others=files[1:],
        lora=[_scaled("--lora", text) for text in lora or []],
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
        compiled=compiled,
        contact_sheet=contact_sheet,
        backends=Backends(location=WeightsLocation(models, offline)),
    )
    result(made)


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
    from animateanywhere.commands.export import export

    result(export(weights, kind, out, rank=rank, base=base))


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
    from animateanywhere.commands.push import push

    result(push(path, repo, public=public, dry_run=dry_run))


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


def _check_file(flag: str, path: Path | None, suffix: str) -> None:
    if path is None:
        return
    if path.suffix.lower() != suffix or path.is_dir():
        raise UsageError(f"{flag} {path}: give the name of a {suffix} file")
    require_writable(path.parent)
