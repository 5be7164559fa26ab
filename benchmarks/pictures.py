"""The pictures of README and docs, made anew from the bundled base.

    .venv/bin/python benchmarks/pictures.py

Runs `aa demo`, and the benchmark on a few people, into `runs/demo` and `runs/bench`, and stores
their contact sheets with a palette of 256 colors (a fifth of the size). What is there already is
not made again.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from animateanywhere.commands.benchmark import benchmark
from animateanywhere.commands.demo import demo
from animateanywhere.core.files import write_aside

ROOT = Path(__file__).parent.parent
PEOPLE, METHODS = 3, ("ours", "dreambooth", "words_only", "vae")


def store(sheet: Path, target: Path) -> None:
    """Write a contact sheet as a small PNG."""
    few = Image.open(sheet).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    with write_aside(target) as aside:
        few.save(aside, format="PNG", optimize=True)
    print(target.relative_to(ROOT))


def main() -> None:
    store(demo(Path("runs/demo")) / "contact_sheet.png", ROOT / "examples" / "contact_sheet.png")
    out = benchmark(Path("runs/bench"), subjects=PEOPLE, methods=METHODS)
    store(out / "contact_sheet-easy.png", ROOT / "docs" / "benchmark.png")


if __name__ == "__main__":
    main()
