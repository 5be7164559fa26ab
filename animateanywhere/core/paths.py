"""Folders: those that come with the package, and those that commands write to."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ASSETS = PACKAGE / "assets"
# In the package when installed, next to it in a checkout
EXAMPLES = (PACKAGE if (PACKAGE / "examples").is_dir() else PACKAGE.parent) / "examples"
RUNS = Path("runs")  # relative to the current folder


def recipes_folder() -> Path:
    """The folder of recipes: in the package when installed, next to it in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"
