"""Embeddings of pictures, words and videos, for measures of likeness: CLIP (Radford et al. 2021),
DINO (Caron et al. 2021) and VideoMAE (Tong et al. 2022), through transformers.

Not through torchmetrics, whose CLIPScore 1.9 fails on what CLIP returns in transformers 5, knows no
DINO, and loads by a name on the hub what here may come from a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.console import progress
from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.subject import masks_to_uint8
from animateanywhere.preprocessing.crop import crop_frames
from animateanywhere.preprocessing.weights import CLIP, DINO, VIDEOMAE, WeightsLocation, fetch, load

ImageEmbedder = Callable[[np.ndarray], np.ndarray]  # uint8 (N, H, W, 3) to float32 (N, D)
TextEmbedder = Callable[[str], np.ndarray]  # to float32 (1, D)
VideoEmbedder = Callable[[np.ndarray], np.ndarray]  # uint8 (F, H, W, 3) to float32 (1, D)

SIDE = 224  # pixels, what both networks look at
GRAY = 128  # behind a person who is cut out
ROOM = 0.1  # of a person's box, around it
BATCH = 16


def clip_embedders(location: WeightsLocation) -> tuple[ImageEmbedder, TextEmbedder]:
    """CLIP ViT-B/32's embeddings of pictures and of a text, which lie in one space.

    Of a picture that is not square the middle counts, as CLIP was trained. A text is cut after 77
    tokens, its end kept. Raises UsageError where the weights cannot be had.
    """
    from transformers import AutoTokenizer, CLIPModel

    folder = fetch(CLIP, location)
    model = load(CLIPModel, folder)
    processor = _processor(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: {str(error).splitlines()[0]}") from None
    longest = int(model.config.text_config.max_position_embeddings)

    def words(text: str) -> np.ndarray:
        import torch

        inputs = tokenizer([text], truncation=True, max_length=longest, return_tensors="pt")
        with torch.inference_mode():
            found = model.get_text_features(
                inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
            )
        return found.pooler_output.float().cpu().numpy()

    def look(pixels: Any) -> Any:
        return model.get_image_features(pixels.to(model.device)).pooler_output

    return _batched(processor, look, "comparing by CLIP"), words


def dino_embedder(location: WeightsLocation) -> ImageEmbedder:
    """DINO ViT-S/16's embeddings of pictures: its class token. DINOv2's folder will do as well.

    Raises UsageError where the weights cannot be had.
    """
    from transformers import AutoModel

    folder = fetch(DINO, location)
    model = load(AutoModel, folder)

    def look(pixels: Any) -> Any:
        return model(pixels.to(model.device)).last_hidden_state[:, 0]

    return _batched(_processor(folder), look, "comparing by DINO")


def videomae_embedder(location: WeightsLocation) -> VideoEmbedder:
    """VideoMAE's embedding of a video: the mean over its tokens of as many frames as it looks at,
    evenly spread, some twice of a short one. Raises UsageError where the weights cannot be had.
    """
    from transformers import VideoMAEModel

    folder = fetch(VIDEOMAE, location)
    model = load(VideoMAEModel, folder)
    processor = _processor(folder)

    def look(frames: np.ndarray) -> np.ndarray:
        import torch

        chosen = np.linspace(0, len(frames) - 1, model.config.num_frames).round().astype(int)
        with torch.inference_mode():
            pixels = processor(list(frames[chosen]), return_tensors="pt")[
                "pixel_values"
            ]  # (1, F, C, H, W)
            found = model(pixels.to(model.device)).last_hidden_state  # (1, L, D)
        return found.mean(1).float().cpu().numpy()

    return look


def cutouts(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The person of each frame on plain gray, in the square around the mask, SIDE pixels a side.

    frames: uint8 (F, H, W, 3); masks: float (F, H, W) in 0..1, somebody in each. Returns uint8
    (F, SIDE, SIDE, 3).
    """
    where = np.array([_square(mask) for mask in masks])
    shown = crop_frames(frames, where, SIDE)
    # Beyond the frame `cut` repeats the edge, which may be a person's
    rim = max(masks.shape[1:])
    wide = np.pad(masks_to_uint8(masks), ((0, 0), (rim, rim), (rim, rim)))
    mask = crop_frames(wide, where + np.array([rim, rim, 0]), SIDE)[..., None] / np.float32(255)
    return (shown * mask + GRAY * (1 - mask) + 0.5).astype(np.uint8)


def backgrounds(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Frames with the person painted over in the mean color of the scene; as `cutouts`."""
    mask = masks[..., None].astype(np.float32)
    free = (1 - mask) + 1e-6
    mean = (frames * free).sum((1, 2), keepdims=True) / free.sum((1, 2), keepdims=True)
    return (frames * (1 - mask) + mean * mask + 0.5).astype(np.uint8)


def _square(mask: np.ndarray) -> tuple[float, float, float]:
    """Middle and side of the square around a mask (H, W)."""
    y, x = np.nonzero(mask > 0.5)
    if not len(y):
        y, x = np.nonzero(mask >= mask.max())
    side = (1 + 2 * ROOM) * max(np.ptp(x) + 1, np.ptp(y) + 1)
    return (x.min() + x.max() + 1) / 2, (y.min() + y.max() + 1) / 2, float(side)


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:  # Pillow's: the other needs torchvision
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: {str(error).splitlines()[0]}") from None


def _batched(processor: Any, look: Callable[[Any], Any], what: str) -> ImageEmbedder:
    def pictures(frames: np.ndarray) -> np.ndarray:
        import torch

        found = []
        with torch.inference_mode(), progress(what, total=len(frames)) as bar:
            for start in range(0, len(frames), BATCH):
                some = list(frames[start : start + BATCH])
                out = look(processor(images=some, return_tensors="pt")["pixel_values"])
                found.append(out.float().cpu().numpy())
                bar.advance(len(some))
        return np.concatenate(found)

    return pictures
