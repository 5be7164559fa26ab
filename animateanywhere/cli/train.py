"""Commands that train: a base model, a person's weights."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.ask import require_consent
from animateanywhere.cli.options import (
    Base,
    Caption,
    CaptionFallback,
    CaptionModel,
    ClassWord,
    FrameAspect,
    Frames,
    FrameSize,
    InputFps,
    MaskBackend,
    Models,
    Offline,
    OldLooks,
    OldMask,
    OldPose,
    Person,
    PoseBackend,
    Recipe,
    Scene,
    Seed,
    Start,
    Yes,
    frame_shape,
)
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable
from animateanywhere.core.naming import check_class_word, check_token
from animateanywhere.core.paths import RUNS


def personalize(
    video: Annotated[
        Path,
        typer.Argument(
            metavar="VIDEO|SUBJECT",
            exists=True,
            help="Video that shows one person for at least one second: a file or a folder of "
            "pictures; or the subject folder that `aa prepare` wrote of it, with your corrections.",
        ),
    ],
    token: Annotated[
        str,
        typer.Option(
            metavar="WORD",
            help="Rare word that will stand for this person in prompts, such as sks.",
        ),
    ],
    class_word: ClassWord = None,
    person: Person = None,
    scene: Scene = None,
    appearance: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            show_default="from the recipe",
            help='Hair and clothes in words, such as "in a red shirt", "" for none, or auto for '
            "the words under which the base draws the person best.",
        ),
    ] = None,
    base: Base = "mini",
    recipe: Recipe = None,
    vram: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            min=1,
            show_default="all of the GPU in use",
            help="GPU memory to stay within, in GB. Where whole weights do not fit, LoRA is used.",
        ),
    ] = None,
    size: FrameSize = None,
    aspect: FrameAspect = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="runs/TOKEN",
            help="Folder to write the weights and all else of the run to.",
        ),
    ] = None,
    start: Start = 0,
    frames: Frames = None,
    input_fps: InputFps = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    caption: Caption = "template",
    caption_model: CaptionModel = None,
    caption_fallback: CaptionFallback = None,
    models: Models = None,
    offline: Offline = False,
    yes: Yes = False,
    _looks: OldLooks = None,
    _pose: OldPose = None,
    _mask: OldMask = None,
) -> None:
    """Learn the person of one short video under a token.

    Writes personal weights, which `aa generate` finds by the token. To resume after a stop, run the
    same command again.

    Example: aa personalize my_video.mp4 --token sks --class-word man
    """
    check_token(token)
    check_class_word(class_word)
    shape = frame_shape(size, aspect)
    require_writable(out or RUNS)
    require_consent([video], yes)
    from animateanywhere.commands import personalize as command
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    location = WeightsLocation(models, offline)
    weights = command.personalize(
        video,
        token,
        command.PersonalizeOptions(
            class_word=class_word,
            person=person,
            base=base,
            out=out,
            scene=scene,
            appearance=appearance,
            recipe=recipe,
            size=shape[0],
            aspect=shape[1],
            vram=vram,
            seed=seed,
            part=Part(start, frames, input_fps),
            backends=Backends(
                pose_backend, mask_backend, caption, caption_model, caption_fallback, location
            ),
        ),
    )
    result(weights)


def base_train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="Recipe of the base: its name, as `aa bases` lists them, or the path of a TOML "
            "file.",
        ),
    ] = "mini",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="runs/base for mini, or runs/bases/RECIPE",
            help="Folder to write the base to.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            show_default="the weights that the recipe names",
            help="Fine-tune of Stable Diffusion 1.5, one .safetensors file, to start from.",
        ),
    ] = None,
    track: Annotated[
        Literal["wandb"] | None,
        typer.Option(
            show_default="none",
            help="Send the log to Weights & Biases too (wandb), whose package must be installed. "
            "It is in TensorBoard's format in any case.",
        ),
    ] = None,
) -> None:
    """Train a base model, or gather one from public weights.

    With the recipe mini-swap, train one that puts the person of a picture into a scene video;
    anycharv gathers published weights that do so. With mini-cast, train one that makes a video of
    the person of a picture from a prompt.

    The base that comes with this package needs none of it. To resume after a stop, run the same
    command again. To train on several GPUs, start it by accelerate:
    accelerate launch -m animateanywhere base-train RECIPE

    Example: aa base-train tiny --out runs/tiny
    """
    require_writable(out or RUNS)
    # Recipes are read first: to load the networks takes seconds
    from animateanywhere.methods.animate_anywhere.settings import load_recipe
    from animateanywhere.methods.anycharv import settings as swap
    from animateanywhere.methods.context_anyone import settings as cast

    if checkpoint is not None and (swap.is_recipe(recipe) or cast.is_recipe(recipe)):
        raise UsageError(f"--checkpoint: {recipe} names in itself what it begins with")
    if cast.is_recipe(recipe):
        casts = cast.load_recipe(recipe)
        from animateanywhere.commands.cast_train import cast_train

        result(cast_train(casts, out, track))
        return
    if swap.is_recipe(recipe):
        swaps = swap.load_recipe(recipe)
        from animateanywhere.commands.swap_train import swap_train

        result(swap_train(swaps, out, track))
        return
    settings = load_recipe(recipe)
    from animateanywhere.commands.base_train import base_train as train

    result(train(settings, out, checkpoint, track))
