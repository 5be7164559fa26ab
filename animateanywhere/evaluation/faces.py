"""Embeddings of faces by ArcFace (Deng et al. 2019), through insightface.

The extra `faces` installs the package; its models, licensed for non-commercial research only, must
be provided by the user.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import progress
from animateanywhere.core.paths import install_command
from animateanywhere.evaluation.embed import ImageEmbedder
from animateanywhere.preprocessing.weights import WeightsLocation

PACK = "buffalo_l"
ROOT = Path("~/.insightface")  # the package's own folder of models


def face_embedder(location: WeightsLocation) -> ImageEmbedder:
    """A function from frames, uint8 (F, H, W, 3), to embeddings of the largest face in each.

    It returns float32 (N, 512), without the frames in which no face is detected. The models are
    read from insightface/models/buffalo_l in the folder of `location`, otherwise from the package's
    own folder in the user's home; they are never downloaded.

    Raises:
        UsageError: the package or its models are missing.
    """
    if not find_spec("insightface"):
        raise UsageError(f"insightface is not installed; run: {install_command('faces')}")
    own = location.models / "insightface" if location.models else None
    root = own if own and own.is_dir() else ROOT.expanduser()
    if len(list((root / "models" / PACK).glob("*.onnx"))) < 2:  # a detector and ArcFace
        raise UsageError(
            f"insightface's {PACK} is not in {root / 'models'}: put its .onnx files there"
        )
    from insightface.app import FaceAnalysis

    modules = ["detection", "recognition"]
    with redirect_stdout(sys.stderr):  # older versions print the names of the models
        app = FaceAnalysis(name=PACK, root=str(root), allowed_modules=modules)
        app.prepare(ctx_id=-1, det_size=(640, 640))

    def area(face: Any) -> float:
        left, top, right, bottom = face.bbox
        return float((right - left) * (bottom - top))

    def embed_faces(frames: np.ndarray) -> np.ndarray:
        embeddings = []
        with progress("face embeddings", total=len(frames)) as bar:
            for frame in frames:
                detected = app.get(np.ascontiguousarray(frame[..., ::-1]))  # BGR, as in OpenCV
                if detected:
                    embeddings.append(max(detected, key=area).normed_embedding)
                bar.advance(1)
        return (
            np.stack(embeddings).astype(np.float32)
            if embeddings
            else np.zeros((0, 512), np.float32)
        )

    return embed_faces
