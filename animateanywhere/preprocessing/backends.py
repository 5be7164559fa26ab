"""Selection of the backends for pose estimation, segmentation and captions.

A backend named by the user is used; with "auto" it is the best one whose package and weights are
already on this machine, so that nothing is downloaded unless requested.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import say
from animateanywhere.core.paths import install_command
from animateanywhere.preprocessing import model_files
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
ON_REQUEST_ONLY = {"pose": ("openpose",), "mask": ()}  # its license excludes commercial use
NEEDED_WEIGHTS: dict[str, tuple[Source, ...]] = {
    "vitpose": (RT_DETR, VITPOSE), "dwpose": (DWPOSE,), "grounded-sam": (GROUNDING_DINO, SAM),
}  # fmt: skip
PACKAGES = {"dwpose": ("rtmlib", "onnxruntime"), "openpose": ("controlnet_aux", "torchvision")}


@dataclass(frozen=True)
class Backends:
    """The backends for poses, masks and captions, and the location of their weights."""

    pose: str = "auto"  # or exact, vitpose, dwpose, mediapipe, openpose
    mask: str = "auto"  # or exact, grounded-sam, mediapipe
    caption: str = "template"  # or vlm, or openai, which uploads a few frames
    caption_model: str | None = None  # of vlm or openai; None: the default model
    caption_fallback: str | None = None  # "template": used if the model gives no usable answer
    location: WeightsLocation = HUB  # of the weights


def choose_backend(
    kind: str, settings: Backends, clip: Path, exact_file: Path | None = None
) -> str:
    """As `select_backend`, with its message said."""
    name, note = select_backend(kind, settings, clip, exact_file)
    if note:
        say(note)
    return name


def select_backend(
    kind: str, settings: Backends, clip: Path, exact_file: Path | None = None
) -> tuple[str, str]:
    """The name of the backend to use for a clip, and a message which one "auto" selects and why.

    Args:
        kind: "pose" or "mask".
        exact_file: file of exact poses or masks beside the clip, if there is one.

    Raises:
        UsageError: unknown backend, "exact" without a file, or a package or weights that are
            missing and cannot be downloaded; raised before any computation.
    """
    requested = getattr(settings, kind)
    options = ("auto", "exact", *BEST[kind], *ON_REQUEST_ONLY[kind])
    if requested not in options:
        raise UsageError(f"--{kind}-backend {requested}: choose one of {', '.join(options)}")
    if requested == "exact" and exact_file is None:
        raise UsageError(
            f"--{kind}-backend exact: there is no {clip.stem}.{kind}s file beside {clip}; "
            "put it there, or choose another backend"
        )
    if requested != "auto":
        if not _installed(requested):
            raise UsageError(
                f"--{kind}-backend {requested}: its packages are not installed; run: "
                + install_command(requested)
            )
        if requested == "mediapipe":
            model_files.require()
        for source in NEEDED_WEIGHTS.get(requested, ()):
            fetch(source, settings.location)
        if requested == "openpose":
            openpose.weights(settings.location)
            if why := openpose.torchvision_fault():
                raise UsageError(why)
        return requested, ""
    if exact_file is not None:
        return "exact", f"{kind}s: exact, from {exact_file.name}"
    without_weights = []
    for backend in filter(_installed, BEST[kind]):
        if all(find_local(source, settings.location) for source in NEEDED_WEIGHTS.get(backend, ())):
            break
        without_weights.append(backend)
    if backend == "mediapipe":
        model_files.require()
    why = ""
    if without_weights:
        names, best = " and ".join(without_weights), without_weights[0]
        why = f" (no local weights for {names}; --{kind}-backend {best} downloads them)"
    return backend, f"{kind}s: {backend}{why}"


def _installed(backend: str) -> bool:
    return all(find_spec(package) for package in PACKAGES.get(backend, ()))
