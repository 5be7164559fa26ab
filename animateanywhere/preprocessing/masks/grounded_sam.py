"""Segmentation as in the paper: GroundingDINO (Liu et al. 2023, arXiv 2303.05499) detects the
bounding box of a text prompt, and SAM (Kirillov et al. 2023, arXiv 2304.02643) segments it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.ndimage import binary_fill_holes, uniform_filter

from animateanywhere.core.errors import UsageError
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results
from animateanywhere.preprocessing.tracking import intersection_over_union, keypoint_boxes
from animateanywhere.preprocessing.weights import (
    GROUNDING_DINO,
    HUB,
    SAM,
    WeightsLocation,
    fetch,
    fingerprint,
    load,
)

VERSION = 1  # of the post-processing, part of the cache key
PROMPT = "a person."
MIN_SCORE = 0.3  # of a bounding box
SAME_PERSON_IOU = 0.15  # minimum overlap with the box of the next frame
# Of the guided filter: radius in pixels, and regularization (variance of colors in 0..1)
REACH, SMOOTH = 3, 1e-3


def extract(
    frames: np.ndarray, keypoints: np.ndarray, location: WeightsLocation = HUB
) -> np.ndarray:
    """Segment the person of the keypoints.

    Args:
        frames: uint8 (F, H, W, 3).
        keypoints: (F, 18, 3) in pixels; in each frame the bounding box with the highest
            intersection over union is used, so that the same person is segmented throughout.
        location: of the weights `grounding-dino` and `sam`.

    Returns:
        float32 (F, H, W) in 0..1; all 0 in frames without a detected person.

    Raises:
        UsageError: the weights are missing and cannot be downloaded.
    """
    folder = fetch(SAM, location)
    boxes = _person_boxes(_detect_boxes(frames, location), keypoint_boxes(keypoints, VISIBLE))

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        import torch
        from transformers import SamImageProcessorPil, SamModel, SamProcessor

        processor: Any = SamProcessor(SamImageProcessorPil.from_pretrained(folder))
        model = load(SamModel, folder)

        def segment(frame: np.ndarray, box: np.ndarray) -> FrameResult:
            if not np.isfinite(box).all():
                return {"mask": np.zeros(frame.shape[:2], np.uint8)}
            inputs = processor(frame, input_boxes=[[box.tolist()]], return_tensors="pt")
            sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
            inputs = {name: value.to(model.device).float() for name, value in inputs.items()}
            out = model(**inputs)
            best = int(out.iou_scores[0, 0].argmax())  # of SAM's three masks: subpart, part, whole
            fine = processor.image_processor.post_process_masks(
                out.pred_masks[:, :, best : best + 1].cpu(), *sizes, binarize=False
            )[0][0, 0]
            mask = _refine_edges(_holes_filled(fine.sigmoid().numpy()), frame)
            return {"mask": (mask * 255 + 0.5).astype(np.uint8)}

        with torch.no_grad():
            yield segment

    name = f"{fingerprint(SAM, folder)}-{VERSION}"
    found = cached_results(frames, name, open_backend, "segmenting the person", boxes)
    return np.stack([here["mask"] for here in found]).astype(np.float32) / 255


def _detect_boxes(frames: np.ndarray, location: WeightsLocation) -> list[np.ndarray]:
    """Bounding boxes for PROMPT in each frame: float (N, 5), left, top, right, bottom, score."""
    folder = fetch(GROUNDING_DINO, location)

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        import torch
        from transformers import (
            AutoTokenizer,
            GroundingDinoForObjectDetection,
            GroundingDinoImageProcessorPil,
            GroundingDinoProcessor,
        )

        try:
            parts = (GroundingDinoImageProcessorPil.from_pretrained(folder),
                     AutoTokenizer.from_pretrained(folder, local_files_only=True))  # fmt: skip
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UsageError(f"{folder}: the model cannot be loaded ({first})") from None
        processor: Any = GroundingDinoProcessor(*parts)
        model = load(GroundingDinoForObjectDetection, folder)

        def detect(frame: np.ndarray) -> FrameResult:
            inputs = processor(images=frame, text=PROMPT, return_tensors="pt").to(model.device)
            detections = processor.post_process_grounded_object_detection(
                model(**inputs), threshold=MIN_SCORE, target_sizes=[frame.shape[:2]]
            )[0]
            return {
                "boxes": torch.column_stack([detections["boxes"], detections["scores"]])
                .cpu()
                .numpy()
            }

        with torch.no_grad():
            yield detect

    found = cached_results(
        frames,
        f"{fingerprint(GROUNDING_DINO, folder)}-{MIN_SCORE}",
        open_backend,
        "detecting the person",
    )
    return [here["boxes"] for here in found]


def _person_boxes(found: list[np.ndarray], poses: np.ndarray) -> np.ndarray:
    """The person's box in each frame, (F, 4): by overlap with the pose, or in frames without a pose
    with the box of the frame before or after."""
    boxes = poses.copy()
    for index, frame in enumerate(found):
        if len(frame) and np.isfinite(poses[index]).all():
            boxes[index] = frame[np.argmax(intersection_over_union(frame, poses[index])), :4]
    for order in (range(1, len(found)), range(len(found) - 2, -1, -1)):
        for index in order:
            near = boxes[index - 1 if order.step > 0 else index + 1]
            if len(found[index]) and np.isnan(boxes[index]).any() and np.isfinite(near).all():
                shared = intersection_over_union(found[index], near)
                if shared.max() >= SAME_PERSON_IOU:
                    boxes[index] = found[index][np.argmax(shared), :4]
    return boxes


def _holes_filled(mask: np.ndarray) -> np.ndarray:
    """Fill the holes that SAM leaves in patterns and logos."""
    solid = mask > 0.5
    return np.where(binary_fill_holes(solid) & ~solid, 1.0, mask)


def _refine_edges(mask: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Align the outline of a mask (H, W) in 0..1 with the edges of its frame, uint8 (H, W, 3).

    The guided filter (He et al. 2010) with the colors as guide: within REACH pixels the mask
    becomes linear in the colors, which removes specks and ragged edges and keeps fingers. The
    contrast lost by the averaging is restored afterwards.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        flat = (2 * REACH + 1, 2 * REACH + 1) + (1,) * (values.ndim - 2)
        return uniform_filter(values, flat)

    colors = frame.astype(np.float64) / 255
    middle, level = mean(colors), mean(mask.astype(np.float64))
    spread = mean(colors[..., :, None] * colors[..., None, :])  # (H, W, 3, 3)
    spread += SMOOTH * np.eye(3) - middle[..., :, None] * middle[..., None, :]
    shared = mean(colors * mask[..., None]) - middle * level[..., None]
    slope = np.linalg.solve(spread, shared[..., None])[..., 0]  # (H, W, 3)
    offset = level - (slope * middle).sum(-1)
    smooth = (mean(slope) * colors).sum(-1) + mean(offset)
    return np.clip(2 * smooth - 0.5, 0, 1).astype(np.float32)
