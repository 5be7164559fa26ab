"""What a clip shows beside the person's looks, by the backend that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.markup import escape

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import warn
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import openai_api, vlm
from animateanywhere.preprocessing.captions.template import Said
from animateanywhere.preprocessing.frame_cache import Found, Look, look_at

BACKENDS = ("template", "vlm", "openai")


def ready(backends: Backends) -> None:
    """Raise UsageError where the captions asked for cannot be had, before any other work."""
    if backends.caption not in BACKENDS:
        raise UsageError(f"--caption {backends.caption}: choose one of {', '.join(BACKENDS)}")
    if backends.caption == "openai":
        openai_api.connect()
    if backends.caption == "vlm":
        vlm.weights(backends.caption_model, backends.place)


def describe(frames: np.ndarray, scene: str | None, backends: Backends) -> Said:
    """What frames, uint8 (F, H, W, 3), show; a scene that the user names stands.

    The same frames are described once: another answer might say otherwise, and costs.

    Raises:
        UsageError: no weights, no key.
        Failure: no answer that makes sense, and no fallback was asked for.
    """
    if backends.caption == "template":
        return Said(scene or "")
    model = backends.caption_model

    @contextmanager
    def opened() -> Iterator[Look]:
        def look(clip: np.ndarray) -> Found:
            if backends.caption == "vlm":
                said = vlm.describe(clip, model, backends.place)
            else:
                said = openai_api.describe(clip, model)
            return {"said": np.array(json.dumps(said))}

        yield look

    name = f"said-{backends.caption}-{re.sub('[^a-zA-Z0-9.-]+', '-', model or 'default')}"
    try:
        found = look_at(frames[None], name, opened, "describing the clip")
    except Failure as error:
        if backends.caption_fallback != "template":
            raise
        warn(escape(f"{error}; going on with --caption template"))
        return Said(scene or "")
    scene_seen, action, things = json.loads(str(found[0]["said"]))
    return Said(scene or scene_seen, action, tuple(things))
