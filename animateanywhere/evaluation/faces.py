"""Embeddings of faces by dlib's network (a ResNet, He et al. 2016, trained by D. King), on the CPU.

The extra `faces` installs dlib and the package with the weights, which are CC0 and read as files.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import progress
from animateanywhere.core.paths import install_command
from animateanywhere.evaluation.embed import ImageEmbedder

WEIGHTS = "face_recognition_models"  # a package
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
LENGTH = 128  # of an embedding
WORKING_SIZE = 640  # pixels of the shorter side: smaller frames are enlarged by powers of two


def face_embedder() -> ImageEmbedder:
    """A function from frames, uint8 (F, H, W, 3), to embeddings of the largest face in each.

    It returns float32 (N, 128), without the frames in which no face is detected; faces under some
    40 pixels are not. Embeddings are compared by their Euclidean distance.

    Raises:
        UsageError: dlib or the weights are not installed.
    """
    folder = _folder()
    import dlib

    detect = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(folder / LANDMARKS))
    network = dlib.face_recognition_model_v1(str(folder / NETWORK))

    def embed_faces(frames: np.ndarray) -> np.ndarray:
        doublings = max(math.ceil(math.log2(WORKING_SIZE / min(frames.shape[1:3]))), 1)
        rows = []
        with progress("face embeddings", total=len(frames)) as bar:
            for frame in map(np.ascontiguousarray, frames):
                found = detect(frame, doublings)
                if found:
                    largest = max(found, key=lambda box: box.area())
                    rows.append(network.compute_face_descriptor(frame, landmarks(frame, largest)))
                bar.advance(1)
        return np.array(rows, np.float32).reshape(-1, LENGTH)

    return embed_faces


def _folder() -> Path:
    """Where the package of weights has its files; it is not imported."""
    package = find_spec(WEIGHTS)
    folder = Path(package.origin).parent / "models" if package and package.origin else None
    if not find_spec("dlib") or folder is None or not (folder / NETWORK).is_file():
        raise UsageError(f"dlib or its weights are not installed; run: {install_command('faces')}")
    return folder
