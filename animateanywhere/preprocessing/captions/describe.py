"""What a clip shows beside the person's looks, by the backend that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.markup import escape

from animateanywhere.core.console import warn
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import openai_api, vlm
from animateanywhere.preprocessing.captions.template import Description
from animateanywhere.preprocessing.frame_cache import FrameFunction, FrameResult, cached_results

BACKENDS = ("template", "vlm", "openai")


def check_available(backends: Backends) -> None:
    """Raise UsageError where the captions asked for cannot be had, before any other work."""
    if backends.caption not in BACKENDS:
        raise UsageError(f"--caption {backends.caption}: choose one of {', '.join(BACKENDS)}")
    if backends.caption == "openai":
        openai_api.connect()
    if backends.caption == "vlm":
        vlm.weights(backends.caption_model, backends.location)


def describe(frames: np.ndarray, scene: str | None, backends: Backends) -> Description:
    """What frames, uint8 (F, H, W, 3), show; a scene that the user names stands.

    The same frames are described once: another answer might say otherwise, and costs.

    Raises:
        UsageError: no weights, no key.
        Failure: no answer that makes sense, and no fallback was asked for.
    """
    if backends.caption == "template":
        return Description(scene or "")
    model = backends.caption_model

    @contextmanager
    def opened() -> Iterator[FrameFunction]:
        def look(clip: np.ndarray) -> FrameResult:
            if backends.caption == "vlm":
                said = vlm.describe(clip, model, backends.location)
            else:
                said = openai_api.describe(clip, model)
            return {"said": np.array(json.dumps(said))}

        yield look

    name = f"said-{backends.caption}-{re.sub('[^a-zA-Z0-9.-]+', '-', model or 'default')}"
    try:
        found = cached_results(frames[None], name, opened, "describing the clip")
    except Failure as error:
        if backends.caption_fallback != "template":
            raise
        warn(escape(f"{error}; going on with --caption template"))
        return Description(scene or "")
    scene_seen, action, things = json.loads(str(found[0]["said"]))
    return Description(scene or scene_seen, action, tuple(things))
