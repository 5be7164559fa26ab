"""Reference attention (section 3.2 of the paper, after Animate Anyone): features of the reference
picture join the keys and values of the denoiser's spatial self-attention.

    attention l: queries of x, keys and values of [x, h_l]

where h_l is what the same layer attends to in a pass over the reference picture. With several
pictures of one character, all of their features are appended. The features are an argument of the
pass, so nothing of a video stays in the network, and who made them is free: a ReferenceNet of its
own as in the paper, or the denoiser itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from einops import repeat
from torch import Tensor, nn

from animateanywhere.diffusion.attention import TrainingAttention


@dataclass(frozen=True)
class Features:
    """What each spatial self-attention attends to in a pass over the reference, by its name.

    layers: (B, L, C), L positions of one picture or of several. Inside a UNet it is passed as
    `cross_attention_kwargs={"reference": features}`, with (B·F, ...) rows for F frames.
    """

    layers: dict[str, Tensor] = field(default_factory=dict)
    record: bool = False  # collect what is attended to, in place of appending

    def repeated(self, frames: int) -> Features:
        """The same for each of the frames of a video: B rows become B·F."""
        return Features({name: repeat(h, "b l c -> (b f) l c", f=frames)
                         for name, h in self.layers.items()})  # fmt: skip

    def rows(self, kept: Tensor) -> Features:
        """Rows by their index."""
        return Features({name: h[kept] for name, h in self.layers.items()})


def enable_reference(unet: nn.Module) -> list[str]:
    """Let the spatial attention of a UNet take `reference`, in place; returns the names of its
    self-attention layers.

    Without it, a pass is bit-identical to that of diffusers' own processor. unet: for images or for
    video; both name their layers alike, so features of one suit the other. Raises ValueError if it
    has no spatial self-attention.
    """
    names = []
    for name, layer in unet.named_modules():
        if isinstance(layer, Attention) and "attentions" in name.split("."):
            own = name.endswith("attn1")
            layer.set_processor(ReferenceAttention(name if own else ""))
            names += [name] if own else []
    if not names:
        raise ValueError(f"{type(unet).__name__} has no spatial self-attention")
    return names


class ReferenceAttention(TrainingAttention):
    """diffusers' attention processor, whose keys and values may go beyond its input."""

    def __init__(self, name: str) -> None:
        """name: of the self-attention layer; "" for cross-attention, which ignores references."""
        super().__init__()
        self.name = name

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        reference: Features | None = None,
    ) -> Tensor:
        """Attend from hidden_states (N, L, C) to them and the reference's (N, L', C).

        Raises KeyError for features that lack this layer.
        """
        if self.name and reference is not None:
            if reference.record:
                reference.layers[self.name] = hidden_states
            else:
                more = reference.layers[self.name].to(hidden_states.dtype)
                encoder_hidden_states = torch.cat([hidden_states, more], dim=1)
        output: Tensor = super().__call__(
            attn, hidden_states, encoder_hidden_states, attention_mask, temb
        )
        return output


def read_features(unet: Any, x: Tensor, timestep: Tensor | int, text_states: Tensor) -> Features:
    """The features of pictures: what the self-attention of a UNet with `enable_reference` attends
    to in a pass over them.

    x: (B, C', h, w), the input of the UNet. text_states: (B, T, D).
    """
    found = Features(record=True)
    unet(x, timestep, text_states, cross_attention_kwargs={"reference": found})
    return Features(found.layers)
