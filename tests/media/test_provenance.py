"""What is generated says so, in every format, and so that standard tools read it."""

import datetime
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.media import content_credentials, provenance, xmp
from animateanywhere.media.output import write, write_picture
from animateanywhere.media.provenance import CAST, GENERATED, SWAPPED, Made, planned, read
from animateanywhere.media.sound import RATE, Sound
from animateanywhere.media.video import contact_sheet, is_contact_sheet

c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
SUFFIXES = [".mp4", ".webm", ".gif", ".webp", ""]
TERM = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.fixture
def unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the extra."""
    monkeypatch.setattr(content_credentials, "_library", lambda: None)


def clip(frames: int = 4) -> np.ndarray:
    out = np.zeros((frames, 48, 32, 3), np.uint8)
    for index, frame in enumerate(out):
        frame[4 * index : 4 * index + 16, 8:24] = 200, 30, 30
    return out


def whole(path: Path) -> bytes:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return b"".join(file.read_bytes() for file in files)


def packets(path: Path) -> list[bytes]:
    with av.open(f"file:{path}") as file:
        return [bytes(packet) for packet in file.demux() if packet.size]


def manifest(path: Path) -> dict[str, Any]:
    with (
        path.open("rb") as file,
        c2pa.Reader(content_credentials.FORMATS[path.suffix.lower()], file) as one,
    ):
        assert one.get_validation_state() == "Valid"
        store = json.loads(one.json())
    return store["manifests"][store["active_manifest"]] | {"report": store["validation_results"]}


@contextmanager
def heard() -> Iterator[list[str]]:
    """What is said."""
    events, texts = Events(), list[str]()
    with reporting_to(events):
        yield texts
    texts += [str(event["text"]) for event in events.events if event["kind"] == "message"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_format_says_it_without_a_signature_too(
    tmp_path: Path, suffix: str, unsigned: None
) -> None:
    path, plain = tmp_path / f"made: 'a' 50%{suffix}", tmp_path / f"plain{suffix}"
    said = write(path, clip(), 4, 8.0, None, GENERATED)
    assert said == planned(GENERATED, suffix)["metadata"] == list(provenance.PLACES[suffix])
    found = read(path)
    assert found is not None and found.is_generated and found.intact is None
    assert found.tool.startswith("AnimateAnywhere ") and TERM in whole(path)
    write(plain, clip(), 4, 8.0)
    assert read(plain) is None and TERM not in whole(plain)
    if suffix == ".mp4":  # FFmpeg's own reader
        with av.open(f"file:{path}", options={"export_xmp": "1"}) as file:
            assert file.metadata["xmp"].encode() == GENERATED.packet
    if suffix in (".mp4", ".webm"):
        assert packets(path) == packets(plain)
    else:
        one, other = ((next(iter(sorted(p.glob("*"))), p)) for p in (path, plain))
        assert (np.asarray(Image.open(one)) == np.asarray(Image.open(other))).all()
    first = whole(path)
    write(path, clip(), 4, 8.0, None, GENERATED)
    assert whole(path) == first


@pytest.mark.parametrize("suffix", [".mp4", ".GIF", ".webp", ".PNG"])
def test_a_manifest_that_other_tools_find_valid(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sks man on a beach{suffix}"

    def make(file: Path) -> list[str]:
        if suffix == ".PNG":
            return write_picture(file, clip()[0], SWAPPED)
        return write(file, clip(), 4, 8.0, None, SWAPPED)

    assert make(path)[-1] == "c2pa" and planned(SWAPPED, suffix.lower())["metadata"][-1] == "c2pa"
    found = manifest(path)
    (action,) = [a for one in found["assertions"] if one["label"].startswith("c2pa.actions")
                 for a in one["data"]["actions"]]  # fmt: skip
    assert action["digitalSourceType"] == SWAPPED.term
    assert found["claim_generator_info"][0]["name"] == "AnimateAnywhere"
    failed = [one["code"] for one in found["report"]["activeManifest"]["failure"]]
    assert failed == ["signingCredential.untrusted"]
    for private in (b"sks", b"beach", str(tmp_path).encode()):
        assert private not in path.read_bytes()
    first = path.read_bytes()
    make(path)
    assert path.read_bytes() == first
    other = tmp_path / f"other{suffix}"
    write(other, clip()[::-1], 4, 8.0, None, SWAPPED) if suffix != ".PNG" else write_picture(
        other, clip()[1], SWAPPED
    )
    assert manifest(other)["label"] != found["label"]


def test_frames_and_sound_are_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone = Sound((np.sin(np.arange(RATE // 2) / 20) / 2)[None].astype(np.float32))
    path = tmp_path / "signed.mp4"
    assert write(path, clip(), 4, 8.0, tone, GENERATED) == ["comment", "xmp", "c2pa"]
    monkeypatch.setattr(content_credentials, "_library", lambda: None)
    write(tmp_path / "not.mp4", clip(), 4, 8.0, tone, GENERATED)
    assert packets(path) == packets(tmp_path / "not.mp4")
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # plays while it loads


def test_a_file_that_was_changed_after_it_was_signed_says_so(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", clip(), 4, 8.0, None, GENERATED)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    data[data.index(b"mdat") + 40] ^= 1
    (tmp_path / "a.mp4").write_bytes(data)
    found = read(tmp_path / "a.mp4")
    assert found is not None and found.intact is False and "changed after" in found.in_words()


def test_what_cannot_be_signed_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise c2pa.C2paError("Other: no space\nleft on device")

    monkeypatch.setattr(content_credentials, "_embed", fails)
    with heard() as said:
        assert write(tmp_path / "a.mp4", clip(), 4, 8.0, None, GENERATED) == ["comment", "xmp"]
    assert "not signed (C2PA): Other: no space left" in " ".join(said)
    assert [one.name for one in tmp_path.iterdir()] == ["a.mp4"]


def test_what_does_not_fit_in_memory_twice_is_not_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "signed.mp4", clip(), 4, 8.0, None, GENERATED)
    monkeypatch.setattr(content_credentials, "LARGEST", 2**10)
    with heard() as said:
        assert write(tmp_path / "a.mp4", clip(), 4, 8.0, None, GENERATED) == ["comment", "xmp"]
    assert "not signed (C2PA): it is larger than" in " ".join(said)
    assert content_credentials.read(tmp_path / "signed.mp4") is None


def test_a_manifest_of_another_build_is_refused(tmp_path: Path) -> None:
    key = content_credentials.OneTimeKey(bytes(32))
    key.signed = key.signature = b"none"
    with pytest.raises(ValueError, match="not built as expected"):
        key.without_chance(b"\0\0\0\x30jumb" + b"\0\0\0\x18c2sh" + bytes(40))


def certificate(days: int) -> tuple[str, str]:
    """A certificate chain of somebody, valid for so many days from now, and its key: PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    issuer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
             for name in ("Studio Issuer", "Studio")]  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    chain = []
    for name, public, ca in ((names[1], key, False), (names[0], issuer, True)):
        usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
        builder = (
            x509.CertificateBuilder(names[0], name, public.public_key(), 7 + ca)
            .not_valid_before(now - datetime.timedelta(30))
            .not_valid_after(now + datetime.timedelta(days))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(usage, True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False
            )
        )
        if not ca:
            use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(use, False)
        signed = builder.sign(issuer, SHA256())
        chain.append(signed.public_bytes(serialization.Encoding.PEM).decode())
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode()
    return "".join(chain), text


