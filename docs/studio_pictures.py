"""Make the pictures of docs/studio.md: the tabs of the studio, with rendered people.

python docs/studio_pictures.py [generate|learn|swap|cast|history...]    # all; needs Chromium

It starts a studio with an empty folder of runs, generates two videos with the bundled base,
prepares the example, puts a rendered person into it, looks at the picture of that person, and takes
pictures of what a browser shows.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animateanywhere import puppets

IMAGES = Path(__file__).parent
EXAMPLES = IMAGES.parent / "examples"
EXAMPLE = "0" * 16  # id of the clip that comes with the package
WAIT = 3_600_000  # ms, on a busy machine
MARGIN = 30  # pixels below what is shown
EXACT = 48  # colors of a palette


def generate(page: Any, runs: Path) -> None:
    page.evaluate("location.hash = '#generate'")
    for prompt, motion in (("a man in a yellow shirt in a forest", "dance"),
                           ("a woman in a green coat on a beach", "wave")):  # fmt: skip
        page.get_by_label("Prompt", exact=True).fill(prompt)
        page.get_by_role("radio", name=motion).check()
        page.get_by_role("button", name="Generate", exact=True).click()
        page.locator("#work").wait_for()
        page.locator("#work").wait_for(state="hidden")
    page.get_by_text("seed 0, 12 steps").wait_for()
    step(page, 4)
    picture(page, "studio-generate.png", full_page=True)


def history(page: Any, runs: Path) -> None:
    page.evaluate("location.hash = '#history'")
    page.get_by_role("article").first.wait_for()
    page.wait_for_timeout(1500)
    picture(page, "studio-history.png")


def learn(page: Any, runs: Path) -> None:
    clip, out = EXAMPLES / "reference.mp4", runs / "studio" / "subjects" / EXAMPLE
    words = ["--class-word=man", "--scene=in a room", f"--out={out}"]
    aa("prepare", str(clip), *words).wait()
    page.evaluate(f"location.hash = '#learn/{EXAMPLE}'")
    page.get_by_role("heading", name="Learn", exact=True).wait_for()
    page.wait_for_timeout(1500)
    picture(page, "studio-learn.png", full_page=True)


def swap(page: Any, runs: Path) -> None:
    page.evaluate("location.hash = '#swap'")
    add_character(page, runs)
    page.get_by_role("radio", name="rendered man").check()
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("application").wait_for()
    page.wait_for_timeout(1500)  # or what loads above moves the button while it is clicked
    page.get_by_label("agreed to be put").check()
    page.get_by_role("button", name="Swap", exact=True).click()
    page.get_by_text("seed 0, 12 steps").wait_for()
    page.locator(".player video").nth(1).wait_for()
    step(page, 10)
    picture(page, "studio-swap.png", full_page=True)


def step(page: Any, frames: int) -> None:
    """Go some frames on in a result."""
    for _ in range(frames):
        page.get_by_role("button", name="One frame on").click()
        page.wait_for_timeout(500)


def cast(page: Any, runs: Path) -> None:
    page.evaluate("location.hash = '#cast'")
    add_character(page, runs)
    page.get_by_role("button", name="Look at it").click()
    page.get_by_alt_text("The person cut out of the picture").wait_for()
    page.wait_for_timeout(1500)
    picture(page, "studio-cast.png", full_page=True)


def add_character(page: Any, runs: Path) -> None:
    """Choose the picture of a rendered person, cut out, which is uploaded once."""
    file = runs.with_name("character.png")
    page.get_by_label("Add pictures").wait_for(state="attached")
    card = page.get_by_role("checkbox", name=file.name)
    if not card.count():
        spec = puppets.sample_spec(12, split="held-out")
        clip = puppets.render(replace(spec, motion=replace(spec.motion, yaw=0.2)), 1, 512)
        Image.fromarray(np.dstack([clip.frames[0], clip.masks[0]])).save(file)
        page.get_by_label("Add pictures").set_input_files(file)
    card.check()


def aa(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "animateanywhere", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def picture(page: Any, name: str, full_page: bool = False) -> None:
    page.locator("#toasts").evaluate("(box) => box.replaceChildren()")  # they go by themselves
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)  # or what is below it now is lit
    page.wait_for_timeout(200)
    taken = Image.open(io.BytesIO(page.screenshot(full_page=full_page))).convert("RGB")
    if full_page:  # without the room for the bar of the work
        ends = page.locator("main > *").evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect().bottom)"
        )
        taken = taken.crop((0, 0, taken.width, round(max(ends)) + MARGIN))
    with_palette(taken).save(IMAGES / name, optimize=True)


def with_palette(picture: Image.Image) -> Image.Image:
    """A third of the bytes: the commonest colors, of the page, as they are, and others for the
    pictures on it, by a method that leaves the few pixels of the skeletons in their colors."""
    pixels = np.asarray(picture).reshape(-1, 3)
    colors, where, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    common = colors[np.argsort(-counts)[:EXACT]]
    rest = picture.quantize(256 - EXACT, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
    others = np.reshape(rest.getpalette() or [], (-1, 3))
    palette = np.concatenate([common, others]).astype(np.float32)
    nearest = [np.square(palette - color).sum(1).argmin() for color in colors]
    indices = np.array(nearest, np.uint8)[where.ravel()].reshape(picture.height, picture.width)
    made = Image.fromarray(indices, "P")
    made.putpalette(palette.astype(np.uint8).tobytes())
    return made


TABS = {"generate": generate, "learn": learn, "swap": swap, "cast": cast, "history": history}


def main() -> int:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description="Make the pictures of docs/studio.md.")
    parser.add_argument("tabs", nargs="*", metavar="TAB", help="Which ones.")
    tabs = parser.parse_args().tabs or list(TABS)
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        print("no Chromium on this machine", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        runs = Path(folder) / "runs"
        # That the rendered people agreed is not kept as an answer of the user
        os.environ["XDG_CONFIG_HOME"] = str(Path(folder) / "settings")
        studio = aa("studio", "--port=0", "--no-browser", f"--runs={runs}")
        try:
            assert studio.stdout is not None
            browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1180, "height": 900})
            page.set_default_timeout(WAIT)
            page.goto(studio.stdout.readline().strip())
            for tab in tabs:
                TABS[tab](page, runs)
        finally:
            studio.terminate()
            studio.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
