"""What `aa generate` is asked for, and all that a video is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from animateanywhere.backbones.loading import Loaded
from animateanywhere.commands.collage_choice import Limbs
from animateanywhere.core.frame_size import Aspect, Size
from animateanywhere.media.provenance import GENERATED, Made
from animateanywhere.media.sound import Sound
from animateanywhere.media.source import WHOLE, Part
from animateanywhere.methods.animate_anywhere.driving_motion import Motion
from animateanywhere.methods.animate_anywhere.playback import Playback
from animateanywhere.pose import retarget
from animateanywhere.preprocessing.backends import Backends


@dataclass(frozen=True)
class GenerateOptions:
    """Options of `generate`. Equal options give equal bytes on one machine."""

    weights: Path | None = None  # personal weights; None: the newest with a token in the prompt
    scale: float = 1.0  # factor on the learned changes
    # Further personal weights of the same base, with scales; the learned changes add up
    others: Sequence[tuple[Path, float]] = ()
    # LoRA files of other tools to apply to the base, with scales (`backbones.external_lora`)
    lora: Sequence[tuple[Path, float]] = ()
    late_only: bool = False  # apply the weights only in the last quarter of the denoising steps
    base: str | None = None  # name or folder; None: the base that the weights were learned on
    # To write (`core.formats`); None: a new .mp4 in runs/<token>
    out: Path | None = None
    overwrite: bool = False  # files that are not earlier results of this command, too
    seed: int = 0
    frames: int | None = None  # maximum length; None: that of the motion
    # Of the frames, as for `frame_shape.in_frames`; None: that of the motion, where the base can
    size: Size | None = None
    aspect: Aspect | None = None
    # Words for hair and clothes to add to the prompt, "" for none; None: those that the weights
    # were learned with
    appearance: str | None = None
    negative: str = ""  # prompt to move away from
    guidance_scale: float | None = None  # None: the base's default
    steps: int | None = None  # denoising steps; None: the base's default
    sampler: str | None = None  # None: the base's default
    fit: retarget.Fit = "bones"  # how the skeleton is adapted to the learned person
    # Whether the person's own limbs are laid over what the network drew; None: the base's default
    collage: bool | None = None
    # Whether what trembles behind the person is steadied; None: with a base that lays limbs
    steady_background: bool | None = None
    person: int | None = None  # number of the one to follow, of several; None: 1
    # If longer than the base's clips: start all windows from the same noise (`sampling.free_noise`)
    free_noise: bool = False
    compiled: bool = False  # torch.compile: up to a minute first, then faster steps
    part: Part = WHOLE  # of the motion; its number of frames is that of `frames`
    fps: float | None = None  # of the video; None: the base's, at which it is generated
    loop: bool = False  # let the end lead to the beginning, see `playback.loop_of`
    no_audio: bool = False  # leave out the sound of the driving video
    contact_sheet: Path | None = None  # PNG of the skeleton before and after fitting, and the video
    backends: Backends | None = None  # pose detectors for a driving video of a person


class Job(NamedTuple):
    """All that a video is made of."""

    loaded: Loaded  # the base and the personal weights; in the size of the frames
    options: GenerateOptions  # with the base's defaults
    prompt: str
    full: str  # the prompt as the network reads it
    pose: Path
    motion: Motion
    fit: retarget.Fit  # that was used
    limbs: Limbs | None  # that are laid over what the network draws
    steady: bool  # whether the background behind these is steadied
    shown: Playback
    suffix: str  # of the file to write
    sound: Sound | None

    @property
    def made(self) -> Made:
        """What the metadata says of the video's origin."""
        return GENERATED if self.limbs is None else GENERATED.composite()
