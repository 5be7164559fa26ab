"""The stages of learning one person (section 2.2 of the paper): appearance, on all frames as
images; motion, on clips with the temporal layers put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animateanywhere.backbones import lora
from animateanywhere.backbones.base import Base, noise_share
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.backbones.personal_weights import EMBEDDING
from animateanywhere.backbones.token_embedding import TokenEmbedding
from animateanywhere.backbones.vae import decode_latents, encode_frames, to_pixels
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.datasets.subject import Subject
from animateanywhere.diffusion.losses import reconstruction
from animateanywhere.methods.animate_anywhere import checkpoint_selection, method
from animateanywhere.methods.animate_anywhere.prior_preservation import SHOWN, PriorData
from animateanywhere.methods.animate_anywhere.settings import Recipe, Stage, load_recipe
from animateanywhere.methods.animate_anywhere.subject_data import Clips, SubjectData, batches
from animateanywhere.methods.animate_anywhere.validation import Validation
from animateanywhere.metrics import psnr
from animateanywhere.training.loop import fit

LARGE = 256  # pixels a side; above, memory counts more than speed
WORDS = "text_encoder|token_embedding"  # in patterns of `train`
TOKEN = "token_embedding.weight"  # the learned token, among what trains


@dataclass(frozen=True)
class StageData:
    """What a stage draws its rows from."""

    subject: SubjectData | Clips
    prior: PriorData
    augmented: Clips | None = None  # the subject before synthetic backgrounds


def learn(
    model: Base,
    settings: Recipe,
    data: Mapping[str, StageData],
    token_index: int | None,
    out: Path,
    seed: int,
    validations: Mapping[str, Validation],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Run the stages; return what changed, by the names of personal weights, and the selected step
    of each stage that has a validation; of others it is the last.

    data: by the kind of stage. token_index: of the token's row, where the base learns tokens.
    validations: by the name of stages.
    """
    changed: dict[str, Tensor] = {}
    chosen: dict[str, int] = {}
    for number, stage in enumerate(settings.personal_stages):
        token = None
        if token_index is not None:
            token = TokenEmbedding(model.text_encoder, token_index)
        with nullcontext() if token is None else token.spliced():
            learned, step = _stage(
                model, settings, stage, data[stage.kind], token, out, seed + number,
                validations.get(stage.name),
            )  # fmt: skip
        if step is not None:
            chosen[stage.name] = step
        changed = lora.follow(changed, learned)
        if token is not None:
            changed[EMBEDDING] = token.weight.detach().cpu().clone()
    return changed, chosen


