"""The command that makes a video of the person of a picture."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from animateanywhere.cli.app import result
from animateanywhere.cli.ask import require_consent
from animateanywhere.cli.generate import check_file
from animateanywhere.cli.options import (
    PREPROCESSING,
    CaptionModel,
    MaskBackend,
    Models,
    Offline,
    Overwrite,
    PersonToFollow,
    PoseBackend,
    PoseFps,
    PoseStart,
    Sampler,
    Seed,
    Steps,
    Yes,
    more_pictures,
    one_of_several,
    scale_of,
)


def cast(
    picture: Annotated[
        Path,
        typer.Argument(
            metavar="PICTURE",
            exists=True,
            help="Picture of the person: a photo, a cut-out PNG, or a clip or a folder of `aa "
            "prepare`, of which the sharpest frame with the whole person is taken.",
        ),
    ],
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT",
            help='What the person does and where, such as "the person walks on a beach".',
        ),
    ],
    also: Annotated[
        list[Path] | None,
        more_pictures(
            "Another picture of the same person, from behind or closer; up to three times."
        ),
    ] = None,
    pose: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            show_default="by --prompt-motion",
            help="Motion to follow: a video of a person or of a skeleton, or a poses.json. The "
            "skeleton gets the proportions of the person in the picture.",
        ),
    ] = None,
    prompt_motion: Annotated[
        bool | None,
        typer.Option(
            "--prompt-motion/--no-prompt-motion",
            show_default="from the base: on with mini-cast",
            help="Without --pose, move the person as rendered people do whose motion the prompt's "
            "verb names: walk, wave, dance, jump, squat, turn, sit, run, raise the arms, kick, "
            "stand, or a synonym. --no-prompt-motion leaves it to the network.",
        ),
    ] = None,
    collage: Annotated[
        bool | None,
        typer.Option(
            "--collage/--no-collage",
            show_default="from the base: on with mini-cast",
            help="Lay the limbs of the picture, turned onto the bones of the motion, over what the "
            "network drew: prints and faces that a small network does not draw.",
        ),
    ] = None,
    steady_background: Annotated[
        bool | None,
        typer.Option(
            "--steady-background/--no-steady-background",
            show_default="from the base: on with mini-cast, where limbs are laid",
            help="Steady what trembles from frame to frame behind the person, but not what really "
            "moves, by medians over time.",
        ),
    ] = None,
    appearance: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            show_default="none",
            help='Hair and clothes in words to add to the prompt, such as "in a red coat"; auto '
            "finds them in the picture, without those that the prompt names itself.",
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Base model that was trained for it, wan-vace-1.3b or phantom-1.3b: a name that "
            "`aa bases` lists as ready, or the path of its folder.",
        ),
    ] = "mini-cast",
    person: Annotated[
        int | None,
        one_of_several(
            "Number of the person where the picture shows several; 1 is the most prominent. A "
            "picture with the numbers is written when there are several. Of several pictures, one "
            "may show several persons: crop the others."
        ),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Take the picture as it is: nobody is looked for or cut out."),
    ] = False,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=512,
            show_default="all of the motion, without one as many as the base learned",
            help="Number of frames; with --pose the largest number.",
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="a new file in runs/cast",
            help="File to write: .mp4, .webm, .gif, .webp, or a name without a suffix for a folder "
            "of PNG pictures. A JSON file beside it records all settings, and .reference.png is "
            "what the network saw of the picture.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    no_audio: Annotated[
        bool,
        typer.Option("--no-audio", help="Leave out the sound of the motion."),
    ] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="none",
            help="PNG file to write as well: the pictures, the motion and the video.",
        ),
    ] = None,
    pose_person: PersonToFollow = None,
    pose_start: PoseStart = 0,
    pose_fps: PoseFps = None,
    likeness: Annotated[
        float | None,
        scale_of("Scale of guidance on the picture: the higher, the closer to the person."),
    ] = None,
    guidance: Annotated[
        float | None,
        scale_of("Scale of guidance on the prompt: the higher, the closer to the words."),
    ] = None,
    steps: Steps = None,
    sampler: Sampler = None,
    pose_backend: PoseBackend = "auto",
    mask_backend: MaskBackend = "auto",
    caption: Annotated[
        Literal["template", "vlm", "openai"],
        typer.Option(
            metavar="NAME",
            rich_help_panel=PREPROCESSING,
            help="What finds the words for --appearance auto: template (the bundled base, among "
            "the words that it knows), vlm (a vision-language model on this machine), or openai "
            "(sends the pictures to a service that speaks OpenAI's protocol). The latter two find "
            "some without it, too.",
        ),
    ] = "template",
    caption_model: CaptionModel = None,
    models: Models = None,
    offline: Offline = False,
    yes: Yes = False,
) -> None:
    """Make a video of the person of a picture, by a prompt; nothing is learned per person.

    The person is found and cut out, and what the picture does not show is said: it will be made up.
    The bundled base is small: it draws the scene, and over its soft person the picture's own limbs
    are laid (--no-collage leaves them out). For a GPU, `aa base-train wan-vace-1.3b` or
    phantom-1.3b gets published weights. Only people who agreed may be shown.

    Example: aa cast me.jpg "the person walks on a beach"
    """
    check_file("--contact-sheet", contact_sheet, ".png")
    require_consent([picture, *(also or ()), *([] if pose is None else [pose])], yes)
    from animateanywhere.commands import cast as command
    from animateanywhere.commands.cast_job import CastOptions
    from animateanywhere.media.source import Part
    from animateanywhere.preprocessing.backends import Backends
    from animateanywhere.preprocessing.weights import WeightsLocation

    options = CastOptions(
        also=tuple(also or ()), pose=pose, prompt_motion=prompt_motion, collage=collage,
        steady_background=steady_background, base=base,
        out=out, overwrite=overwrite, seed=seed, frames=frames, appearance=appearance,
        likeness=likeness, guidance=guidance, steps=steps, sampler=sampler, person=person,
        pose_person=pose_person, whole=whole, part=Part(pose_start, None, pose_fps),
        no_audio=no_audio, contact_sheet=contact_sheet,
        backends=Backends(
            pose_backend, mask_backend, caption, caption_model,
            location=WeightsLocation(models, offline),
        ),
    )  # fmt: skip
    result(command.cast(picture, prompt, options))
