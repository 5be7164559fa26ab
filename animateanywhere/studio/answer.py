"""Answers as JSON that every browser reads, whatever the files hold that they tell of, and files
that pages show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, JSONResponse, Response

from animateanywhere.core.files import finite
from animateanywhere.studio.place import Unknown

MEDIA = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".webp": "image/webp",
         ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}  # fmt: skip


class Answer(JSONResponse):
    """A value as JSON."""

    def render(self, content: Any) -> bytes:
        return as_json(content).encode()


def as_json(value: Any) -> str:
    """JSON in ASCII, halves of letters, too. Numbers that JSON does not have, such as the loss of a
    training that has failed, are null."""
    return json.dumps(finite(value), allow_nan=False, separators=(",", ":"))


def media(path: Path) -> Response:
    """A picture or video by its suffix, which is the server's; nothing else is given out."""
    kind = MEDIA.get(path.suffix.lower())
    if kind is None or not path.is_file():
        raise Unknown(path.name)
    return FileResponse(path, media_type=kind)
