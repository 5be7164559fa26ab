"""Which backend finds poses and masks: the best of those that need no download, or as asked."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from animateanywhere.core.console import say
from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.pose import openpose
from animateanywhere.preprocessing.weights import (
    DWPOSE,
    GROUNDING_DINO,
    HUB,
    RT_DETR,
    SAM,
    VITPOSE,
    Source,
    WeightsLocation,
    fetch,
    find_local,
)

BEST = {"pose": ("vitpose", "dwpose", "mediapipe"), "mask": ("grounded-sam", "mediapipe")}
ON_REQUEST_ONLY = {"pose": ("openpose",), "mask": ()}  # never by itself: its license
NEEDED_WEIGHTS: dict[str, tuple[Source, ...]] = {
    "vitpose": (RT_DETR, VITPOSE), "dwpose": (DWPOSE,), "grounded-sam": (GROUNDING_DINO, SAM),
}  # fmt: skip
PACKAGES = {"dwpose": ("rtmlib", "onnxruntime"), "openpose": ("controlnet_aux", "torchvision")}


@dataclass(frozen=True)
class Backends:
    """What finds poses and masks and writes captions, and where its weights come from."""

    pose: str = "auto"  # or exact, vitpose, dwpose, mediapipe, openpose
    mask: str = "auto"  # or exact, grounded-sam, mediapipe
    caption: str = "template"  # or vlm, or openai, which sends a few frames away
    caption_model: str | None = None  # of vlm or openai, else its default
    caption_fallback: str | None = None  # "template", where they give no answer
    location: WeightsLocation = HUB  # of the weights


def choose_backend(
    kind: str, settings: Backends, clip: Path, exact_file: Path | None = None
) -> str:
    """The backend for the "pose"s or "mask"s of a clip; says why where it was left to choose.

    truth: file of exact poses or masks beside the clip. Raises UsageError for an unknown backend,
    for "exact" without a file, and, before any work, for packages and weights that cannot be had.
    """
    asked = getattr(settings, kind)
    options = ("auto", "exact", *BEST[kind], *ON_REQUEST_ONLY[kind])
    if asked not in options:
        raise UsageError(f"--{kind} {asked}: choose one of {', '.join(options)}")
    if asked == "exact" and exact_file is None:
        raise UsageError(f"--{kind} exact: no {clip.stem}.{kind}s file beside {clip}")
    if asked != "auto":
        if not _installed(asked):
            raise UsageError(f"--{kind} {asked}: pip install 'animateanywhere[{asked}]'")
        for source in NEEDED_WEIGHTS.get(asked, ()):
            fetch(source, settings.location)
        if asked == "openpose":
            openpose.weights(settings.location)
            if why := openpose.torchvision_fault():
                raise UsageError(why)
        return asked
    if exact_file is not None:
        say(f"{kind}s: exact, from {exact_file.name}")
        return "exact"
    lacking = []
    for backend in filter(_installed, BEST[kind]):
        if all(find_local(source, settings.location) for source in NEEDED_WEIGHTS.get(backend, ())):
            break
        lacking.append(backend)
    why = f", for want of weights for {' and '.join(lacking)}" if lacking else ""
    why += f" (asked for by name, {lacking[0]} gets them)" if lacking else ""
    say(f"{kind}s: {backend}{why}")
    return backend


def _installed(backend: str) -> bool:
    return all(find_spec(package) for package in PACKAGES.get(backend, ()))
