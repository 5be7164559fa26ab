"""Pictures as CLIP's image encoders take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animateanywhere.backbones.vae import to_pixels

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of pixels in [0, 1], by CLIP's authors
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(encoder: Any, pictures: np.ndarray) -> Tensor:
    """Pictures (K, H, W, 3) uint8 as the input (K, 3, S, S) of an image encoder, on its device;
    they are squeezed to its square."""
    side, device = encoder.config.image_size, next(encoder.parameters()).device
    pixels = (to_pixels(torch.as_tensor(pictures).to(device)) + 1) / 2
    pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, DEVIATION))
    return (pixels - mean) / deviation
