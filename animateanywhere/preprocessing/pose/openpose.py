"""Pose estimation by OpenPose (Cao et al. 2017, arXiv 1611.08050), as in controlnet-aux.

Its license allows non-commercial use only, so it runs only when it is selected by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256
from animateanywhere.core.messages import say
from animateanywhere.pose.keypoints import in_frame
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results
from animateanywhere.preprocessing.pose.people import persons_of
from animateanywhere.preprocessing.tracking import Persons
from animateanywhere.preprocessing.weights import HUB, WeightsLocation

NAME = "body_pose_model"
CONVERT = (
    f"import torch, safetensors.torch as s; w = torch.load('{NAME}.pth', weights_only=True); "
    f"s.save_file({{k: v.contiguous() for k, v in w.items()}}, '{NAME}.safetensors')"
)


def extract(frames: np.ndarray, location: WeightsLocation = HUB) -> list[Persons]:
    """The persons in each frame.

    Args:
        frames: uint8 (F, H, W, 3).
        location: of the weights, `openpose/body_pose_model.safetensors`.

    Raises:
        UsageError: the weights are missing, or torchvision does not fit the installed torch.
    """
    file = weights(location)
    say("openpose: CMU's license allows non-commercial use only")

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        body = _network(file)

        def estimate(frame: np.ndarray) -> FrameResult:
            return {"persons": _persons(*body(np.ascontiguousarray(frame[..., ::-1])))}  # BGR

        yield estimate

    name = f"openpose-{sha256(file)[:12]}"
    results = cached_results(frames, name, open_backend, "estimating poses")
    size = frames.shape[1:3]
    return [persons_of(np.array([in_frame(one, *size) for one in result["persons"]])
                       .reshape(-1, 18, 3)) for result in results]  # fmt: skip


def weights(location: WeightsLocation) -> Path:
    """The file of weights in `location`. Raises UsageError if it is missing or only a pickle."""
    folder = (location.models or Path("DIR")) / "openpose"
    file = folder / f"{NAME}.safetensors"
    if location.models and file.is_file():
        return file
    if location.models and (folder / f"{NAME}.pth").is_file():
        raise UsageError(
            f"{folder}: {NAME}.pth is a pickle, which may execute code, and is not read; "
            f'if you trust it, convert it: cd {folder} && python -c "{CONVERT}"'
        )
    raise UsageError(
        f"--pose-backend openpose: {file} is missing: download {NAME}.pth of "
        f"lllyasviel/Annotators from the hub to that folder, convert it there: "
        f'python -c "{CONVERT}", and give the folder above it as --models'
    )


def torchvision_fault() -> str | None:
    """What is wrong if torchvision was built for another torch; None if it fits or is absent.

    A torchvision that does not fit also breaks imports of transformers and diffusers.
    """
    if find_spec("torchvision") is None:
        return None
    from packaging.requirements import Requirement

    torch, torchvision = version("torch"), version("torchvision")
    requirements = [Requirement(line) for line in requires("torchvision") or []]
    unmet = [line for line in requirements if line.name == "torch" and torch not in line.specifier]
    if unmet:
        why = f"it requires {unmet[0]}"
    else:
        try:
            import_module("torchvision.ops")  # loads the extension compiled against torch
            return None
        except (ImportError, RuntimeError, OSError) as error:
            why = str(error).splitlines()[0]
    return (
        f"torchvision {torchvision} does not work with torch {torch} ({why}): pip install both "
        "from one index (see pytorch.org/get-started), or pip uninstall torchvision, which only "
        "--pose-backend openpose needs"
    )


def _network(file: Path) -> Any:
    """controlnet-aux's `Body`, built without its constructor, which would load a pickle."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if why := torchvision_fault():
        raise UsageError(why)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # raised by its other, older networks
        from controlnet_aux.open_pose.body import Body
        from controlnet_aux.open_pose.model import bodypose_model
        from controlnet_aux.open_pose.util import transfer
    body = Body.__new__(Body)
    body.model = bodypose_model()
    try:
        body.model.load_state_dict(transfer(body.model, load_file(file)))
    except (SafetensorError, KeyError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"{file}: not the weights of OpenPose's body network ({first})") from None
    body.model.eval().requires_grad_(False)
    return body.to(best_device())


def _persons(candidates: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Keypoints (N, 18, 3) of `Body`'s candidates (M, 4), x, y, score, id, and id rows (N, 20)."""
    if not len(rows):
        return np.zeros((0, 18, 3))
    ids = rows[:, :18].astype(int)
    found = np.where(ids[..., None] >= 0, candidates[ids, :3], 0)
    found[..., 2] = found[..., 2].clip(0, 1)
    return found
