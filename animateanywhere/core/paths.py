"""Folders: those that come with the package, and those that commands write to."""

import os
import shlex
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ASSETS = PACKAGE / "assets"
# In the package when installed, next to it in a checkout
EXAMPLES = (PACKAGE if (PACKAGE / "examples").is_dir() else PACKAGE.parent) / "examples"
RUNS = Path(os.environ.get("AA_RUNS") or "runs")  # relative to the current folder


def recipes_folder() -> Path:
    """The folder of recipes: in the package when installed, next to it in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def install_command(extra: str) -> str:
    """The command that installs an extra, for messages: from the checkout, with its pins, or where
    the package was installed without one, by its name."""
    pip = [Path(sys.executable).name, "-m", "pip", "install"]
    checkout = PACKAGE.parent
    if (checkout / "constraints.txt").is_file():
        pins = ["--constraint", str(checkout / "constraints.txt")]
        return shlex.join([*pip, *pins, "--editable", f"{checkout}[{extra}]"])
    return shlex.join([*pip, f"animateanywhere[{extra}]"])


def cache_folder() -> Path:
    """The folder of downloaded model files: AA_CACHE, else in the user's cache."""
    if own := os.environ.get("AA_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "animateanywhere"


def config_folder() -> Path:
    """The user's folder of settings. Raises RuntimeError where there is no home folder."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "animateanywhere"
