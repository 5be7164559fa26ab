"""The face detector: whether a face is visible where the true render shows one from the front.

A small network trained on rendered puppets only (`face_detector_training`), to measure generated
videos of puppets; `evaluation.faces` is for real footage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.core.tensor_file import read_tensors
from animateanywhere.preprocessing.crop import crop_frames
from animateanywhere.puppets import Clip

FILE = "faces.safetensors"  # in the folder of the perception network
SIDE = 24  # pixels a side of the network's input
ROOM = 1.6  # side of the square around a face in widths of the head
LEAST = 10.0  # pixels: in narrower heads, a face cannot be seen
# Of the probability. What an autoencoder that erases faces leaves of them, a blurred field of skin
# in hair, reaches 0.5 to 0.9 at times; by eye it is no face.
THRESHOLD = 0.9
NOSE, FACE = 0, [0, 14, 15]  # FACE: nose and eyes


class FaceDetector(nn.Module):
    """Four 3x3 convolutions and the mean and largest value of each feature; 40,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, 16, 1), (16, 32, 2), (32, 48, 2), (48, 48, 1)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, 1),
                nn.GroupNorm(8, outputs),
                nn.SiLU(),
            ]
        self.features, self.head = nn.Sequential(*layers), nn.Linear(96, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Crops `(B, 3, 24, 24)` in -1..1 to logits `(B,)` of a visible face."""
        y = self.features(x).flatten(2)  # (B, 48, 36)
        return self.head(torch.cat([y.mean(-1), y.amax(-1)], -1))[:, 0]


def head_width(clip: Clip) -> float:
    """Width of the head in a true render, in pixels."""
    who = clip.spec.identity
    return 0.14 * who.height * who.head * clip.spec.camera.scale * clip.frames.shape[1]


def frontal_frames(clip: Clip) -> np.ndarray:
    """bool (F,): whether a true render shows nose and both eyes, of a head that is wide enough."""
    if head_width(clip) < LEAST:
        return np.zeros(len(clip.keypoints), bool)
    return np.all(clip.keypoints[:, FACE, 2] > 0.5, axis=1)


def face_crops(frames: np.ndarray, clip: Clip, side: int = SIDE, room: float = ROOM) -> np.ndarray:
    """Squares around the place of the face in a true render, from frames of its size: uint8
    (F, H, W, 3) to (F, side, side, 3). room: their side in widths of the head."""
    width = np.full((len(frames), 1), room * head_width(clip))
    where = np.concatenate([clip.keypoints[:, NOSE, :2], width], 1)
    return crop_frames(frames, where, square(side))


@torch.inference_mode()
def face_probabilities(net: FaceDetector, crops: np.ndarray) -> np.ndarray:
    """Probability of a visible face in each of `face_crops`: uint8 (F, 24, 24, 3) to (F,)."""
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    return net(x).sigmoid().numpy()


def faces_visible(net: FaceDetector, frames: np.ndarray, truth: Clip) -> float:
    """Share of the frames with a visible face, of those in which the true render shows one from
    the front; `nan` if it does in none. frames: uint8 (F, H, W, 3), of the truth's shape."""
    frontal = frontal_frames(truth)
    if not frontal.any():
        return float("nan")
    found = face_probabilities(net, face_crops(frames, truth)[frontal])
    return float((found > THRESHOLD).mean())


def save_face_detector(folder: Path, net: FaceDetector) -> None:
    """Write the weights, in half precision, into an existing folder."""
    state = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    (folder / FILE).write_bytes(save(state))


def load_face_detector(folder: Path) -> FaceDetector | None:
    """The face detector in the folder of a perception network; None if it has none. Raises
    UsageError if its file is damaged or of another network."""
    path = folder / FILE
    if not path.is_file():
        return None
    net = FaceDetector()
    try:
        net.load_state_dict(read_tensors(path)[0])
    except (UsageError, RuntimeError) as error:
        reason = error if isinstance(error, UsageError) else f"{path}: not a face detector"
        raise UsageError(
            f"{reason}; make it again with the stage `perception` of `aa base-train`, or delete "
            "it: visible faces are not measured then"
        ) from error
    return net.eval()
