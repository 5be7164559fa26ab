"""Captions by a model behind OpenAI's chat API: OpenAI's own, or any compatible server.

It uploads pictures of a person, so it runs only when it is selected by name, and a message says
what is sent. The key is read from OPENAI_API_KEY and the address of another server from
OPENAI_BASE_URL, as in the openai package.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from rich.markup import escape

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import say
from animateanywhere.core.paths import install_command
from animateanywhere.preprocessing.captions.template import (
    Description,
    parse_answer,
    sample_pictures,
)

MODEL = "gpt-4o-mini"
TOKENS_PER_PICTURE = 85  # of a picture at low detail
REMEDY = "run the command again later, or give --caption template"
TIMEOUT, RETRIES = 40.0, 4  # TIMEOUT in seconds; the client waits longer after each try
INSTRUCTION = (
    "These are frames of one short video of one person. Describe what is NOT the person's looks. "
    "scene: where it is, as a phrase with its preposition, such as 'in a kitchen'. "
    "action: what the person does, in present participle, such as 'dancing'. "
    "objects: things the person holds or uses, each with its article, such as 'a guitar'; "
    "often none. framing: one of 'full body', 'upper body', 'face'. "
    "Never mention clothes, hair, face, age, build, skin or anything worn."
)
SCHEMA: dict[str, Any] = {
    "name": "clip",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {
            "scene": {"type": "string"},
            "action": {"type": "string"},
            "objects": {"type": "array", "items": {"type": "string"}},
            "framing": {"type": "string", "enum": ["full body", "upper body", "face"]},
        },
        "required": ["scene", "action", "objects", "framing"],
        "additionalProperties": False,
    },
}


def connect() -> Any:
    """OpenAI's client. Raises UsageError if the package or the API key is missing."""
    try:
        import openai
    except ImportError:
        raise UsageError(
            "--caption openai: the openai package is not installed; run: "
            + install_command("openai")
        ) from None
    if not os.environ.get("OPENAI_API_KEY"):
        raise UsageError(
            "--caption openai: there is no API key: set OPENAI_API_KEY, or give --caption template"
        )
    return openai.OpenAI(timeout=TIMEOUT, max_retries=RETRIES)


def describe(frames: np.ndarray, model: str | None = None) -> Description:
    """Describe frames, uint8 (F, H, W, 3), without the person's appearance.

    Raises:
        UsageError: the openai package or the API key is missing, or the key is rejected.
        Failure: no answer after several tries, or no usable one.
    """
    text = ask(sample_pictures(frames), INSTRUCTION, SCHEMA, model)
    return parse_answer(text, "openai")


def ask(
    shown: Sequence[Image.Image], instruction: str, schema: dict[str, Any], model: str | None = None
) -> str | None:
    """The answer to an instruction about pictures, JSON of a schema; says what is sent. Raises as
    `describe`."""
    client = connect()
    import openai

    pictures = [_jpeg(picture) for picture in shown]
    size = sum(map(len, pictures)) / 1000
    tokens = TOKENS_PER_PICTURE * len(pictures) + 400
    model = model or MODEL
    say(escape(f"pictures sent to {client.base_url.host}, model {model}: {len(pictures)} "
               f"({size:.0f} kB, about {tokens} tokens)"))  # fmt: skip
    content: list[dict[str, Any]] = [{"type": "text", "text": instruction}]
    content += [{"type": "image_url", "image_url": {"detail": "low", "url": picture}}
                for picture in pictures]  # fmt: skip
    question: dict[str, Any] = {
        "messages": [{"role": "user", "content": content}],
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    try:
        answer = client.chat.completions.create(model=model, **question)
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise UsageError(
            f"--caption openai: the API key was rejected: {_first_line(error)}"
        ) from None
    except openai.OpenAIError as error:
        raise Failure(
            f"--caption openai: the server gave no answer: {_first_line(error)}; {REMEDY}"
        ) from None
    return answer.choices[0].message.content if answer.choices else None


def _jpeg(picture: Image.Image) -> str:
    """A data URL of a picture."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
