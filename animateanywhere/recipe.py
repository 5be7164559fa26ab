"""Recipes: frozen dataclasses mirrored by TOML files; a key that is not known is an error."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from animateanywhere.errors import UsageError
from animateanywhere.tables import build

StageKind = Literal["vae", "text", "image", "video", "perception", "appearance", "motion"]


@dataclass(frozen=True)
class Model:
    """What the base is made of. Each part is a table of its diffusers or transformers config, or
    `from = "folder or hub name"` (then `subfolder` picks the part inside it)."""

    size: int = 128  # pixels, square
    frames: int = 16  # of a clip, at most: what the network was trained with
    fps: float = 8.0
    guidance_scale: float = 4.0  # of `aa generate`, unless told another
    steps: int = 25  # of denoising, likewise
    sampler: Literal["dpm++", "ddim", "unipc", "lcm"] = "dpm++"  # likewise
    needs: str = ""  # to learn a person and generate on it ("a GPU of 8 GB"), for `aa bases`
    license: str = ""  # of the weights, as hubs name it ("apache-2.0"); "": not told
    noise_share: float = 0.0  # of the noise's variance, what all frames of a clip have in common
    vae: dict[str, Any] = field(default_factory=dict)
    text_encoder: dict[str, Any] = field(default_factory=dict)
    unet: dict[str, Any] = field(default_factory=dict)
    motion_adapter: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    # In place of UNet and temporal layers: of Wan 2.1 VACE's kind, its VAE and text encoder with it
    transformer: dict[str, Any] = field(default_factory=dict)
    # Led by a ControlNet trained on skeletons, the UNet keeps its input, and needs no base training
    controlnet: dict[str, Any] = field(default_factory=dict)

    def base_toml(self) -> dict[str, Any]:
        """What a base says of itself in its base.toml."""
        names = ("size", "frames", "fps", "guidance_scale", "steps", "sampler", "noise_share",
                 "license")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    @property
    def ready(self) -> bool:
        """Whether its parts are trained already, so that it wants no stages."""
        return bool(self.controlnet or self.transformer)


@dataclass(frozen=True)
class Corpus:
    """Text-image-pose and text-video-pose triplets: rendered puppets or a folder of clips."""

    source: str = "puppets"  # or a folder: name.mp4 + name.poses.json + name.txt a clip
    images: int = 0  # single frames to render
    clips: int = 0  # clips of `model.frames` frames to render
    captions: int = 4  # different captions a clip
    pictures: int = 0  # procedural pictures, for the VAE alone: so it knows more than puppets
    portraits: int = 0  # puppets framed closer and with more detail, for the VAE alone


@dataclass(frozen=True)
class Autoencoder:
    """The loss of the VAE stages."""

    noise: float = 0.05  # mean standard deviation of the noise on the latents, of their own
    equivariance: float = 0.0  # weight of the pictures that latents of half the size decode to
    person: float = 3.0  # so much more do pixels near the pose's limbs count
    face: float = 0.0  # likewise those of faces


@dataclass(frozen=True)
class Loss:
    """Eq. 1 of the paper and what stands beside it."""

    alpha: float = 0.001  # background weakening; the weight of the background is alpha squared
    weaken: bool = True
    gamma: float = 0.1  # weight of a key of the other region; 1 switches mask guidance off
    guide: bool = True
    regularization_weight: float = 1.0
    # How much a background counts that the base made (`[personal] elsewhere`): eq. 1 leaves scenes
    # free, and they fade wherever the token is named. Ours.
    keep: float = 1.0
    snr_gamma: float = 0.0  # min-SNR weighting (Hang et al. 2023); 0 is off
    heat: float = 0.0  # base training: so much more do pixels near the pose's limbs count


@dataclass(frozen=True)
class Personal:
    """What one-shot learning does beside its stages."""

    # Who makes the pictures of other people of the class: the base, as in DreamBooth, or the
    # renderer of the puppets, where those are what the base was trained on.
    regularization: Literal["base", "puppets"] = "base"
    regularization_images: int = 40  # for appearance
    regularization_clips: int = 4  # for motion
    regularization_steps: int = 12  # of denoising, where the base makes them
    # Share of the subject's rows that show the person before scenes which the base makes: looks
    # learned before a single scene fade before others (`learning.elsewhere`). 0 makes none. Ours.
    elsewhere: float = 0.75
    elsewhere_images: int = 96  # for appearance
    elsewhere_clips: int = 4  # for motion
    # What the clip's captions say: all that was prepared, or "a <token> <class word>" alone.
    captions: Literal["scene", "plain"] = "scene"
    # Named after the class word ("in a red shirt"), in captions and then in prompts: the token has
    # the rest to learn. "auto": words are found by `learning.looks`.
    looks: str = ""
    views: int = 4  # the clip as filmed, and so many less one smaller and elsewhere in the frame
    train_text_encoder: bool = False
    fit_vae_steps: int = 0  # fit the VAE decoder to the clip first, for footage it never saw,
    fit_vae_below: float = 22.0  # where it rebuilds the clip at fewer dB than this


@dataclass(frozen=True)
class Choose:
    """How the best of the saved steps of learning a person is chosen."""

    score: bool = True  # off: the last step counts, and nothing is held out
    patience: int = 3  # scorings in a row without a better one that end a stage; 0: none do
    steps: int = 8  # of generation, for each picture that is scored


@dataclass(frozen=True)
class Stage:
    """One row of training: what trains, on what, for how long."""

    name: str
    kind: StageKind
    steps: int
    batch: int = 1  # images or clips a step and process
    regular_batch: int = 0  # regularization rows a step, on top of `batch`
    frames: int = 1
    learning_rate: float = 1e-4
    warmup: int = 0  # steps
    decay: float = 0.0  # share of the steps, at the end, in which the learning rate falls to 0
    train: tuple[str, ...] = (".*",)  # regular expressions on parameter names
    # What learns at another pace: pattern on names -> times learning_rate
    rates: dict[str, float] = field(default_factory=dict)
    lora_rank: int = 0  # of a person: above 0, LoRA of that rank on the layers of `train` learns
    accumulate: int = 1
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.0  # decay; 0 is off
    dropout: float = 0.1  # share of rows trained without a caption, for guidance
    # Above 1, noisy timesteps are drawn more often (Esser et al. 2024): there words count.
    timestep_shift: float = 1.0
    # Rows go through the network one after another: the same step in less memory, a quarter slower
    row_by_row: bool = False
    # "auto": bf16 where the machine multiplies it in hardware
    precision: Literal["no", "bf16", "fp16", "auto"] = "no"
    # "adamw8bit": its state takes a quarter of the memory (Dettmers et al. 2022), by bitsandbytes
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    weight_decay: float = 0.01
    log_every: int = 10
    save_every: int = 200
    sample_every: int = 0


@dataclass(frozen=True)
class Recipe:
    name: str
    seed: int = 0
    personalize: str = "personalize"  # the recipe that learns a person on this base
    model: Model = field(default_factory=Model)
    corpus: Corpus = field(default_factory=Corpus)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    loss: Loss = field(default_factory=Loss)
    personal: Personal = field(default_factory=Personal)
    choose: Choose = field(default_factory=Choose)
    stage: tuple[Stage, ...] = ()

    @property
    def precision(self) -> str:
        """In which a person is learned; "no" where no stage says one."""
        kept = (stage.precision for stage in self.stages("appearance", "motion"))
        return next((precision for precision in kept if precision != "no"), "no")

    def stages(self, *kinds: StageKind) -> tuple[Stage, ...]:
        return tuple(stage for stage in self.stage if stage.kind in kinds)


def each_stage(recipe: Recipe, change: Callable[[Stage], Stage]) -> Recipe:
    """The same recipe with every stage changed."""
    return replace(recipe, stage=tuple(change(stage) for stage in recipe.stage))


def scaled(recipe: Recipe, times: float) -> Recipe:
    """The same recipe with so many times as many steps, at least two a stage."""
    return each_stage(recipe, lambda row: replace(row, steps=max(int(row.steps * times), 2)))


def by_lora(recipe: Recipe, rank: int = 16) -> Recipe:
    """The same recipe with adapters in place of weights, where it has none. They start at zero, so
    they learn faster: six times on the bundled base, and at least by 1e-4, as is usual for Stable
    Diffusion."""

    def change(stage: Stage) -> Stage:
        if stage.lora_rank:
            return stage
        rate = max(6 * stage.learning_rate, 1e-4)
        slower = stage.learning_rate / rate  # what is no adapter keeps its own
        rates = {name: times * slower for name, times in stage.rates.items()}
        return replace(stage, lora_rank=rank, learning_rate=rate, rates=rates)

    return each_stage(recipe, change)


def recipes_folder() -> Path:
    """The recipes: inside the package when installed, at the root of a checkout."""
    package = Path(__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by bare name (`mini`) or path. Raises UsageError where it is wrong."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = recipes_folder() / f"{path}.toml"
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in recipes_folder().glob("*.toml")))
        raise UsageError(f"no recipe {name_or_path}: give a .toml file or one of {have}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from None
    recipe: Recipe = build(Recipe, {"name": path.stem, **table}, str(path))
    _check(recipe, path)
    return recipe


def _check(recipe: Recipe, path: Path) -> None:
    """Refuse values that would end in a crash after long work."""
    if not 0 < recipe.loss.gamma <= 1:
        raise UsageError(f"{path}: gamma must lie in (0, 1]")
    for key in ("regularization_images", "regularization_clips", "regularization_steps", "views",
                "elsewhere_images", "elsewhere_clips"):  # fmt: skip
        if getattr(recipe.personal, key) < 1:
            raise UsageError(f"{path}: {key} must be at least 1")
    if not 0 <= recipe.personal.elsewhere <= 1:
        raise UsageError(f"{path}: elsewhere is a share, 0 to 1")
    if recipe.choose.patience < 0 or recipe.choose.steps < 1:
        raise UsageError(f"{path}: choose: patience must be at least 0, steps at least 1")
    names = [stage.name for stage in recipe.stage]
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: two stages have one name")
    for stage in recipe.stage:
        where = f"{path}: stage {stage.name}"
        for key in ("steps", "batch", "frames", "accumulate", "log_every", "save_every"):
            if getattr(stage, key) < 1:
                raise UsageError(f"{where}: {key} must be at least 1")
        if stage.lora_rank < 0 or (stage.lora_rank and stage.kind not in ("appearance", "motion")):
            raise UsageError(f"{where}: lora_rank is 0, or above in appearance and motion stages")
        if stage.kind in ("image", "video") and stage.frames > recipe.model.frames:
            raise UsageError(f"{where}: frames is more than the model's {recipe.model.frames}")
        for pattern in (*stage.train, *stage.rates):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(f"{where}: the pattern {pattern}: {error}") from None
        for pattern, rate in stage.rates.items():
            if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
                raise UsageError(f"{where}: rates: {pattern} must be a number above 0")


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain JSON data, for the metadata of what it made."""
    return dataclasses.asdict(recipe)


def from_dict(table: dict[str, Any]) -> Recipe:
    """What `to_dict` gives, after its way through JSON, as a recipe again. Raises UsageError."""
    recipe: Recipe = build(Recipe, table, "recipe")
    return recipe
