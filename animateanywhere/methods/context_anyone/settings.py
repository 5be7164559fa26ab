"""The schema of ContextAnyone's recipes, for `aa base-train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from animateanywhere.backbones.spec import Model
from animateanywhere.core import recipe as recipes
from animateanywhere.core.errors import UsageError
from animateanywhere.training import stage as stages

Kind = Literal["tower", "cast"]
OWN = ("gap", "one_way", "emphasis")  # arguments that a text-to-video network lacks


@dataclass(frozen=True)
class Cast:
    """The method, and what the base says of its use."""

    # "phantom": Phantom-Wan's published network in place of the paper's (`phantom`), without stages
    network: Literal["context_anyone", "phantom"] = "context_anyone"
    base: str = "mini"  # that gives VAE, tokenizer and text encoder, frozen
    image_tokens: bool = True  # the second encoder of the reference
    poses: bool = True  # whether a video may follow a pose
    reconstruction: float = 0.1  # λ of the dual-guidance loss
    pose_weight: float = 3.0  # additional weight of latents near the limbs
    likeness: float = 2.0  # defaults of `aa cast`: scales of guidance on reference and prompt,
    guidance_scale: float = 2.0
    steps: int = 16  # and denoising steps
    # Whether the person moves as the rendered people do whose motion the prompt's verb names, where
    # no other is given; otherwise the network moves it by itself
    prompt_motion: bool = False
    # Whether the picture's own limbs are laid over what the network draws (`limbs`)
    collage: bool = False
    negative: str = ""  # of "phantom": the prompt of the passes without one
    flow_shift: float = 3.0  # of the noise levels in sampling, see `diffusion.losses.shifted`


@dataclass(frozen=True)
class Parts(Model):
    """The parts of a network of full size (`full_size`), each from a source."""

    sampler: Literal["dpm++", "ddim", "unipc", "lcm"] = "unipc"
    image_encoder: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """Rendered people (`pairs`): each in one video, and in reference pictures of other scenes; or
    as many draws of clips from footage."""

    # "puppets", or the folder of a corpus of clips with references or masks (`footage`), which a
    # network of full size learns from
    source: str = "puppets"

    images: int = 0  # people in stills: clips as short as the network can see
    clips: int = 0  # people in clips of the base's length
    pictures: int = 3  # reference pictures of each person
    captions: int = 4  # of each video, with the appearance and as many without
    detailed: bool = False  # puppets with details (`puppets.Detail`)
    # References are frames of the video itself, cut out, as if nothing were edited: for the
    # ablation of what the paper's data are for
    same_clip: bool = False


@dataclass(frozen=True)
class Stage(stages.Stage):
    """A stage: the picture encoder ("tower") or the transformer ("cast")."""

    kind: Kind
    frames: int = 1  # of each row; more than a still has: clips
    dropout: float = 0.1  # share of the passes without a reference, for guidance
    text_dropout: float = 0.1  # share of the rows without a prompt
    pose_dropout: float = 0.5  # share of the rows without a pose
    appearance: float = 0.3  # share of the rows whose prompt tells it, though a reference shows it
    timestep_shift: float = 1.0  # see `diffusion.losses.shifted`
    recompute: bool = False  # gradient checkpointing: less memory, a third slower, same result


@dataclass(frozen=True)
class Recipe:
    """A recipe of ContextAnyone. transformer: arguments of `CastTransformer`, but for those that
    follow from the base and `cast`. model: parts of full size, in place of those of `cast.base`; of
    `transformer` there is only what a text-to-video network lacks then."""

    name: str
    cast: Cast
    transformer: dict[str, Any] = field(default_factory=dict)
    model: Parts = field(default_factory=Parts)
    seed: int = 0
    corpus: Corpus = field(default_factory=Corpus)
    stage: tuple[Stage, ...] = ()

    @property
    def published(self) -> bool:
        """Whether all of it is published weights, and nothing is trained."""
        return self.cast.network == "phantom"

    @property
    def full_size(self) -> bool:
        """Whether it begins with a published text-to-video network."""
        return bool(self.model.tables())


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by its name (`mini-cast`) or path. Raises UsageError for a missing or wrong
    one."""
    recipe = recipes.load_recipe(name_or_path, Recipe)
    _check(recipe, str(name_or_path))
    return recipe


def is_recipe(name_or_path: str | Path) -> bool:
    """Whether a recipe is of this method: it has a table [cast]. Raises UsageError if there is no
    such recipe."""
    return recipes.has_table(name_or_path, "cast")


def still_frames(recipe: Recipe) -> int:
    """Frames of a still: those of one patch."""
    return int(recipe.transformer.get("patch_size", (1,))[0])