def _stage(
    model: Base, settings: Recipe, stage: Stage, data: StageData, token: TokenEmbedding | None,
    out: Path, seed: int, validation: Validation | None,
) -> tuple[dict[str, Tensor], int | None]:  # fmt: skip
    """Train one stage; return what it learned beside the token, and the selected step."""
    if model.family.learns_tokens:
        model.text_encoder.to(data.subject.latents.device)
    parts, stage = networks(model, stage, settings, seed, token)
    name = model.family.denoiser
    text_learns = "text_encoder" in parts or "token_embedding" in parts
    batch = batches(model, stage, data.subject, data.prior, settings, text_learns, data.augmented)
    if not text_learns:  # its states are cached
        model.text_encoder.cpu()
    if stage.kind != "motion" and "motion_adapter" in model.parts:
        model.parts["motion_adapter"].cpu()

    def loss(parts: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return method.loss(
            model.family, parts[name], batch(generator), generator, model.scheduler, settings.loss,
            stage.timestep_shift, noise_share(model), stage.row_by_row,
        )  # fmt: skip

    score = None
    if validation is not None:
        score = checkpoint_selection.scorer(model, parts, stage, validation, settings, out)
    trained = fit(parts, stage, loss, out / "training" / stage.name, seed, on_save=score)
    step = None if score is None else checkpoint_selection.restore(trained, stage, out)
    learned: dict[str, Tensor] = {n: p for n, p in trained.items() if n != TOKEN}
    if stage.lora_rank:  # the next stage goes on from the sum
        learned = {n: p for n, p in learned.items() if not n.startswith(f"{name}.")}
        learned |= lora.merge(parts[name], name)
    return {name: value.detach().cpu().clone() for name, value in learned.items()}, step


def require_fitting(model: Base, settings: Recipe) -> None:
    """Raise UsageError, in time, for a recipe that is not for this kind of base."""
    own, name = settings.personal, model.config["name"]
    words = [p for stage in settings.stage for p in stage.train if re.search(WORDS, p)]
    if not model.family.learns_tokens and (words or own.train_text_encoder):
        raise UsageError(f"recipe {settings.name} trains words, which base {name} cannot learn")
    if model.packs_clips and settings.extras.fit_vae_steps:
        raise UsageError(
            f"recipe {settings.name} fits the VAE, which that of base {name} cannot be"
        )
    denoiser = model.family.denoiser  # the temporal layers are put into it
    parts = [(denoiser, model.denoiser), (denoiser, model.parts.get("motion_adapter"))]
    parts += [("text_encoder", model.text_encoder)]
    names = [f"{part}.{n}" for part, net in parts if net for n, _ in net.named_parameters()]
    for pattern in (p for s in settings.personal_stages for p in s.train):
        if not any(re.search(pattern, name) for name in names):
            raise UsageError(
                f"recipe {settings.name} is not for base {name}: {pattern} matches nothing in it"
            )


def networks(
    model: Base, stage: Stage, settings: Recipe, seed: int, token: TokenEmbedding | None = None
) -> tuple[nn.ModuleDict, Stage]:
    """What a stage trains in: the denoiser by its name, `token_embedding` where the token learns,
    and `text_encoder` where it learns too. And the stage, whose `train` names each parameter that
    is to learn there, adapters where it has LoRA."""
    network = method.build(model, settings.loss, video=stage.kind == "motion")
    if model.config["size"] > LARGE:
        recompute(network, model.family)
    if settings.personal.train_text_encoder and stage.kind == "appearance":
        stage = replace(stage, train=(*stage.train, r"^text_encoder\."))
    parts = nn.ModuleDict({model.family.denoiser: network})
    if token is not None and any(re.search(pattern, TOKEN) for pattern in stage.train):
        parts["token_embedding"] = token
    if any("text_encoder" in pattern for pattern in stage.train):
        parts["text_encoder"] = model.text_encoder
    if stage.lora_rank:
        names = lora.inject(parts, stage.lora_rank, stage.train, seed, model.family.denoiser)
    else:
        found = re.compile("|".join(f"(?:{pattern})" for pattern in stage.train))
        names = tuple(name for name, _ in parts.named_parameters() if found.search(name))
    known = re.compile(r"^text_encoder\..*token_embedding")  # the words it knows stay
    names = tuple(name for name in names if not known.search(name))
    return parts, replace(stage, train=tuple(f"^{re.escape(name)}$" for name in names))


def fit_vae(
    model: Base, subject: Subject, prior: PriorData, settings: Recipe, out: Path, seed: int
) -> dict[str, Tensor]:
    """Fit the VAE's decoder to footage it rebuilds badly, held to its old self on other scenes."""
    vae: Any = model.vae
    latents = encode_frames(vae, subject.frames)
    before = psnr(decode_latents(vae, latents), subject.frames)
    if before >= settings.extras.fit_vae_below:
        return {}
    say(f"the VAE rebuilds this clip at {before:.1f} dB only: fitting its decoder")
    others = prior.latents[:SHOWN].flatten(0, 1)
    pixels = to_pixels(torch.from_numpy(subject.frames)).to(latents)
    kept = to_pixels(torch.from_numpy(decode_latents(vae, others))).to(latents)
    scale = vae.config.scaling_factor

    def loss(vae: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(pixels), (6,), generator=generator)
        more = torch.randint(len(kept), (2,), generator=generator)
        made = vae.decode(torch.cat([latents[rows], others[more]]) / scale).sample
        wanted = torch.cat([pixels[rows], kept[more]])
        return reconstruction(made, wanted, torch.ones_like(wanted)), {}

    stage = Stage(
        "vae", "vae", settings.extras.fit_vae_steps, learning_rate=5e-4, train=("^decoder",),
        weight_decay=0.0, log_every=1,
    )  # fmt: skip
    trained = fit(vae, stage, loss, out / "training" / "vae", seed)
    after = psnr(decode_latents(vae, latents), subject.frames)
    say(f"VAE on this clip: {before:.1f} dB before, {after:.1f} dB after")
    return {f"vae.{name}": value.detach().clone() for name, value in trained.items()}


def recipe_of(model: Base, recipe: str | Path | Recipe | None) -> Recipe:
    """The recipe that is asked for, else the base's own. Raises UsageError, also where it is not
    for this base."""
    if recipe is None:
        recipe = model.config.get("personalize", "personalize")
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if not settings.personal_stages:
        raise UsageError(f"recipe {settings.name} learns no person: it is for `aa base-train`")
    require_fitting(model, settings)
    return settings
