"""Embeddings of images, texts and videos for similarity metrics: CLIP (Radford et al. 2021), DINO
(Caron et al. 2021) and VideoMAE (Tong et al. 2022), through transformers.

Not through torchmetrics: its CLIPScore 1.9 fails with CLIP's outputs in transformers 5, it has no
DINO, and it loads weights by name from the hub, not from a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import progress
from animateanywhere.datasets.subject import masks_to_uint8
from animateanywhere.preprocessing.crop import crop_frames
from animateanywhere.preprocessing.ground import on_ground
from animateanywhere.preprocessing.weights import (
    CLIP,
    DINO,
    VIDEOMAE,
    WeightsLocation,
    load,
    require_local,
)

ImageEmbedder = Callable[[np.ndarray], np.ndarray]  # uint8 (N, H, W, 3) to float32 (N, D)
TextEmbedder = Callable[[str], np.ndarray]  # to float32 (1, D)
VideoEmbedder = Callable[[np.ndarray], np.ndarray]  # uint8 (F, H, W, 3) to float32 (1, D)

SIDE = 224  # pixels, the input size of CLIP and DINO
GRAY = 128  # behind a cut-out person
ROOM = 0.1  # margin around a person's bounding box, as a share of its size
BATCH = 16


def clip_embedders(location: WeightsLocation) -> tuple[ImageEmbedder, TextEmbedder]:
    """CLIP ViT-B/32's embeddings of images and of texts, in their common space.

    An image that is not square is center-cropped, as in CLIP's training. A text is truncated to 77
    tokens, keeping the end token. Raises UsageError if the weights are not on this machine.
    """
    from transformers import AutoTokenizer, CLIPModel

    folder = require_local(CLIP, location)
    model = load(CLIPModel, folder)
    processor = _processor(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: the model cannot be loaded ({first_line(error)})") from None
    longest = int(model.config.text_config.max_position_embeddings)

    def embed_text(text: str) -> np.ndarray:
        import torch

        inputs = tokenizer([text], truncation=True, max_length=longest, return_tensors="pt")
        with torch.inference_mode():
            output = model.get_text_features(
                inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
            )
        return output.pooler_output.float().cpu().numpy()

    def embed(pixels: Any) -> Any:
        return model.get_image_features(pixels.to(model.device)).pooler_output

    return _batched(processor, embed, "CLIP embeddings"), embed_text


def dino_embedder(location: WeightsLocation) -> ImageEmbedder:
    """DINO ViT-S/16's embeddings of images: its class token. A folder of DINOv2 works as well.

    Raises UsageError if the weights are not on this machine.
    """
    from transformers import AutoModel

    folder = require_local(DINO, location)
    model = load(AutoModel, folder)

    def embed(pixels: Any) -> Any:
        return model(pixels.to(model.device)).last_hidden_state[:, 0]

    return _batched(_processor(folder), embed, "DINO embeddings")


def videomae_embedder(location: WeightsLocation) -> VideoEmbedder:
    """VideoMAE's embedding of a video: the mean over the tokens of its number of input frames.

    The frames are evenly spaced, and repeated in a short video. Raises UsageError if the weights
    are not on this machine.
    """
    from transformers import VideoMAEModel

    folder = require_local(VIDEOMAE, location)
    model = load(VideoMAEModel, folder)
    processor = _processor(folder)

    def embed(frames: np.ndarray) -> np.ndarray:
        import torch

        chosen = np.linspace(0, len(frames) - 1, model.config.num_frames).round().astype(int)
        with torch.inference_mode():
            pixels = processor(list(frames[chosen]), return_tensors="pt")[
                "pixel_values"
            ]  # (1, F, C, H, W)
            tokens = model(pixels.to(model.device)).last_hidden_state  # (1, L, D)
        return tokens.mean(1).float().cpu().numpy()

    return embed


def cutouts(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The person of each frame on plain gray, cropped to the square around the mask.

    frames: uint8 (F, H, W, 3); masks: float (F, H, W) in 0..1, none of them empty. Returns uint8
    (F, SIDE, SIDE, 3).
    """
    where, size = np.array([_square(mask) for mask in masks]), square(SIDE)
    shown = crop_frames(frames, where, size)
    # Beyond the frame `crop_frames` repeats edge pixels, which may be the person's
    rim = max(masks.shape[1:])
    wide = np.pad(masks_to_uint8(masks), ((0, 0), (rim, rim), (rim, rim)))
    mask = crop_frames(wide, where + np.array([rim, rim, 0]), size) / np.float32(255)
    return on_ground(shown, mask, GRAY)


def backgrounds(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Frames with the person replaced by the mean color of the background, uint8 (F, H, W, 3).

    Arguments as in `cutouts`.
    """
    mask = masks[..., None].astype(np.float32)
    free = (1 - mask) + 1e-6
    mean = (frames * free).sum((1, 2), keepdims=True) / free.sum((1, 2), keepdims=True)
    return (frames * (1 - mask) + mean * mask + 0.5).astype(np.uint8)


def _square(mask: np.ndarray) -> tuple[float, float, float]:
    """Center x, y and side length in pixels of the square around a mask (H, W)."""
    y, x = np.nonzero(mask > 0.5)
    if not len(y):
        y, x = np.nonzero(mask >= mask.max())
    side = (1 + 2 * ROOM) * max(np.ptp(x) + 1, np.ptp(y) + 1)
    return (x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2, float(side)


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:  # the other image backend needs torchvision
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: the model cannot be loaded ({first_line(error)})") from None


def _batched(processor: Any, embed: Callable[[Any], Any], label: str) -> ImageEmbedder:
    def embed_images(frames: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) to float32 (N, D)."""
        import torch

        parts = []
        with torch.inference_mode(), progress(label, total=len(frames)) as bar:
            for start in range(0, len(frames), BATCH):
                some = list(frames[start : start + BATCH])
                out = embed(processor(images=some, return_tensors="pt")["pixel_values"])
                parts.append(out.float().cpu().numpy())
                bar.advance(len(some))
        return np.concatenate(parts)

    return embed_images
