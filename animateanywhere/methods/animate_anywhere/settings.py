"""What AnimateAnywhere's recipes may say: of a base, and of learning a person on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from animateanywhere.backbones.spec import Model
from animateanywhere.core import recipe as recipes
from animateanywhere.core.errors import UsageError
from animateanywhere.core.schema import build
from animateanywhere.training import stage as stages

BaseKind = Literal["vae", "text", "image", "video", "perception"]
PersonalKind = Literal["appearance", "motion"]
Kind = Literal[BaseKind, PersonalKind]


@dataclass(frozen=True)
class Corpus:
    """Text-image-pose and text-video-pose triplets: rendered puppets or a folder of clips."""

    source: str = "puppets"  # or a folder: name.mp4 + name.poses.json + name.txt a clip
    images: int = 0  # single frames to render
    clips: int = 0  # clips of `model.frames` frames to render
    captions: int = 4  # different captions a clip
    pictures: int = 0  # procedural pictures, for the VAE only, so that it is not limited to puppets
    portraits: int = 0  # puppets seen closer and in more detail, for the VAE only


@dataclass(frozen=True)
class Autoencoder:
    """The loss of the VAE stages."""

    noise: float = 0.05  # mean standard deviation of the noise on latents, as a share of theirs
    equivariance: float = 0.0  # weight of the pictures that downsampled latents decode to
    face_weight: float = 0.0  # how much more pixels of faces count, on top of `loss.pose_weight`


@dataclass(frozen=True)
class Loss:
    """Eq. 1 of the paper and mask-guided attention (section 2.2)."""

    alpha: float = 0.001  # background weakening; the weight of the background is alpha squared
    weaken: bool = True
    gamma: float = 0.1  # weight of a key of the other region; 1 switches mask guidance off
    guide: bool = True
    prior_weight: float = 1.0  # of regularization rows
    snr_gamma: float = 0.0  # min-SNR weighting (Hang et al. 2023); 0 is off
    # Base training: how much more pixels near the pose's limbs count, as in HumanSD
    pose_weight: float = 0.0


@dataclass(frozen=True)
class Personal:
    """What one-shot learning does beside its stages."""

    # Who makes the regularization data, other people of the class: the base, as in DreamBooth, or
    # the renderer of the puppets, where those are what the base was trained on.
    prior: Literal["base", "puppets"] = "base"
    prior_images: int = 40  # for the appearance stage
    prior_clips: int = 4  # for the motion stage
    prior_steps: int = 12  # denoising steps, where the base makes them
    # What the clip's captions say: all that was prepared, or "a <token> <class word>" alone.
    captions: Literal["scene", "plain"] = "scene"
    train_text_encoder: bool = False


@dataclass(frozen=True)
class Extras:
    """What is ours and not the paper's. `enabled = false` switches all of it off."""

    enabled: bool = True
    # Words for hair and clothes that follow the class word ("in a red shirt"), in captions and then
    # in prompts: the token has the rest to learn. "auto": found by `appearance_search`.
    appearance: str = ""
    # Share of the subject's rows that show the person before synthetic backgrounds, which the base
    # makes (`background_augmentation`): one learned before a single scene fades before others.
    background_augmentation: float = 0.75
    background_images: int = 96  # for the appearance stage
    background_clips: int = 4  # for the motion stage
    # How much a synthetic background counts in the loss: eq. 1 leaves scenes free, and they fade
    # wherever the token is named.
    background_weight: float = 1.0
    # The clip as filmed, and so many less one smaller and elsewhere in the frame
    placements: int = 4
    fit_vae_steps: int = 0  # fit the VAE decoder to the clip first, for footage it never saw,
    fit_vae_below: float = 22.0  # where it reconstructs the clip at fewer dB than this
    # Score each checkpoint on held-out frames, and keep the best (`checkpoint_selection`). Off: the
    # last one counts, and nothing is held out.
    checkpoint_selection: bool = True
    patience: int = 3  # scores in a row without a better one that end a stage; 0: none do
    selection_steps: int = 8  # denoising steps of each picture that is scored


NO_EXTRAS = Extras(
    enabled=False, background_augmentation=0.0, placements=1, checkpoint_selection=False
)