def _check_published(recipe: Recipe, where: str) -> None:
    """Raise UsageError for a recipe of published weights with what is not theirs."""
    recipe.model.require_tables(["vae", "text_encoder", "transformer", "scheduler"], where)
    for key in ("from", "file", "config"):
        if not isinstance(recipe.model.transformer.get(key), str):
            raise UsageError(f"{where}: model.transformer: needs from, file and config; see {key}")
    if recipe.stage or recipe.transformer:
        raise UsageError(f"{where}: published weights are not trained: no [[stage]], [transformer]")
    if recipe.cast.image_tokens or recipe.cast.poses:
        raise UsageError(f"{where}: this network has no image_tokens and no poses: set them false")


def _check_parts(recipe: Recipe, where: str) -> None:
    """Raise UsageError for a network of full size that lacks parts, and for what it cannot
    learn."""
    if not recipe.transformer:
        raise UsageError(f"{where}: transformer is missing")
    if not recipe.full_size:
        if recipe.corpus.source != "puppets":
            raise UsageError(f'{where}: source of [corpus] must be "puppets" without [model]')
        return
    tables = recipe.model.tables()
    known = ["vae", "text_encoder", "transformer", "scheduler"]
    known += ["image_encoder"] * recipe.cast.image_tokens
    recipe.model.require_tables(known, where)
    for name in ("text_encoder", "transformer"):
        if "from" not in tables[name]:
            raise UsageError(f"{where}: model.{name}: name its source, from = folder or repository")
    if any(key not in OWN for key in recipe.transformer):
        raise UsageError(f"{where}: [transformer] has only {', '.join(OWN)} with [model]")
    if recipe.corpus.source == "puppets":
        raise UsageError(f"{where}: source of [corpus] must name a corpus of clips")
    if recipe.corpus.same_clip:
        raise UsageError(f"{where}: same_clip of [corpus] is for rendered people, without [model]")
    for stage in recipe.stage:
        here = f"{where}: stage {stage.name}"
        if stage.kind == "tower":
            raise UsageError(f"{here}: CLIP's image encoder is not trained")
        if stage.sample_every:
            raise UsageError(f"{here}: samples are of rendered people: remove sample_every")
        if stage.frames < 2:
            raise UsageError(f"{here}: frames must be at least 2: footage is clips")


def _check(recipe: Recipe, where: str) -> None:
    """Raise UsageError for values that would cause a crash after hours."""
    stages.check_stages(recipe.stage, where)
    (_check_published if recipe.published else _check_parts)(recipe, where)
    if not recipe.stage and not recipe.published:
        raise UsageError(f"{where}: it has no [[stage]]")
    if not 0 <= recipe.seed < 2**32:
        raise UsageError(f"{where}: seed must be 0 to {2**32 - 1}")
    for key in ("reconstruction", "pose_weight", "likeness", "guidance_scale"):
        if not getattr(recipe.cast, key) >= 0:  # nor nan
            raise UsageError(f"{where}: {key} must be at least 0")
    if recipe.cast.steps < 1 or not recipe.cast.flow_shift > 0:
        raise UsageError(f"{where}: steps must be at least 1, and flow_shift above 0")
    for key in ("pictures", "captions"):
        if getattr(recipe.corpus, key) < 1:
            raise UsageError(f"{where}: {key} must be at least 1")
    patch = recipe.transformer.get("patch_size", [1, 2, 2])
    if not (isinstance(patch, list) and len(patch) == 3 and all(
        type(side) is int and side > 0 for side in patch
    )):  # fmt: skip
        raise UsageError(f"{where}: patch_size must be three numbers: frames, height, width")
    for stage in recipe.stage:
        _check_stage(recipe, stage, f"{where}: stage {stage.name}")


def _check_stage(recipe: Recipe, stage: Stage, here: str) -> None:
    """Raise UsageError for a stage that could not be trained."""
    still = still_frames(recipe)
    for key in ("dropout", "text_dropout", "pose_dropout", "appearance"):
        if not 0 <= getattr(stage, key) <= 1:
            raise UsageError(f"{here}: {key} is a share and must be 0 to 1")
    if not stage.timestep_shift > 0:
        raise UsageError(f"{here}: timestep_shift must be above 0")
    if stage.kind == "tower" and not recipe.cast.image_tokens:
        raise UsageError(f"{here}: there is no picture encoder with image_tokens = false")
    if stage.kind == "cast" and (stage.frames < 1 or stage.frames % still):
        raise UsageError(f"{here}: frames must be a multiple of those of a patch, {still}")
    video = stage.kind == "cast" and stage.frames > still
    people, name = (recipe.corpus.clips, "clips") if video else (recipe.corpus.images, "images")
    if people < 2:
        raise UsageError(f"{here}: {name} of [corpus] must be at least 2")
