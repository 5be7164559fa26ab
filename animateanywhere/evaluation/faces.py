"""Embeddings of faces by ArcFace (Deng et al. 2019), where insightface and its models are there.

Its extra, `faces`, brings the package; the models, for non-commercial research only, are left to
the user.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.console import progress
from animateanywhere.core.errors import UsageError
from animateanywhere.evaluation.embed import ImageEmbedder
from animateanywhere.preprocessing.weights import WeightsLocation

PACK = "buffalo_l"
ROOT = Path("~/.insightface")  # where the package itself keeps its models


def face_embedder(location: WeightsLocation) -> ImageEmbedder:
    """From frames to the embeddings of the largest face in each; (N, 512), frames without a face
    left out.

    The models are those of DIR/insightface/models/buffalo_l with a location DIR, else of the package's
    own folder in the user's home; they are never downloaded.

    Raises:
        UsageError: the package or its models are not there.
    """
    if not find_spec("insightface"):
        raise UsageError("insightface is not installed: pip install 'animateanywhere[faces]'")
    own = location.models / "insightface" if location.models else None
    root = own if own and own.is_dir() else ROOT.expanduser()
    if len(list((root / "models" / PACK).glob("*.onnx"))) < 2:  # a detector and ArcFace
        raise UsageError(f"insightface's {PACK} is not in {root / 'models'}: put its .onnx there")
    from insightface.app import FaceAnalysis

    modules = ["detection", "recognition"]
    with redirect_stdout(sys.stderr):  # where older versions tell what they load
        app = FaceAnalysis(name=PACK, root=str(root), allowed_modules=modules)
        app.prepare(ctx_id=-1, det_size=(640, 640))

    def area(face: Any) -> float:
        left, top, right, bottom = face.bbox
        return float((right - left) * (bottom - top))

    def pictures(frames: np.ndarray) -> np.ndarray:
        rows = []
        with progress("comparing faces", total=len(frames)) as bar:
            for frame in frames:
                seen = app.get(np.ascontiguousarray(frame[..., ::-1]))  # BGR, as OpenCV has it
                if seen:
                    rows.append(max(seen, key=area).normed_embedding)
                bar.advance(1)
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 512), np.float32)

    return pictures
