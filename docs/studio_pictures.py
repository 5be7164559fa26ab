"""Make the pictures of docs/studio.md: the tabs of the studio, with rendered people.

python docs/studio_pictures.py [generate|history|learn...]    # all of them; needs Chromium

It starts a studio with an empty folder of runs, generates two videos with the bundled base, begins
to learn the example, and takes pictures of what a browser shows.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parent
EXAMPLE = "0" * 16  # id of the clip that comes with the package
WAIT = 3_600_000  # ms, on a busy machine


def generate(page: Any) -> None:
    page.evaluate("location.hash = '#generate'")
    for prompt, motion in (("a man in a yellow shirt in a forest", "dance"),
                           ("a woman in a green coat on a beach", "wave")):  # fmt: skip
        page.get_by_label("Prompt", exact=True).fill(prompt)
        page.get_by_role("radio", name=motion).check()
        page.get_by_role("button", name="Generate", exact=True).click()
        page.get_by_role("progressbar").first.wait_for()
        page.get_by_role("button", name="Stop").first.wait_for(state="hidden")
    page.get_by_role("button", name="Vary").wait_for()
    for _ in range(4):
        page.get_by_role("button", name="One frame on").click()
        page.wait_for_timeout(500)
    clear(page)
    page.screenshot(path=IMAGES / "studio-generate.png")


def history(page: Any) -> None:
    page.evaluate("location.hash = '#history'")
    page.wait_for_timeout(2500)
    clear(page)
    page.screenshot(path=IMAGES / "studio-history.png")


def learn(page: Any) -> None:
    page.evaluate(f"location.hash = '#learn/{EXAMPLE}'")
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("button", name="Learn", exact=True).click()
    page.get_by_role("img", name="loss").wait_for()
    page.locator("#work").evaluate("(bar) => { bar.style.position = 'static'; }")
    page.wait_for_timeout(1500)
    clear(page)
    page.screenshot(path=IMAGES / "studio-learn.png", full_page=True)
    page.get_by_role("button", name="Stop").last.click()
    page.get_by_text("Stopped. What was learned so far is saved.").wait_for()


def clear(page: Any) -> None:
    """Take away the messages that would go by themselves."""
    page.locator("#toasts").evaluate("(box) => box.replaceChildren()")


TABS = {"generate": generate, "history": history, "learn": learn}


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
        command = ["studio", "--port=0", "--no-browser", f"--runs={folder}/runs"]
        studio = subprocess.Popen([sys.executable, "-m", "animateanywhere", *command],
                                  stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            assert studio.stdout is not None
            browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1180, "height": 900})
            page.set_default_timeout(WAIT)
            page.goto(studio.stdout.readline().strip())
            for tab in tabs:
                TABS[tab](page)
        finally:
            studio.terminate()
            studio.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
