"""Pictures as an input: one, an animation (GIF, APNG, WebP, AVIF) or a folder of frames."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from animateanywhere.core.errors import UsageError, out_of_memory
from animateanywhere.core.files import sha256
from animateanywhere.media.source import Part, Source

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
PICTURES_FPS = 8.0
MAX_PIXELS = 2**27  # of one picture; a header may say anything
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
BRANDS = {b"avif": True, b"avis": True, b"heic": False, b"heix": False, b"mif1": False}
ONCE = 1e-9  # seconds: a single picture is one frame at any rate
# Pictures of other kinds, by their first bytes
OTHER_KINDS = {
    b"%PDF": "a PDF document", b"8BPS": "a Photoshop document", b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture", b"FUJIFILMCCD-RAW": "a RAW photograph",
    b"\0\0\0\x18ftypcrx ": "a RAW photograph", b"IIRO": "a RAW photograph",
    b"IIU\0": "a RAW photograph",
}  # fmt: skip
# Of TIFF's form, of which a preview would be read
RAW_SUFFIXES = {".dng", ".nef", ".nrw", ".cr2", ".arw", ".pef", ".srw", ".3fr"}
BROWSER_DELAY = 0.1  # seconds that browsers show a frame whose delay is 0 or 10 ms


def is_picture(path: Path) -> bool:
    """Whether a file is a picture or an animation by its first bytes, whatever its name says.

    Raises:
        UsageError: it is a HEIC picture, or cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    if head[4:8] == b"ftyp" and head[8:12] in BRANDS:
        if not BRANDS[head[8:12]]:
            raise UsageError(f"{path}: a HEIC picture; save it as JPEG or PNG")
        return True
    return head.startswith(BEGINNINGS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def require_known_kind(path: Path) -> None:
    """Raise UsageError for a picture of a kind that is not read, with what to do."""
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(1024)
        kind = next((name for begin, name in OTHER_KINDS.items() if head.startswith(begin)), None)
        if path.suffix.lower() in RAW_SUFFIXES and head.startswith((b"II*\0", b"MM\0*")):
            kind = "a RAW photograph"
        elif re.match(rb"\s*<(?:svg|\?xml.*<svg|!.*<svg)", head, re.DOTALL):
            kind = "an SVG drawing"
        if kind:
            raise UsageError(f"{path}: {kind}; save it as JPEG or PNG")


@contextmanager
def open_animation(path: Path, size: int, part: Part) -> Iterator[Source]:
    """A picture or an animation, at most `size` pixels a side.

    Raises:
        UsageError: it cannot be read as a picture.
    """
    with _reading(path), _opened(path) as picture:
        count = _count(picture)
        source = Source(iter(()), lambda pixels: pixels, PICTURES_FPS)

        def frames() -> Iterator[tuple[float, np.ndarray | None]]:
            time = 0.0
            for index in range(count):
                try:
                    picture.seek(index)
                    pixels = to_pixels(picture, size)
                except Exception as error:
                    if not index or out_of_memory(error):
                        raise
                    text = f"truncated or damaged: only {index} of its {count} frames can be read"
                    source.note(f"{text} ({error}); copy it again", "warning")
                    break
                delay = 1 / part.fps if part.fps else _delay(picture)
                if count > 1 and not index:
                    source.fps = 1 / delay
                yield time, pixels
                time += delay
            yield (time if count > 1 else ONCE), None

        pictures = frames()
        source.pictures = chain([next(pictures)], pictures)  # now its rate is known
        yield source


def frame_times(path: Path, fps: float | None = None) -> list[float]:
    """When each frame of an animation is shown, and when the last one ends, in seconds. fps: its
    rate, if that is not the file's. What is damaged is left out. Raises as `open_animation`."""
    times = [0.0]
    with _reading(path), _opened(path) as picture:
        for index in range(_count(picture)):
            try:
                picture.seek(index)
                picture.load()
            except Exception as error:
                if not index or out_of_memory(error):
                    raise
                break
            times.append(times[-1] + (1 / fps if fps else _delay(picture)))
    return times


@contextmanager
def open_folder(folder: Path, size: int, fps: float) -> Iterator[Source]:
    """A folder of pictures in natural order, `fps` of them a second.

    Raises:
        UsageError: there is none, or they differ in size.
    """
    files, others = folder_files(folder)
    if not files:
        raise UsageError(f"{folder}: a folder without pictures; give a video file")
    first: list[tuple[str, int, int]] = []

    def convert(file: Path) -> np.ndarray:
        with _reading(file), _opened(file) as picture:
            pixels = to_pixels(picture, size)
        height, width = pixels.shape[:2]
        first[:] = first or [(file.name, width, height)]
        name, *shape = first[0]
        if shape != [width, height]:
            raise MixedSizes(
                f"{folder}: {file.name} has {width} x {height} pixels and {name} {shape[0]} x "
                f"{shape[1]}; make all of them the same size"
            )
        return pixels

    times = [index / fps for index in range(len(files))]
    source = Source(zip([*times, len(files) / fps], [*files, None], strict=True), convert, fps)
    source.length = len(files) / fps
    if others:
        named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        source.note(f"{len(others)} other files in the folder are not read: {named}")
    yield source


class MixedSizes(UsageError):
    """The pictures of a folder are no frames of one video."""


def folder_files(folder: Path) -> tuple[list[Path], list[str]]:
    """The pictures of a folder in natural order (frame_2 before frame_10), and the names of other
    files. Hidden files, as systems put them there, are left out."""
    files = [file for file in folder.iterdir() if file.is_file() and file.name[0] != "."]
    wanted = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES or is_picture(file)]
    others = sorted({file.name for file in files} - {file.name for file in wanted})
    return sorted(wanted, key=lambda file: (natural(file), file.name)), others


