"""Damage to files: bytes at random, and changes that keep the structure, so that they get further
into a reader. Each is a pure function of the file and a random generator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]
# What a damaged file can hold that random bytes seldom give
NASTY = [b"", b"\0", b"\xff\xfe", b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'"', b"\n",
         b"9" * 40]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 0.5, -0.0, 1e308, -1e308,
    float("nan"), float("inf"), "", "0", "x" * 300, "\0", "\ud800", "\u202e", "a\nb", "../../x",
    "/etc/passwd", "[bold]", "%s", "{}", [], [None], [[]], {}, {"x": 1}, [1, 2], ["a", "b"],
]  # fmt: skip
DEEP = "[" * 3000 + "]" * 3000  # more than Python's parser follows
TOML = ["-1", "0", "1e308", "nan", "inf", "9" * 30, '""', '"x"', "true", "[]", "[[]]", "{}",
        "[1, 2]", '["a"]', "1979-05-27", '"\\u0000"', '"["', "0.5", '"../x"',
        "{x = 1}", DEEP]  # fmt: skip
EDGES = [0, 1, 7, 8, 9, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, bytes changed, a piece taken out, doubled or replaced by something nasty."""
    start, stop = np.sort(rng.integers(0, len(data) + 1, 2))
    stop = min(stop, start + int(rng.integers(1, 64)))
    way = rng.integers(5)
    if way == 0:
        return data[:start]
    if way == 1:
        mutable = bytearray(data)
        for place in rng.integers(0, len(data), int(rng.integers(1, 20))):
            mutable[place] = int(rng.integers(256))
        return bytes(mutable)
    if way == 2:
        return data[:start] + data[stop:]
    if way == 3:
        return data[:stop] + data[start:stop] * int(rng.integers(1, 4)) + data[stop:]
    return data[:start] + NASTY[int(rng.integers(len(NASTY)))] + data[stop:]


def changed_json(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three nodes of a JSON document, or of a line of it, replaced, removed, renamed,
    doubled, or nested too deeply."""
    try:
        tree = json.loads(data)
    except ValueError:  # one document a line
        lines = data.splitlines()
        if len(lines) < 2:
            return damaged(data or b"x", rng)
        row = int(rng.integers(len(lines)))
        lines[row] = changed_json(lines[row], rng)
        return b"\n".join(lines) + b"\n"
    for _ in range(int(rng.integers(1, 4))):
        tree = changed(tree, rng)
    text = json.dumps(tree, ensure_ascii=bool(rng.integers(2)))
    if rng.random() < 0.03:
        text = re.sub(r"\d+", DEEP, text, count=1)
    return text.encode(errors="surrogatepass")


def changed(tree: Any, rng: np.random.Generator) -> Any:
    """A JSON tree with one change, at a random depth."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.05:
        return VALUES[int(rng.integers(len(VALUES)))]
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = keys[int(rng.integers(len(keys)))]
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    way = rng.random()
    if way < 0.7 and isinstance(tree[key], dict | list):
        copy[key] = changed(tree[key], rng)
    elif way < 0.85:
        copy[key] = VALUES[int(rng.integers(len(VALUES)))]
    elif way < 0.9:
        del copy[key]
    elif isinstance(copy, list):
        copy.insert(key, copy[key])
    else:
        copy[f"{key}x"] = copy.pop(key)
    return copy


def changed_toml(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three lines of a TOML file with another value or key, removed, doubled, or moved."""
    lines = data.decode().splitlines()
    for _ in range(int(rng.integers(1, 4))):
        row = int(rng.integers(len(lines)))
        key, equals, _ = lines[row].partition("=")
        way = rng.random()
        if way < 0.6 and equals:
            lines[row] = f"{key}= {TOML[int(rng.integers(len(TOML)))]}"
        elif way < 0.7 and equals:
            lines[row] = f"{key.strip()}x {equals}{lines[row].partition('=')[2]}"
        elif way < 0.8:
            lines.insert(row, lines[row])
        elif way < 0.9:
            lines[row] = ""
        else:
            lines.insert(int(rng.integers(len(lines))), lines[row])
    return ("\n".join(lines) + "\n").encode()


def changed_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """The header of a safetensors file changed, with its length put right but for one in ten."""
    size = int.from_bytes(data[:8], "little")
    header = changed_json(data[8 : 8 + size], rng)
    length = len(header) if rng.random() < 0.9 else EDGES[int(rng.integers(len(EDGES)))]
    return length.to_bytes(8, "little") + header + data[8 + size :]


def changed_boxes(data: bytes, rng: np.random.Generator) -> bytes:
    """Boxes of an MP4 with other sizes or fields, removed, doubled or renamed."""
    for _ in range(int(rng.integers(1, 4))):
        boxes = [found.start() - 4 for found in re.finditer(rb"[a-z][a-z0-9]{3}", data)
                 if 8 <= _number(data, found.start() - 4) <= len(data)]  # fmt: skip
        if not boxes:
            return damaged(data, rng)
        place = boxes[int(rng.integers(len(boxes)))]
        size = _number(data, place)
        way = rng.random()
        if way < 0.2:
            data = data[:place] + data[place + size :]
        elif way < 0.3:
            data = data[: place + size] + data[place : place + size] + data[place + size :]
        elif way < 0.4:
            data = data[: place + 4] + bytes(rng.integers(97, 123, 4).tolist()) + data[place + 8 :]
        else:  # its size, or an aligned number in it
            at = (
                place
                if way < 0.5
                else place + 4 * int(rng.integers(2, max(min(size, 200) // 4, 3)))
            )
            number = EDGES[int(rng.integers(len(EDGES)))]
            data = data[:at] + number.to_bytes(4, "big") + data[at + 4 :]
    return data


def changed_elements(data: bytes, rng: np.random.Generator) -> bytes:
    """Elements of a WebM file with other sizes or values."""
    known = [b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b",
             b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\xae", b"\xe0", b"\xb0", b"\xba", b"\xa3",
             b"\x83", b"\x86", b"\xe7", b"\x2a\xd7\xb1", b"\x44\x89", b"\x63\xa2"]  # fmt: skip
    for _ in range(int(rng.integers(1, 5))):
        name = known[int(rng.integers(len(known)))]
        places = [found.end() for found in re.finditer(re.escape(name), data)]
        if not places:
            continue
        at = places[int(rng.integers(len(places)))] + int(rng.integers(0, 5))
        count = int(rng.integers(1, 9))
        raw = bytes([(0xFF, 0, 0x80, 0x01, int(rng.integers(256)))[int(rng.integers(5))]
                     for _ in range(count)])  # fmt: skip
        data = data[:at] + raw + data[at + count :]
    return data


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[max(place, 0) : place + 4], "big")


def one_of(*mutations: Mutation) -> Mutation:
    """Any of these, each as often."""

    def mutate(data: bytes, rng: np.random.Generator) -> bytes:
        return mutations[int(rng.integers(len(mutations)))](data, rng)

    return mutate
