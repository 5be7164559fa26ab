"""Scene, action and objects of a clip, described by the selected caption backend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import warn
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import openai_api, vlm
from animateanywhere.preprocessing.captions.template import Description
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results

BACKENDS = ("template", "vlm", "openai")


def check_available(backends: Backends) -> None:
    """Raise UsageError if the caption backend is unknown or lacks a package, a key or weights.

    Called before any computation, so that a wrong setting is reported early.
    """
    if backends.caption not in BACKENDS:
        raise UsageError(f"--caption {backends.caption}: choose one of {', '.join(BACKENDS)}")
    if backends.caption == "openai":
        openai_api.connect()
    if backends.caption == "vlm":
        vlm.weights(backends.caption_model, backends.location)


def describe(frames: np.ndarray, scene: str | None, backends: Backends) -> Description:
    """Describe the scene, the action and the objects in frames, uint8 (F, H, W, 3).

    The answer for the same frames is cached: asking again costs time or money and may give other
    words.

    Args:
        scene: given by the user; replaces the scene that the model describes.

    Raises:
        UsageError: weights or an API key are missing.
        Failure: the model gave no usable answer, and no fallback is set.
    """
    if backends.caption == "template":
        return Description(scene or "")
    model = backends.caption_model

    @contextmanager
    def open_backend() -> Iterator[FrameFunction]:
        if backends.caption == "vlm":
            ask = vlm.opened(model, backends.location)
        else:
            ask = partial(openai_api.describe, model=model)

        def describe_clip(clip: np.ndarray) -> FrameResult:
            return {"description": np.array(json.dumps(ask(clip)))}

        yield describe_clip

    name = f"caption-{backends.caption}-{re.sub('[^a-zA-Z0-9.-]+', '-', model or 'default')}"
    try:
        found = cached_results(frames[None], name, open_backend, "describing the clip")
    except Failure as error:
        if backends.caption_fallback != "template":
            raise
        warn(escape(f"{error}; continuing with --caption template"))
        return Description(scene or "")
    described_scene, action, objects = json.loads(str(found[0]["description"]))
    return Description(scene or described_scene, action, tuple(objects))
