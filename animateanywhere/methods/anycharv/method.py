"""AnyCharV (Wang et al. 2025, arXiv 2502.08189) on one page.

The person of a picture is put into a scene video, in the place and motion of the person there. One
denoising UNet hears everything (section 3.2):

    x = U(z_t ⊕ p ⊕ s ⊕ m, t, c, {h_l})

z_t the noisy latents, p the pose, s the scene, m the mask of the region that may change, ⊕ on the
channel axis; c tokens of the reference picture in cross-attention; h_l the features of the
reference in spatial self-attention l, whose keys and values are those of [x, h_l]
(`reference_attention`). The reference is the person cut out (`reference_picture`).

Stage 1, self-supervised composition (3.2, eq. 2): reference and target are of one person, the
scene is the target with an augmented fine mask cut out (`masks.fine_mask`). Stage 2, self-boosting
(3.3, eq. 3): stage 1 puts another person into a video; that result, whole, is now the scene, with a
box as the mask, and the real video the target. What the network learns to draw is always real. Both
stages: images first, then the temporal layers on clips (appendix A.2). Loss: the squared error of
the prediction (eq. 1 to 3).

What the text leaves open, and is ours here:
- The ReferenceNet may be the denoiser itself at t = 0 (`[swap] reference = "shared"`), which halves
  the weights: h_l is then what attention l attends to in U(z_ref ⊕ p_ref ⊕ 0 ⊕ 0, 0, c). With
  "own" it is a UNet of its own, as in the paper, without inputs for scene and mask.
- The pose is a latent beside the noisy one, as the base has learned it, in place of a pose guider;
  the reference has its pose too, so that colors belong to limbs, and front differs from back.
  (`full_size` has the paper's own parts: CLIP, ReferenceNet and pose guider.)
- Noise schedule, prediction type and noise common to the frames of a clip are the base's.
- The tokens of a small base follow the states of the constant text "a person"
  (`training.picture_encoder`).
- Masks reach latent size by area; masked pixels are gray before the VAE (`masks`).
- Outside of the region nothing is learned: the prediction there is the one that leads to the
  scene's own latents (`put_in_scene`), and the loss counts inside of the region only, each row
  alike, with more weight near the limbs, as the base's.
- A share of the passes sees no reference, for classifier-free guidance.
- The box is that of the person in the input, as it is at use; the public code takes the target's.
- Pairs may be rendered: puppets have the true video of anybody in any scene (`data`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from animateanywhere.backbones import sd_unet
from animateanywhere.backbones.base import Base, encode_text
from animateanywhere.diffusion.losses import (
    Level,
    add_noise,
    draw_timesteps,
    level,
    target,
    training_noise,
)
from animateanywhere.diffusion.sampling import Denoiser, guided
from animateanywhere.methods.anycharv.reference_attention import (
    Features,
    enable_reference,
    read_features,
)

WORDS = "a person"  # the prompt of all passes


@dataclass(frozen=True)
class Scene:
    """B scene videos of F frames, encoded, and where and how the new person stands in them."""

    latents: Tensor  # s, (B, F, C, h, w): what the network sees of the scene
    region: Tensor  # m, (B, F, 1, h, w) in [0, 1]: 1 may change
    poses: Tensor  # p, (B, F, C, h, w), or features of a pose guider
    # What stays outside of the region; None: the network's own copy of the scene
    kept: Tensor | None = None
    mask_input: bool = True  # whether the network sees the region

    def window(self, start: int, stop: int) -> Scene:
        """Frames `start` to `stop`, the latter excluded."""
        cut = slice(start, stop)
        kept = None if self.kept is None else self.kept[:, cut]
        return replace(
            self, latents=self.latents[:, cut], region=self.region[:, cut],
            poses=self.poses[:, cut], kept=kept,
        )  # fmt: skip


@dataclass(frozen=True)
class Character:
    """What the network knows of B characters, read from K pictures of each."""

    features: Features  # layers of (B, K·L, C)
    states: Tensor  # c, (B, T + K·n, D): of the words, if there are any, and of the pictures

    def rows(self, kept: Tensor) -> Character:
        """Rows by their index."""
        return Character(self.features.rows(kept), self.states[kept])


def build(base: Base, video: bool) -> Any:
    """The UNet for images or for video, which takes reference features. Both share their
    weights."""
    network = base.family.build(base, video)
    enable_reference(network)
    return network


def reader_of(base: Base) -> Any:
    """The network that reads reference pictures: the base's reference UNet or, without one, the
    denoiser itself."""
    reader = base.parts.get("reference_unet", base.denoiser)
    enable_reference(reader)
    return reader


def tokens(encoder: Any, pictures: Tensor) -> Tensor:
    """The tokens (B, K, n, D) that a picture encoder makes of latents (B, K, C, h, w)."""
    found: Tensor = encoder(pictures.flatten(0, 1)).unflatten(0, (-1, pictures.shape[1]))
    return found


def read(
    reader: Any, pictures: Tensor, poses: Tensor | None, tokens: Tensor, text: Tensor
) -> Character:
    """Read B characters from K pictures of each, at t = 0.

    pictures, poses: latents (B, K, C, h, w). tokens: of the pictures, (B, K, n, D). text: states
    (1, T, D) of `WORDS`, or of no words. reader: of `reader_of`, or the denoiser that trains in its
    place.
    """
    count = pictures.shape[1]
    x = pictures if poses is None else torch.cat([pictures, poses], 2)
    x = x.flatten(0, 1)  # (B·K, 2C, h, w)
    missing = reader.config.in_channels - x.shape[1]  # of scene and mask: no region tells the role
    x = torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], 1)
    states = torch.cat([text.expand(len(x), -1, -1), tokens.flatten(0, 1)], 1)
    found = read_features(reader, x, 0, states)
    layers = {name: h.unflatten(0, (-1, count)).flatten(1, 2) for name, h in found.layers.items()}
    each = torch.cat([text.expand(len(pictures), -1, -1), tokens.flatten(1, 2)], 1)
    return Character(Features(layers), each)


def predict(
    network: Any, x: Tensor, timesteps: Tensor, scene: Scene, text: Tensor,
    character: Character | None,
) -> Tensor:  # fmt: skip
    """One forward pass of a network from `build` on noisy latents x (B, F, C, h, w); returns
    (B, F, C, h, w), of the scheduler's prediction type. character: None for no reference, where
    cross-attention sees `text`, (1, T, D)."""
    frames = x.shape[1]
    states, more = text.expand(len(x), -1, -1), {}
    if character is not None:
        states = character.states.to(text)
        more = {"cross_attention_kwargs": {"reference": character.features.repeated(frames)}}
    mask = scene.region if scene.mask_input else torch.zeros_like(scene.region)
    x = torch.cat([x, scene.poses.to(x), scene.latents, mask], dim=2)  # (B, F, 3C + 1, h, w)
    states = sd_unet.each_frame(states, frames)
    return sd_unet.run(network, x, timesteps, states, None, **more)


def put_in_scene(prediction: Tensor, x: Tensor, scene: Scene, levels: Level, kind: str) -> Tensor:
    """The prediction, outside of the region replaced by that which leads to what is kept.

    With the kept latents k, x = a·k + s·e determines the noise e, and both determine the target:
    for v, a·e − s·k = (a·x − k) / s. A latent that is partly in the region is blended.
    """
    if scene.kept is None:
        return prediction
    a, s = (part[:, None, None, None, None] for part in levels)
    noise = (x - a * scene.kept) / s
    there = target(scene.kept, noise, levels, kind)
    return scene.region * prediction + (1 - scene.region) * there


def loss(
    network: Any,
    latents: Tensor,
    scene: Scene,
    weight: Tensor,
    text: Tensor,
    character: Character | None,
    scheduler: Any,
    generator: torch.Generator,
    timestep_shift: float = 1.0,
    noise_share: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of both stages (eq. 2 and 3), a scalar, and values to log.

    latents: targets (B, F, C, h, w). weight: of the squared error of each latent, (B, F, 1, h, w);
    see `weight_of`. Each row's error is a weighted mean, so a person who is small in the frame
    counts as much as one who is large.
    """
    noise = training_noise(latents, generator, noise_share)
    timesteps = draw_timesteps(scheduler, len(latents), timestep_shift, generator)
    timesteps = timesteps.to(latents.device)
    levels = level(scheduler, timesteps)
    x = add_noise(latents, noise, levels)
    prediction = predict(network, x, timesteps, scene, text, character)
    wanted = target(latents, noise, levels, scheduler.config.prediction_type)
    squared = (wanted - prediction.float()).square().mean(2, keepdim=True)  # (B, F, 1, h, w)
    per_row = (weight * squared).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)
    return per_row.mean(), {}


