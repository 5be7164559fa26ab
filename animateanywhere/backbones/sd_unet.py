"""What becomes of a text-to-image UNet: it sees poses, and has temporal layers put in."""

from __future__ import annotations

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import nn

from animateanywhere.backbones.controlnet import attach, control_of


def widen_conv_in(unet: UNet2DConditionModel, extra: int) -> None:
    """Add `extra` input channels for the pose latents, zero-initialised, in place.

    HumanSD's conditioning (section 2.1): at step 0 the model equals the one it came from, bit for
    bit, whatever stands in the new channels.
    """
    old = unet.conv_in
    new = nn.Conv2d(
        old.in_channels + extra, old.out_channels, old.kernel_size, old.stride, old.padding
    ).to(old.weight)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)


def motion_unet(unet: UNet2DConditionModel, adapter: MotionAdapter) -> UNetMotionModel:
    """The image UNet with temporal layers put in. Spatial weights are those of `unet`, temporal
    ones those of `adapter`, and not copies: what trains in one has changed in the other. A
    ControlNet that leads `unet` leads both."""
    with torch.device("meta"):
        made = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False)
    made.load_state_dict({**unet.state_dict(), **adapter.state_dict()}, assign=True)
    attach(made, control_of(unet))
    return made
