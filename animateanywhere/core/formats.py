"""The formats in which videos are written, by the suffix of the file."""

from pathlib import Path

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import require_writable

FORMATS = {
    ".mp4": "H.264, with sound", ".webm": "VP9, with sound", ".gif": "256 colors, no sound",
    ".webp": "animated picture, no sound", "": "a folder of PNG pictures, no sound",
}  # fmt: skip
WITH_SOUND = (".mp4", ".webm")
GIF_FPS = 50.0  # players slow faster ones down


def format_of(path: Path) -> str:
    """The suffix that names the format of a video to write, "" for a folder of pictures. Raises
    UsageError for a suffix of no format, and for a folder that holds something else."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        named = ", ".join(f"{name} ({what})" for name, what in FORMATS.items() if name)
        raise UsageError(f"--out {path}: {suffix} cannot be written: give a name in {named}, or "
                         f"without a suffix ({FORMATS['']})")  # fmt: skip
    if suffix and path.is_dir():
        raise UsageError(f"--out {path}: a folder, although its name ends in {suffix}")
    if not suffix and path.exists():
        _require_frames(path)
    require_writable(path.parent)
    return suffix


def _require_frames(folder: Path) -> None:
    """Check that a folder holds nothing but numbered pictures, which are replaced."""
    if not folder.is_dir():
        raise UsageError(f"--out {folder}: a file: give another name for the folder of pictures")
    others = [
        one.name for one in folder.iterdir() if one.suffix != ".png" or not one.stem.isdigit()
    ]
    if others:
        raise UsageError(
            f"--out {folder}: holds {others[0]}, which is no numbered picture: give a new folder"
        )