def weight_of(region: Tensor, heat: Tensor, outside: float, pose_weight: float) -> Tensor:
    """The weight of the error of each latent: 1 in the region and `outside` out of it, and more by
    `pose_weight` near the limbs. All are (B, F, 1, h, w), in [0, 1] but for the result."""
    return (region + outside * (1 - region)) * (1 + pose_weight * heat)


def denoiser(
    base: Base, network: Any, scene: Scene, text: Tensor, character: Character, guidance: float,
    rescale: float = 0.0,
) -> Denoiser:  # fmt: skip
    """The function that a sampler calls, with classifier-free guidance if `guidance` is not 1: away
    from the prediction without a reference, with the same scene, mask and pose (section 4.1)."""
    scheduler = base.scheduler_for(network)
    kind = scheduler.config.prediction_type

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        timesteps = t.reshape(1).expand(len(x)).to(x.device)
        y = predict(network, x, timesteps, scene, text, character).float()
        if guidance != 1:
            alone = predict(network, x, timesteps, scene, text, None).float()
            y = guided(y, alone, guidance, rescale)
        return put_in_scene(y, x, scene, level(scheduler, timesteps), kind)

    return denoise


def words(base: Base) -> Tensor:
    """The states (1, T, D) of `WORDS`."""
    with torch.no_grad():
        return encode_text(base, [WORDS])
