"""Content Credentials: a manifest of the Coalition for Content Provenance and Authenticity (C2PA),
where the extra `c2pa` is installed.

A signature needs a certificate: the user's, or one of a key for this file alone (`one_time_key`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import UUID

from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import disk_is_full
from animateanywhere.core.messages import warn
from animateanywhere.media.one_time_key import OneTimeKey, replace_manifest

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
FORMATS = {
    ".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp", ".png": "image/png"
}  # fmt: skip
READ = {".mov": "video/quicktime", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"} | FORMATS
# As c2patool reads them: the text of PEM files; here a path of one will do, too
CERTIFICATES, KEY = "C2PA_SIGN_CERT", "C2PA_PRIVATE_KEY"
CURVES = {256: "es256", 384: "es384", 521: "es512"}
LARGEST = 2**30  # bytes of a file: the library holds it in memory, twice to sign it
SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
NOT_SIGNED, ELSE = "the result is not signed (C2PA)", "all else is in its metadata"


class Signed(NamedTuple):
    """What the manifest in a file says."""

    source: str  # address of a term of IPTC's vocabulary, "" where it says none
    tool: str
    intact: bool  # whether the file is the one that was signed; says nothing of by whom


def can_sign(suffix: str) -> bool:
    """Whether files with this suffix are signed: the library is installed and knows the format."""
    return suffix in FORMATS and _library() is not None


def check_signer() -> None:
    """Sign a tiny picture with the user's certificate, if there is one, before any long work.

    Raises:
        UsageError: that fails.
    """
    given = [name for name in (CERTIFICATES, KEY) if os.environ.get(name)]
    if not given:
        return
    if len(given) == 1:
        raise UsageError(f"{given[0]} is set: set both {CERTIFICATES} and {KEY}, or none of them")
    if (c2pa := _library()) is None:
        warn(f"{CERTIFICATES} is set, but nothing is signed: the extra c2pa is not installed")
        return
    from PIL import Image

    picture, signed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "PNG")
    picture.seek(0)
    try:
        manifest = _manifest("check", "0", f"{VOCABULARY}algorithmicMedia", "check", b"")
        _embed(c2pa, _own_signer(c2pa), manifest, picture, signed, ".png")
        signed.seek(0)
        found = _read(c2pa, FORMATS[".png"], signed)
        if found is None or not found.intact:
            raise ValueError("the key is not that of the certificate")
    except (c2pa.C2paError, OSError, ValueError, TypeError) as error:
        raise UsageError(f"{CERTIFICATES} and {KEY} cannot sign: {error}") from None


def sign(path: Path, tool: str, version: str, source: str, command: str) -> Signed | None:
    """Put a signed manifest into a file: made by a command of a tool, with a source type; returns
    what is read of it again. Without a user's certificate, equal files give equal files. Where that
    fails, and for files larger than `LARGEST`, warn, leave the file and return None."""
    c2pa = _library()
    if path.stat().st_size > LARGEST:
        warn(f"{NOT_SIGNED}: it is larger than {LARGEST / 2**30:g} GiB; {ELSE}")
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    manifest = _manifest(tool, version, source, command, digest)
    signed = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.signed{path.suffix}")
    key = None if os.environ.get(KEY) else OneTimeKey(digest)
    try:
        signer = _own_signer(c2pa) if key is None else key.signer(c2pa)
        with path.open("rb") as file, signed.open("w+b") as target:
            stored = _embed(c2pa, signer, manifest, file, target, path.suffix.lower())
        if key is not None:
            replace_manifest(signed, stored, key.without_chance(stored))
        again = read(signed)
        if again is None or again.source != source or not again.intact:
            raise ValueError("what was written could not be read again")
        os.replace(signed, path)
        return again
    except (c2pa.C2paError, OSError, ValueError, TypeError) as error:
        full = disk_is_full(error, path.parent)  # of which the library says something else
        reason = "the disk is full" if full else " ".join(str(error).split())
        warn(escape(f"{NOT_SIGNED}: {reason}; {ELSE}"))
        return None
    finally:
        signed.unlink(missing_ok=True)


def read(path: Path) -> Signed | None:
    """The manifest in a file; None without one, if it cannot be read, in files larger than
    `LARGEST`, and without the library."""
    kind, c2pa = READ.get(path.suffix.lower()), _library()
    if kind is None or c2pa is None:
        return None
    try:
        if path.stat().st_size > LARGEST:
            return None
        with path.open("rb") as file:
            return _read(c2pa, kind, file)
    except (c2pa.C2paError, OSError, ValueError):
        return None


def _read(c2pa: Any, kind: str, file: IO[bytes]) -> Signed | None:
    # Offline: a manifest may name an address to fetch it from
    offline = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    context = c2pa.Context(settings=c2pa.Settings.from_dict(offline))
    reader = c2pa.Reader.try_create(kind, file, context=context)
    if reader is None:
        return None
    with reader:
        return _signed(json.loads(reader.json()))


def _signed(store: dict[str, Any]) -> Signed:
    manifests = store.get("manifests", {})
    active = store.get("active_manifest", "")
    # Of a file that was only converted, the manifest of the one before says how it was made
    order = [manifests.get(active, {}), *(one for name, one in manifests.items() if name != active)]
    sources = [
        action["digitalSourceType"]
        for one in order
        for assertion in one.get("assertions", [])
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
        if action.get("digitalSourceType")
    ]
    tools = order[0].get("claim_generator_info") or [{}]
    tool = f"{tools[0].get('name', '')} {tools[0].get('version', '')}".strip()
    results = store.get("validation_results", {}).get("activeManifest", {})
    failed = [one.get("code", "") for one in results.get("failure", [])]
    return Signed(next(iter(sources), ""), tool, not any("mismatch" in code for code in failed))


@cache
def _library() -> Any:
    """c2pa-python, or None."""
    if find_spec("c2pa") is None:
        return None
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:
        warn(escape(f"c2pa-python is installed and does not load: {error}; nothing is signed"))
        return None
    return c2pa


def _manifest(tool: str, version: str, source: str, command: str, digest: bytes) -> str:
    """A manifest without title and time: neither the file's name, often the prompt, nor when."""
    number = str(UUID(bytes=hashlib.sha256(b"manifest" + digest).digest()[:16], version=4))
    agent = {"name": tool, "version": version}
    action = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": agent,
              "description": command}  # fmt: skip
    return json.dumps({
        "claim_generator_info": [agent],
        "label": f"urn:c2pa:{number}",
        "instance_id": f"xmp:iid:{number}",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    })  # fmt: skip


def _own_signer(c2pa: Any) -> Any:
    """A signer with the certificate of the user."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    certificates, text = _pem(CERTIFICATES), _pem(KEY)
    key = load_pem_private_key(text, None)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    elif isinstance(key, rsa.RSAPrivateKey):
        algorithm = "ps256"
    elif isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size in CURVES:
        algorithm = CURVES[key.key_size]
    else:
        raise ValueError("a key of a kind that C2PA does not know")
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm.encode(), certificates, text, None))


def _pem(name: str) -> bytes:
    """The text of a PEM file that a variable holds or names."""
    value = os.environ.get(name, "")
    return value.encode() if "-----BEGIN" in value else Path(value).expanduser().read_bytes()


def _embed(
    c2pa: Any, signer: Any, manifest: str, source: IO[bytes], target: IO[bytes], suffix: str
) -> bytes:
    """Copy a file with a signed manifest in it; returns that as it is stored."""
    context = c2pa.Context(settings=c2pa.Settings.from_dict(SETTINGS))
    with signer, c2pa.Builder(manifest, context=context) as builder:
        return bytes(builder.sign(signer, FORMATS[suffix], source, target))
