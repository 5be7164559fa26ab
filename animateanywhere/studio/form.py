"""What pages send: numbers in an address, the body of a request, and the values of a form in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request

from animateanywhere.core.errors import UsageError
from animateanywhere.core.json_file import is_shallow, parse_json

LARGEST = 2**20  # bytes of a form
LONGEST = 2000  # letters of a text
DEEPEST = 3  # a form, with a pose in it
Form = Mapping[str, Any]


class _Number(IntegerConvertor):
    """A number in an address, as {name:number}."""

    regex = "[0-9]{1,9}"  # Python reads no number of thousands of digits


register_url_convertor("number", _Number())


class TooLarge(Exception):
    """More bytes than a request may have; its argument is how many."""


async def read_body(request: Request, most: int = LARGEST) -> bytes:
    """The body of a request. Raises TooLarge beyond `most` bytes."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise TooLarge(most)
    return body


async def read_form(request: Request) -> dict[str, Any]:
    """The form that a request brings. Raises TooLarge; UsageError for something else, and where a
    text in it could not be written: halves of a surrogate pair."""
    body = await read_body(request)
    try:
        form = parse_json(body.decode())
        if is_shallow(form, DEEPEST):
            json.dumps(form, ensure_ascii=False).encode()
        else:
            form = None
    except ValueError:
        form = None
    if not isinstance(form, dict):
        raise UsageError("not a form")
    return form


def text_of(form: Form, key: str) -> str:
    """A line of text of a form, "" where there is none. Raises UsageError for other values."""
    value = form.get(key) or ""
    if not isinstance(value, str):
        raise UsageError(f"{key}: give text")
    words = " ".join(value.split())
    if len(words) > LONGEST or "\0" in words:
        raise UsageError(f"{key}: at most {LONGEST} letters")
    return words


def texts_of(form: Form, key: str) -> list[str]:
    """A list of texts of a form, [] where there is none. Raises UsageError for other values."""
    values = form.get(key) or []
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise UsageError(f"{key}: give a list of texts")
    return values


def choice_of(form: Form, key: str, known: Sequence[str]) -> str:
    """One of the known words of a form, "" where there is none. Raises UsageError for others."""
    word = text_of(form, key)
    if word and word not in known:
        raise UsageError(f"{key}: one of {', '.join(known)}")
    return word


def number_of(form: Form, key: str, least: float, most: float, kind: type = float) -> Any:
    """A number of a form; None where there is none. Raises UsageError for another one."""
    value = form.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{key}: give a number")
    if not least <= value <= most:
        raise UsageError(f"{key}: from {least:g} to {most:g}")
    return kind(value)
