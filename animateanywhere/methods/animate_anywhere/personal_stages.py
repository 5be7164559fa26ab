"""The stages of one-shot learning (section 2.2 of the paper): appearance, on all frames as images;
motion, on clips with temporal layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animateanywhere.backbones import lora
from animateanywhere.backbones.base import Base, noise_share
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.backbones.personal_weights import EMBEDDING
from animateanywhere.backbones.token_embedding import TokenEmbedding
from animateanywhere.backbones.vae import decode_latents, encode_frames, raw_latents, to_pixels
from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.datasets.subject import Subject
from animateanywhere.diffusion.losses import reconstruction
from animateanywhere.methods.animate_anywhere import checkpoint_selection, method
from animateanywhere.methods.animate_anywhere.prior_preservation import SHOWN, PriorData
from animateanywhere.methods.animate_anywhere.settings import Recipe, Stage, load_recipe
from animateanywhere.methods.animate_anywhere.stage_data import StageData
from animateanywhere.methods.animate_anywhere.subject_data import batches
from animateanywhere.methods.animate_anywhere.validation import Validation
from animateanywhere.metrics import psnr
from animateanywhere.training.loop import fit

LARGE = 256  # pixels a side above which gradient checkpointing is used
WORDS = "text_encoder|token_embedding"  # in `train`: only for bases that learn tokens
TOKEN = "token_embedding.weight"  # name of the learned token's embedding among the parameters


def learn(
    model: Base,
    settings: Recipe,
    data: Mapping[str, StageData],
    token_index: int | None,
    out: Path,
    seed: int,
    validations: Mapping[str, Validation],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Run all stages; return the personal weights, and the selected step of each stage with a
    validation (other stages keep their last step).

    data: by kind of stage. token_index: of the token in the text encoder's embedding; None if the
    base does not learn tokens. out: folder of the run. validations: by name of stage.
    """
    changed: dict[str, Tensor] = {}
    selected: dict[str, int] = {}
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
            selected[stage.name] = step
        changed = lora.follow(changed, learned)
        if token is not None:
            changed[EMBEDDING] = token.weight.detach().cpu().clone()
    return changed, selected