def clip_digest(file: Path) -> str:
    """A digest of the contents of a clip: a file, or a folder of pictures."""
    if file.is_file():
        return sha256(file)
    return "".join(f"{part.name} {sha256(part)}" for part in folder_files(file)[0])


def settings_key(files: Sequence[Path | None], settings: Sequence[object]) -> str:
    """A key, 32 hex digits, of the contents of clips and of settings."""
    contents = [clip_digest(file) if file else "" for file in files]
    return hashlib.sha256(repr((contents, list(settings))).encode()).hexdigest()[:32]


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Key that sorts numbers in names by their value."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", path.name)
    ]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise UsageError(
                    f"{path}: {picture.width} x {picture.height} pixels are too many; scale it down"
                )
            yield picture


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (UsageError, GeneratorExit):
        raise
    except Exception as error:  # damaged files make Pillow's plugins raise whatever they meet
        text = " ".join(str(error).split())
        raise UsageError(f"{path}: cannot be read as a picture ({text})") from None


def to_pixels(picture: Image.Image, size: int) -> np.ndarray:
    """uint8 (H, W, 3 or 4), upright, in sRGB."""
    picture.draft("RGB", (size, size))
    upright = _in_8_bits(ImageOps.exif_transpose(picture))
    clear = upright.has_transparency_data
    profile = upright.info.get("icc_profile")
    upright = upright.convert("RGBA" if clear else "RGB")
    upright.thumbnail((size, size), Image.Resampling.LANCZOS)
    return np.array(_in_srgb(upright, profile))


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """Gray of 16 bits as 8: Pillow's own conversion makes all but the darkest white."""
    if not picture.mode.startswith("I"):
        return picture
    levels = np.asarray(picture).astype(np.int64)
    deep = picture.mode != "I" or levels.max(initial=0) > 255
    return Image.fromarray((levels >> 8 if deep else levels).clip(0, 255).astype(np.uint8))


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert colors from an ICC profile; one that is damaged or for CMYK is ignored."""
    if not profile:
        return picture
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if own.profile.xcolor_space.strip() != "RGB":
            return picture
        changed = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return changed or picture


def _count(picture: Image.Image) -> int:
    return 1 if picture.format in ("MPO", "TIFF") else getattr(picture, "n_frames", 1)


def _delay(picture: Image.Image) -> float:
    """Seconds that the frame that was loaded is shown."""
    delay = picture.info.get("duration", 0) / 1000
    return delay if delay > BROWSER_DELAY / 10 else BROWSER_DELAY
