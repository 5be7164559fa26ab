"""The command that puts the person of a picture into a scene."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.ask import require_consent
from animateanywhere.cli.generate import check_file
from animateanywhere.cli.options import (
    INPUT,
    MaskBackend,
    Models,
    Offline,
    Overwrite,
    PoseBackend,
    Sampler,
    SceneFps,
    Seed,
    Steps,
    Yes,
    one_of_several,
    scale_of,
)
from animateanywhere.core.errors import UsageError

WORDS = "Options for bases that read a prompt (wan-vace-1.3b)"


def swap(
    characters: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE",
            exists=True,
            help="Picture of the character: a photo, a drawing or a cut-out PNG. Give several "
            "pictures of one character to show more sides.",
        ),
    ],
    scene: Annotated[
        Path,
        typer.Option(
            metavar="VIDEO",
            exists=True,
            help="Scene whose person is replaced: a video or one picture, of any size, rate and "
            "length.",
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Base model that was trained to swap, anycharv or wan-vace-1.3b: a name that "
            "`aa bases` lists as ready, or the path of its folder.",
        ),
    ] = "mini-swap",
    person: Annotated[
        int | None,
        one_of_several(
            "Number of the person to replace where the scene shows several; 1 is the most "
            "prominent. A picture with the numbers is written when there are several. The others "
            "stay as they are."
        ),
    ] = None,
    character_person: Annotated[
        int | None,
        one_of_several(
            "Number of the character where the picture shows several persons. Of several pictures, "
            "one may: crop the others."
        ),
    ] = None,
    fit: Annotated[
        Literal["none", "bones"],
        typer.Option(
            help="How the skeleton is fitted to the character: none keeps that of the scene's "
            "person, bones gives it the character's proportions at the same height and place.",
        ),
    ] = "none",
    region: Annotated[
        Literal["box", "fine"] | None,
        typer.Option(
            show_default="as the base learned it: box",
            help="The region in which the network draws: a box, which leaves the character a shape "
            "of its own, or the person's outline.",
        ),
    ] = None,
    grow: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=0.5,
            show_default="0.06, more for hats and skirts",
            help="By how much the box around the person is grown, as a share of its longer side.",
        ),
    ] = None,
    keep: Annotated[
        Literal["changed", "box", "none"],
        typer.Option(
            help="Which pixels stay the scene's own: all that did not change, all outside of the "
            "box, or none of the square that the network sees. Where limbs are laid (--collage), "
            "changed keeps all off the body as well.",
        ),
    ] = "changed",
    collage: Annotated[
        bool | None,
        typer.Option(
            "--collage/--no-collage",
            show_default="from the base: on with mini-swap",
            help="Lay the limbs of the picture, turned onto the new person's bones, over what the "
            "network drew: prints and faces that a small network does not draw.",
        ),
    ] = None,
    class_word: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            show_default="person",
            rich_help_panel=WORDS,
            help="What the character is in one word, such as man or woman.",
        ),
    ] = None,
    appearance: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            show_default="none",
            rich_help_panel=WORDS,
            help="Hair and clothes of the character, such as in a red coat.",
        ),
    ] = None,
    place: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            show_default="none",
            rich_help_panel=WORDS,
            help="Where the scene is, such as on a beach.",
        ),
    ] = None,
    pose_in_box: Annotated[
        Literal["skeleton", "gray"] | None,
        typer.Option(
            show_default="skeleton",
            rich_help_panel=WORDS,
            help="What the base is shown in the person's place: the skeleton on black, or plain "
            "gray, from which it makes up the pose as well.",
        ),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            show_default="that of the scene, at most 30",
            help="Frames per second of the result, or base for the rate that the base learned.",
        ),
    ] = None,
    start: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, rich_help_panel=INPUT, help="Where in the scene to start."
        ),
    ] = 0,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default="all, up to 9000",
            rich_help_panel=INPUT,
            help="Largest number of frames.",
        ),
    ] = None,
    scene_fps: SceneFps = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="a new file in runs/SCENE",
            help="File to write: .mp4, .webm, .gif, .webp, .png where the scene is a picture, or a "
            "name without a suffix for a folder of PNG pictures. A JSON file beside it records all "
            "settings.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    no_audio: Annotated[
        bool,
        typer.Option("--no-audio", help="Leave out the sound of the scene."),
    ] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="none",
            help="PNG file to write as well: the character, the scene, what of it changed, and the "
            "result.",
        ),
    ] = None,
    steps: Steps = None,
    guidance: Annotated[
        float | None,
        scale_of("Scale of classifier-free guidance: the higher, the closer to the picture."),
    ] = None,
    sampler: Sampler = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    models: Models = None,
    offline: Offline = False,
    yes: Yes = False,
) -> None:
    """Put the person of a picture into a scene, in the place of the person there.

    The scene keeps its size, rate, length and sound, and every pixel outside of the person's place.
    Masks and poses are written to runs/SCENE with a report; what you correct there is kept, and
    used again for the next character. The bundled base is small and draws people softly, so the
    picture's own limbs are laid over what it draws (--no-collage leaves them out). For a GPU, `aa
    base-train anycharv` or `aa base-train wan-vace-1.3b` gets published weights. Swap people only
    with the consent of both.

    Example: aa swap character.jpg --scene scene.mp4
    """
    check_file("--contact-sheet", contact_sheet, ".png")
    rate = _rate(fps)
    from animateanywhere.commands.scene_folder import require_idle_folder

    require_idle_folder(scene)  # before what follows is loaded
    require_consent([*characters, scene], yes)
    from animateanywhere.commands.swap import swap as run
    from animateanywhere.commands.swap_settings import SwapOptions
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    options = SwapOptions(
        base=base, out=out, overwrite=overwrite, person=person, character_person=character_person,
        mask=region, grow=grow, fit=fit, class_word=class_word, appearance=appearance, place=place,
        pose_in_box=pose_in_box, keep=keep, fps=rate, part=Part(start, frames, scene_fps),
        seed=seed, steps=steps, guidance=guidance, sampler=sampler, collage=collage,
        no_audio=no_audio, contact_sheet=contact_sheet,
        backends=Backends(pose_backend, mask_backend, location=WeightsLocation(models, offline)),
    )  # fmt: skip
    result(run(characters, scene, options))


def _rate(fps: str | None) -> float | Literal["base"] | None:
    """The value of --fps. Raises UsageError for one that is neither a rate nor "base"."""
    if fps is None:
        return None
    if fps == "base":
        return "base"
    try:
        rate = float(fps)
    except ValueError:
        rate = 0.0
    if not 1 <= rate <= 120:
        raise UsageError(f"--fps {fps}: give frames per second from 1 to 120, or base")
    return rate
