"""Where things lie: what comes with the package, and what commands write."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ASSETS = PACKAGE / "assets"
# Inside of the package when installed, beside it in a checkout
EXAMPLES = (PACKAGE if (PACKAGE / "examples").is_dir() else PACKAGE.parent) / "examples"
RUNS = Path("runs")  # below the folder in which `aa` is run


def recipes_folder() -> Path:
    """The recipes: inside the package when installed, at the root of a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"