def test_a_certificate_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key = certificate(days=30)
    (tmp_path / "key.pem").write_text(key)
    monkeypatch.setenv(content_credentials.CERTIFICATES, chain)
    with pytest.raises(UsageError, match="set both"):
        content_credentials.check_signer()
    monkeypatch.setenv(content_credentials.KEY, str(tmp_path / "key.pem"))
    content_credentials.check_signer()
    assert "c2pa" in write(tmp_path / "a.mp4", clip(), 4, 8.0, None, GENERATED)
    assert manifest(tmp_path / "a.mp4")["signature_info"]["issuer"] == "Studio"

    for wrong in (certificate(days=-1)[0], certificate(30)[0], "nowhere.pem", "-----BEGIN"):
        monkeypatch.setenv(content_credentials.CERTIFICATES, wrong)
        with pytest.raises(UsageError, match="cannot sign"):
            content_credentials.check_signer()
    monkeypatch.setattr(content_credentials, "_library", lambda: None)
    with heard() as said:
        content_credentials.check_signer()
    assert "extra c2pa is not installed" in " ".join(said)


def test_contact_sheets_of_what_is_generated_say_it_too(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", [("a", clip())], made=GENERATED)
    found = read(tmp_path / "sheet.png")
    assert is_contact_sheet(tmp_path / "sheet.png", GENERATED)
    assert not is_contact_sheet(tmp_path / "sheet.png", CAST)  # of another command
    assert found is not None and found.source == GENERATED.source
    contact_sheet(tmp_path / "plain.png", [("a", clip())])
    assert read(tmp_path / "plain.png") is None


def _webp(path: Path) -> None:
    said = xmp.packet({"Iptc4xmpExt:DigitalSourceType": GENERATED.term, "xmp:CreatorTool": "Other"})
    Image.new("RGB", (8, 8)).save(path, xmp=said)


def _camera(path: Path) -> None:
    said = xmp.packet({"Iptc4xmpExt:DigitalSourceType": f"{provenance.VOCABULARY}digitalCapture"})
    Image.new("RGB", (8, 8)).save(path, xmp=said)


@pytest.mark.parametrize("name, make, generated", [
    ("a.webp", _webp, True), ("camera.webp", _camera, False),
    ("empty.mp4", lambda path: path.touch(), None), ("empty.gif", lambda path: path.touch(), None),
    ("text.mp4", lambda path: path.write_text(GENERATED.comment), None),
    ("cut.webp", lambda path: path.write_bytes(b"RIFF\xff\xff\xff\xffWEBPVP8X"), None),
    ("box.mp4", lambda path: path.write_bytes(b"\0\0\0\x01uuid" + b"\xff" * 8), None),
    ("folder.mp4", Path.mkdir, None), ("missing.mp4", lambda path: None, None),
])  # fmt: skip
def test_files_of_others(
    tmp_path: Path, name: str, make: Callable[[Path], None], generated: bool | None
) -> None:
    make(tmp_path / name)
    found = read(tmp_path / name)
    assert (None if found is None else found.is_generated) is generated


def test_the_packet_is_xml_whatever_it_says() -> None:
    from xml.etree import ElementTree

    said = Made("trainedAlgorithmicMedia", 'aa <generate> & "more"')
    root = ElementTree.parse(io.BytesIO(said.packet.split(b"?>", 1)[1].rsplit(b"<?", 1)[0]))
    (about,) = root.iter(f"{{{xmp.SPACES['rdf']}}}Description")
    assert about.get(f"{{{xmp.SPACES['Iptc4xmpExt']}}}DigitalSourceType") == said.term