@dataclass(frozen=True)
class Stage(stages.Stage):
    """A stage of base training (section 2.1 of the paper) or of learning a person (2.2)."""

    kind: Kind
    prior_batch: int = 0  # regularization rows per step, in addition to `batch`
    frames: int = 1
    lora_rank: int = 0  # of a person: above 0, train a LoRA of that rank on the layers of `train`
    dropout: float = 0.1  # share of rows trained without a caption, for classifier-free guidance
    # Above 1, noisy timesteps are drawn more often (Esser et al. 2024), where the text counts most
    timestep_shift: float = 1.0
    # Rows pass through the network one by one: the same step in less memory, a quarter slower
    row_by_row: bool = False


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
    extras: Extras = field(default_factory=Extras)
    stage: tuple[Stage, ...] = ()

    @property
    def precision(self) -> str:
        """In which a person is learned; "no" where no stage says one."""
        kept = (stage.precision for stage in self.personal_stages)
        return next((precision for precision in kept if precision != "no"), "no")

    @property
    def only_adapters(self) -> bool:
        """Whether nothing but LoRA trains."""
        return all(stage.lora_rank for stage in self.personal_stages)

    @property
    def personal_stages(self) -> tuple[Stage, ...]:
        """The stages that learn a person."""
        return self.stages("appearance", "motion")

    def stages(self, *kinds: Kind) -> tuple[Stage, ...]:
        return tuple(stage for stage in self.stage if stage.kind in kinds)


# Keys of 0.1, which go on working for one release
RENAMED = {
    "loss.regularization_weight": "loss.prior_weight",
    "loss.heat": "loss.pose_weight",
    "loss.keep": "extras.background_weight",
    "personal.regularization": "personal.prior",
    "personal.regularization_images": "personal.prior_images",
    "personal.regularization_clips": "personal.prior_clips",
    "personal.regularization_steps": "personal.prior_steps",
    "personal.looks": "extras.appearance",
    "personal.elsewhere": "extras.background_augmentation",
    "personal.elsewhere_images": "extras.background_images",
    "personal.elsewhere_clips": "extras.background_clips",
    "personal.views": "extras.placements",
    "personal.fit_vae_steps": "extras.fit_vae_steps",
    "personal.fit_vae_below": "extras.fit_vae_below",
    "choose.score": "extras.checkpoint_selection",
    "choose.patience": "extras.patience",
    "choose.steps": "extras.selection_steps",
    "stage.regular_batch": "stage.prior_batch",
}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by bare name (`mini`) or path. Raises UsageError where it is wrong."""
    recipe = recipes.load_recipe(name_or_path, Recipe, RENAMED)
    _check(recipe, str(name_or_path))
    return recipe if recipe.extras.enabled else replace(recipe, extras=NO_EXTRAS)


def _check(recipe: Recipe, where: str) -> None:
    """Refuse values that would end in a crash after long work."""
    stages.check_stages(recipe.stage, where)
    if not 0 < recipe.loss.gamma <= 1:
        raise UsageError(f"{where}: gamma must lie in (0, 1]")
    for key in ("prior_images", "prior_clips", "prior_steps"):
        if getattr(recipe.personal, key) < 1:
            raise UsageError(f"{where}: {key} must be at least 1")
    for key in ("placements", "background_images", "background_clips", "selection_steps"):
        if getattr(recipe.extras, key) < 1:
            raise UsageError(f"{where}: {key} must be at least 1")
    if not 0 <= recipe.extras.background_augmentation <= 1:
        raise UsageError(f"{where}: background_augmentation is a share, 0 to 1")
    if recipe.extras.patience < 0:
        raise UsageError(f"{where}: patience must be at least 0")
    for stage in recipe.stage:
        here = f"{where}: stage {stage.name}"
        if stage.frames < 1:
            raise UsageError(f"{here}: frames must be at least 1")
        if stage.lora_rank < 0 or (stage.lora_rank and stage not in recipe.personal_stages):
            raise UsageError(f"{here}: lora_rank is 0, or above in appearance and motion stages")
        if stage.kind in ("image", "video") and stage.frames > recipe.model.frames:
            raise UsageError(f"{here}: frames is more than the model's {recipe.model.frames}")


def each_stage(recipe: Recipe, change: Callable[[Stage], Stage]) -> Recipe:
    """The same recipe with every stage changed."""
    return replace(recipe, stage=tuple(change(stage) for stage in recipe.stage))


def scaled(recipe: Recipe, times: float) -> Recipe:
    """The same recipe with so many times as many steps, at least two a stage."""
    return each_stage(recipe, lambda row: replace(row, steps=max(int(row.steps * times), 2)))


def quick(recipe: Recipe) -> Recipe:
    """The same recipe for a first look: ten times fewer steps, little regularization data."""
    personal = replace(recipe.personal, prior_images=8, prior_clips=1)
    extras = replace(recipe.extras, fit_vae_steps=recipe.extras.fit_vae_steps // 4)
    return replace(scaled(recipe, 1 / 10), personal=personal, extras=extras)


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


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain JSON data, for the metadata of what it made."""
    return dataclasses.asdict(recipe)


def from_dict(table: dict[str, Any]) -> Recipe:
    """What `to_dict` gives, after its way through JSON, as a recipe again. Raises UsageError."""
    recipe: Recipe = build(Recipe, table, "recipe")
    return recipe