def _stage(
    model: Base, settings: Recipe, stage: Stage, data: StageData, token: TokenEmbedding | None,
    out: Path, seed: int, validation: Validation | None,
) -> tuple[dict[str, Tensor], int | None]:  # fmt: skip
    """Train one stage; return what it learned, without the token, and the selected step, if it was
    selected."""
    if model.family.learns_tokens:
        model.text_encoder.to(data.subject.latents.device)
    parts, stage = networks(model, stage, settings, seed, token)
    name = model.family.denoiser
    text_learns = "text_encoder" in parts or "token_embedding" in parts
    batch = batches(model, stage, data.subject, data.prior, settings, text_learns, data.augmented)
    if not text_learns:  # all states are cached
        model.text_encoder.cpu()
    if stage.kind != "motion" and "motion_adapter" in model.parts:
        model.parts["motion_adapter"].cpu()

    scheduler = model.scheduler_for(parts[name])

    def loss(parts: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return method.loss(
            model.family, parts[name], batch(generator), generator, scheduler, settings.loss,
            stage.timestep_shift, noise_share(model), stage.row_by_row,
        )  # fmt: skip

    score = None
    if validation is not None:
        checkpoint_selection.check_kept(stage, out)
        score = checkpoint_selection.scorer(model, parts, stage, validation, settings, out)
    trained = fit(parts, stage, loss, out / "training" / stage.name, seed, on_save=score)
    step = None if score is None else checkpoint_selection.restore(trained, stage, out)
    learned: dict[str, Tensor] = {n: p for n, p in trained.items() if n != TOKEN}
    if stage.lora_rank:  # merged, since the next stage starts from the sum
        learned = {n: p for n, p in learned.items() if not n.startswith(f"{name}.")}
        learned |= lora.merge(parts[name], name)
    return {name: value.detach().cpu().clone() for name, value in learned.items()}, step


def require_fitting(model: Base, settings: Recipe) -> None:
    """Check that a recipe is for this kind of base, before any work. Raises UsageError."""
    own, name = settings.personal, model.config["name"]
    words = [p for stage in settings.stage for p in stage.train if re.search(WORDS, p)]
    hint = "use the base's own recipe, which is the default"
    if not model.family.learns_tokens and (words or own.train_text_encoder):
        raise UsageError(
            f"recipe {settings.name} trains the token or text encoder, which base {name} does not "
            f"support: {hint}"
        )
    if model.packs_clips and settings.extras.fit_vae_steps:
        raise UsageError(
            f"recipe {settings.name} fits the VAE, which base {name} does not support: set "
            "fit_vae_steps = 0"
        )
    denoiser = model.family.denoiser  # temporal layers have its prefix
    parts = [(denoiser, model.denoiser), (denoiser, model.parts.get("motion_adapter"))]
    parts += [("text_encoder", model.text_encoder)]
    names = [f"{part}.{n}" for part, net in parts if net for n, _ in net.named_parameters()]
    for pattern in (p for s in settings.personal_stages for p in s.train):
        if not any(re.search(pattern, name) for name in names):
            raise UsageError(
                f"recipe {settings.name} is not for base {name}: {pattern} matches no parameter; "
                f"{hint}"
            )


def networks(
    model: Base, stage: Stage, settings: Recipe, seed: int, token: TokenEmbedding | None = None
) -> tuple[nn.ModuleDict, Stage]:
    """The networks that a stage trains, and the stage with the exact names of its parameters.

    Keys are the denoiser's name, `token_embedding` if the token is trained, and `text_encoder` if
    that is trained. With `lora_rank`, adapters are added to the denoiser, and `train` names their
    factors.
    """
    network = method.build(model, settings.loss, video=stage.kind == "motion")
    if model.config["size"] > LARGE:
        recompute(network, model.family)
    if settings.personal.train_text_encoder and stage.kind == "appearance":
        stage = replace(stage, train=(*stage.train, r"^text_encoder\."))
    parts = nn.ModuleDict({model.family.denoiser: network})
    # The token and the text encoder are trained only if a pattern names them, which ".*" does not.
    # A pattern for the encoder's table of embeddings stands for the token: other rows are frozen.
    names = (f"text_encoder.{name}" for name, _ in model.text_encoder.named_parameters())
    table = {name for name in names if name.endswith("token_embedding.weight")}
    words = [pattern for pattern in stage.train if re.search(WORDS, pattern)]
    if token is not None and any(re.search(p, name) for p in words for name in (TOKEN, *table)):
        parts["token_embedding"] = token
        stage = replace(stage, train=(*stage.train, f"^{re.escape(TOKEN)}$"))
    if any("text_encoder" in pattern for pattern in stage.train):
        parts["text_encoder"] = model.text_encoder
    if stage.lora_rank:
        chosen = lora.inject(parts, stage.lora_rank, stage.train, seed, model.family.denoiser)
    else:
        found = re.compile("|".join(f"(?:{pattern})" for pattern in stage.train))
        chosen = tuple(name for name, _ in parts.named_parameters() if found.search(name))
    exact = tuple(f"^{re.escape(name)}$" for name in chosen if name not in table)
    return parts, replace(stage, train=exact)


def fit_vae(
    model: Base, subject: Subject, prior: PriorData, settings: Recipe, out: Path, seed: int
) -> dict[str, Tensor]:
    """Fit the VAE's decoder to the clip if it reconstructs it badly (PSNR below `fit_vae_below`).

    Regularization images, decoded by the original decoder, preserve its behavior elsewhere.
    Returns the changed weights, {} if none.
    """
    vae: Any = model.vae
    latents = encode_frames(vae, subject.frames)
    before = psnr(decode_latents(vae, latents), subject.frames)
    if before >= settings.extras.fit_vae_below:
        return {}
    say(f"the VAE reconstructs this clip with only {before:.1f} dB: fitting its decoder")
    others = prior.latents[:SHOWN].flatten(0, 1)
    pixels = to_pixels(torch.from_numpy(subject.frames)).to(latents)
    kept = to_pixels(torch.from_numpy(decode_latents(vae, others))).to(latents)

    def loss(vae: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(pixels), (6,), generator=generator)
        more = torch.randint(len(kept), (2,), generator=generator)
        decoded = vae.decode(raw_latents(vae, torch.cat([latents[rows], others[more]]))).sample
        wanted = torch.cat([pixels[rows], kept[more]])
        return reconstruction(decoded, wanted, torch.ones_like(wanted)), {}

    stage = Stage(
        "vae", "vae", settings.extras.fit_vae_steps, learning_rate=5e-4, train=("^decoder",),
        weight_decay=0.0, log_every=1,
    )  # fmt: skip
    trained = fit(vae, stage, loss, out / "training" / "vae", seed)
    after = psnr(decode_latents(vae, latents), subject.frames)
    say(f"reconstruction of this clip: {before:.1f} dB before, {after:.1f} dB after")
    return {f"vae.{name}": value.detach().clone() for name, value in trained.items()}


def recipe_of(model: Base, recipe: str | Path | Recipe | None) -> Recipe:
    """The recipe to learn a person with: the given one or, with None, the base's own. Raises
    UsageError for a recipe that is wrong or not for this base."""
    if recipe is None:
        recipe = model.config.get("personalize", "personalize")
    settings = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if not settings.personal_stages:
        raise UsageError(f"recipe {settings.name} learns no person: use it with `aa base-train`")
    require_fitting(model, settings)
    return settings
