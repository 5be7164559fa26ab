"""An opened input: its pictures in order, with their times, before they are converted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from animateanywhere.core.findings import Finding

TRANSPARENT_GRAY = 128  # shown through transparent pixels


class Part(NamedTuple):
    """The part of an input to read, and its own frame rate where that is not known or wrong."""

    start: float = 0.0  # seconds
    frames: int | None = None  # maximum, at the frame rate that is asked for
    fps: float | None = None  # frames per second of the input itself


WHOLE = Part()


@dataclass
class Source:
    """Pictures in the order in which they are shown."""

    # Times in seconds since the first one, in order; at last the time at which it all ends
    pictures: Iterator[tuple[float, Any]]
    # What is in `pictures` to uint8 (H, W, 3 or 4 with alpha), upright; raises UsageError
    convert: Callable[[Any], np.ndarray]
    fps: float  # average frames per second
    length: float | None = None  # seconds, None if the file does not tell
    findings: list[Finding] = field(default_factory=list)
    # After the last picture: which of those given were damaged, bool (N,), and the times (L,) of
    # those lost, in seconds since the first one
    damage: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None

    def note(self, text: str, level: str = "note") -> None:
        """Remember something that a user should know, once."""
        finding = Finding("warning" if level == "warning" else "note", "file", text)
        if finding not in self.findings:
            self.findings.append(finding)


def on_gray(pixels: np.ndarray) -> np.ndarray:
    """Blend uint8 (..., 4) with gray: (..., 3)."""
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return (pixels[..., :3] * alpha + TRANSPARENT_GRAY * (1 - alpha) + 0.5).astype(np.uint8)
