"""XMP packets (ISO 16684) and comments in files of video and pictures.

Pillow writes the XMP of WebP and PNG; here are MP4 and GIF, whose writers know none. Matroska and
WebM have no place for it.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.media.container import open_container
from animateanywhere.media.mp4_boxes import boxes

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
PNG = "XML:com.adobe.xmp"  # keyword of the text chunk
# Of an MP4's box with XMP (XMP specification part 3, 2.3.1)
UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
# Begin of a GIF's extension with XMP, and the bytes from which a reader finds the end of it,
# wherever it comes into the text (XMP specification part 3, 1.1.2)
EXTENSION = b"\x21\xff\x0bXMP DataXMP"
TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
LARGEST = 2**20  # bytes of a packet that is read
# What Pillow and the walks here raise for a damaged file
DAMAGED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def packet(properties: Mapping[str, str]) -> bytes:
    """A packet of simple properties, {"prefix:Name": value} with the prefixes of `SPACES`."""
    names = "".join(f" xmlns:{prefix}={quoteattr(space)}" for prefix, space in SPACES.items())
    said = "".join(f" {name}={quoteattr(value)}" for name, value in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF{names}><rdf:Description rdf:about=""{said}/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def add(path: Path, packet: bytes) -> None:
    """Add a packet to an MP4 or GIF without one; nothing else of the file changes, and nothing of
    files of other formats."""
    suffix = path.suffix.lower()
    if suffix == ".mp4":  # at the end, so that nothing moves
        with path.open("ab") as file:
            file.write((24 + len(packet)).to_bytes(4, "big") + b"uuid" + UUID + packet)
    elif suffix == ".gif":
        with path.open("r+b") as file:
            file.seek(-1, 2)
            end = file.read(1)
            if end != b";":
                raise ValueError(f"{path}: no end of a GIF")
            file.seek(-1, 2)
            file.write(EXTENSION + packet + TRAILER + end)


def read(path: Path) -> str:
    """The XMP packet of a file as text, "" where there is none or none can be read."""
    with suppress(*DAMAGED):
        suffix = path.suffix.lower()
        if suffix == ".gif":
            return _in_gif(path)
        if _is_picture(path):
            return _text(_info(path).get("xmp"))
        with path.open("rb") as file:
            for kind, start, end in boxes(file):
                file.seek(start)
                if kind == b"uuid" and file.read(16) == UUID:
                    return _text(file.read(min(end - start - 16, LARGEST)))
    return ""


def comment(path: Path) -> str:
    """The comment of a file, "" where there is none or none can be read."""
    with suppress(*DAMAGED, UsageError):
        if _is_picture(path):
            info = _info(path)
            return _text(info.get("comment") or info.get("Comment"))
        with open_container(path) as container:
            own = {key.lower(): value for key, value in container.metadata.items()}
            return own.get("comment", "")
    return ""


def _is_picture(path: Path) -> bool:
    return Image.registered_extensions().get(path.suffix.lower()) is not None


def _info(path: Path) -> dict[Any, Any]:
    with Image.open(path) as picture:
        return picture.info


def _text(found: object) -> str:
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found or "")


def _in_gif(path: Path) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        start = whole.find(EXTENSION)
        if start < 0:
            return ""
        start += len(EXTENSION)
        end = whole.find(TRAILER[:2], start, start + LARGEST)
        return _text(whole[start:end]) if end >= 0 else ""
