"""A key and a certificate for the C2PA signature of one file, for users without a certificate.

The key is derived from the file. It names nobody, links no two files, and proves no more than that
file and manifest belong together, since anybody can derive it, or make another one. In return, the
same video gives the same bytes: the signature (Ed25519, RFC 8032) depends on the key and what is
signed only, and what c2pa-rs draws by chance is replaced.
"""

from __future__ import annotations

import hashlib
import mmap
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any

NAME, OWNER = "key of one file, proves no identity", "AnimateAnywhere (anybody)"
# RFC 5280, 4.1.2.5: a certificate without an end
VALID = datetime(2024, 1, 1), datetime(9999, 12, 31, 23, 59, 59)
SALT = b"\0\0\0\x18c2sh"  # the box of a salt of 16 bytes: its length and kind


class OneTimeKey:
    """The key of a file with this digest, 32 bytes."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.signed = b""  # what was signed last
        self.signature = b""

    def signer(self, c2pa: Any) -> Any:
        """A signer of c2pa-python, whose Signer is in `c2pa`."""
        algorithm = c2pa.C2paSigningAlg.ED25519
        return c2pa.Signer.from_callback(self._sign, algorithm, self._certificates())

    def without_chance(self, manifest: bytes) -> bytes:
        """The manifest that was just signed, of the same length, with salts that depend on the file
        only: with other digests of the salted parts, and signed again.

        Salts hide what was removed from a manifest (C2PA specification 2.2, 8.4.2.3); nothing is.

        Raises:
            ValueError: it is not built as expected.
        """
        claim, signature = self.signed, self.signature
        place = manifest.find(SALT)
        while place >= 0:
            start = manifest.rindex(b"jumb", 0, place) - 4  # of the box with the salt and a part
            end = start + int.from_bytes(manifest[start : start + 4], "big")
            salt = hashlib.sha256(self.digest + place.to_bytes(8, "big")).digest()[:16]
            at = place + len(SALT)
            box = manifest[start:at] + salt + manifest[at + 16 : end]
            former = hashlib.sha256(manifest[start + 8 : end]).digest()
            digest = hashlib.sha256(box[8:]).digest()
            claim = _replaced(claim, former, digest)
            manifest = _replaced(manifest[:start] + box + manifest[end:], former, digest)
            place = manifest.find(SALT, end)
        return _replaced(manifest, signature, self._sign(claim))

    def _sign(self, data: bytes) -> bytes:
        self.signed, self.signature = data, self._key("leaf").sign(data)
        return self.signature

    def _key(self, use: str) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(
            hashlib.sha256(use.encode() + self.digest).digest()
        )

    def _certificates(self) -> str:
        """The certificate and that of its issuer, since C2PA takes none that signs itself."""
        from cryptography import x509
        from cryptography.x509.oid import ExtendedKeyUsageOID

        issuer, key = self._key("issuer"), self._key("leaf")
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        own = _certificate(NAME, key.public_key(), issuer, 2, ca=False).add_extension(use, False)
        above = _certificate(f"{NAME}: issuer", issuer.public_key(), issuer, 1, ca=True)
        return _pem(own.sign(issuer, None)) + _pem(above.sign(issuer, None))


def _certificate(name: str, public: Any, issuer: Any, number: int, ca: bool) -> Any:
    from cryptography import x509

    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_owner(name))
        .issuer_name(_owner(f"{NAME}: issuer"))
        .public_key(public)
        .serial_number(number)
        .not_valid_before(VALID[0])
        .not_valid_after(VALID[1])
        .add_extension(x509.BasicConstraints(ca, 0 if ca else None), True)
        .add_extension(
            x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(above, False)
    )


def _owner(name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, OWNER),
        x509.NameAttribute(NameOID.COMMON_NAME, name),
    ])  # fmt: skip


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return str(certificate.public_bytes(Encoding.PEM).decode())


def _replaced(text: bytes, former: bytes, new: bytes) -> bytes:
    """Replace what a text holds once."""
    if text.count(former) != 1:
        raise ValueError("the manifest is not built as expected")
    return text.replace(former, new)


def replace_manifest(path: Path, former: bytes, new: bytes) -> None:
    """Replace the manifest in a file by another one of its length. Raises ValueError where it is
    not found."""
    suffix = path.suffix.lower()
    if suffix == ".gif":  # in blocks, each with its length
        former, new = _in_blocks(former), _in_blocks(new)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as whole:
        place = whole.find(former)
        if place < 0:
            raise ValueError("the manifest is not where it was expected")
        end = place + len(new)
        whole[place:end] = new
        if suffix == ".png":  # the checksum of the chunk, with its kind
            whole[end : end + 4] = zlib.crc32(whole[place - 4 : end]).to_bytes(4, "big")


def _in_blocks(data: bytes) -> bytes:
    parts = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts)
