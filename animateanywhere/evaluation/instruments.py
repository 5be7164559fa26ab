"""The networks that measure videos of rendered people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from animateanywhere.core.messages import warn
from animateanywhere.evaluation.face_detector import FILE, FaceDetector, load_face_detector
from animateanywhere.evaluation.perception import Perception, load_perception, perception_of


@dataclass(frozen=True)
class Instruments:
    """The networks that measure. face_detector: None if the base has none."""

    net: Perception
    face_detector: FaceDetector | None


def instruments(base: Path) -> Instruments:
    """The networks of a base that measure. A warning says what is not measured without them."""
    folder = perception_of(base)
    detector = load_face_detector(folder)
    if detector is None:
        warn(
            escape(
                f"visible faces are not measured: {folder} has no {FILE}, which the stage "
                "`perception` of `aa base-train` makes"
            )
        )
    return Instruments(load_perception(folder), detector)
