"""Swap and Cast in a real browser, on tiny bases."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.run_folder import mark, owned
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.scene.prepared import prepare_scene
from animateanywhere.preprocessing.scene.scan import scene_facts
from animateanywhere.studio.clips import EXAMPLE
from animateanywhere.studio.job import Job
from tests.commands.test_swap import write_character
from tests.conftest import needs_blazepose
from tests.studio import test_browser as web
from tests.studio.test_browser import colored

browser, page, pytestmark = web.browser, web.page, web.pytestmark


@pytest.fixture
def runs(tmp_path: Path, tiny_swap: Path, tiny_cast: Path) -> Path:
    """A folder of runs with tiny bases for both."""
    for base, name in ((tiny_swap, "tiny-swap"), (tiny_cast, "tiny-cast")):
        shutil.copytree(base, tmp_path / "runs" / "bases" / name)
    return tmp_path / "runs"


def choose_picture(page: Any, tmp_path: Path) -> None:
    page.get_by_label("Add pictures").set_input_files(write_character(tmp_path / "hero.png"))
    page.get_by_role("checkbox", name="hero.png").wait_for()


def downloaded(page: Any, form: str) -> Path:
    with page.expect_download() as got:
        page.get_by_role("link", name=form, exact=True).click()
    return Path(got.value.path())


def test_a_character_is_put_into_a_scene(page: Any, runs: Path, tmp_path: Path) -> None:
    needs_blazepose()
    web.tab(page, "swap")
    choose_picture(page, tmp_path)
    page.get_by_role("radio", name="rendered man").check()
    page.get_by_label("Ends at").fill("1")
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("heading", name="hero.png").wait_for()
    page.get_by_alt_text("The person cut out of the picture").wait_for()
    assert page.get_by_text(re.compile("Takes about .* GB of memory")).is_visible()
    page.get_by_role("button", name="Frame 2", exact=True).click()
    page.get_by_role("button", name="Joints").click()
    page.get_by_label("Joint", exact=True).select_option(label="right wrist")
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Frame 2, corrected: pose").wait_for()

    page.get_by_label("Base model").select_option("tiny-swap")
    page.get_by_label("Steps", exact=True).fill("1")
    page.get_by_label("Guidance", exact=True).fill("1.5")
    page.get_by_role("button", name="Swap", exact=True).click()
    page.get_by_role("button", name="Vary").wait_for()
    (made,) = (runs / "reference").glob("*.mp4")
    about = json.loads(made.with_suffix(".json").read_text())
    assert about["frames"] == 8 and about["steps"] == 1 and about["base"]["name"] == "tiny-swap"
    assert about["scene"]["corrected"]["0"]["pose"] == [2]
    # The frame beside the result is the scene's of the same number
    page.locator(".player video").nth(1).wait_for()
    page.get_by_role("button", name="One frame on").click()
    page.get_by_text("2 of 8", exact=True).wait_for()
    times = "() => [...document.querySelectorAll('.player video')].map((one) => one.currentTime)"
    page.wait_for_function(f"({times})().every((one) => Math.abs(one - 1.5 / 8) < 0.01)")
    assert len(page.evaluate(times)) == 2
    assert b"ftyp" in downloaded(page, "MP4").read_bytes()[:16]
    assert json.loads(downloaded(page, "Settings").read_text())["command"] == "swap"

    web.tab(page, "history")
    page.get_by_role("button", name="Open reference/").click()
    page.get_by_role("link", name="Change and repeat").click()
    page.get_by_role("heading", name="Swap a person").wait_for()
    assert page.get_by_role("checkbox", name="hero.png").is_checked()
    assert page.locator(f"input[name=scene][value='{EXAMPLE}']").is_checked()
    assert page.get_by_label("Steps", exact=True).input_value() == "1"
    assert page.get_by_label("Guidance", exact=True).input_value() == "1.5"


def test_a_picture_and_words_become_a_video(page: Any, runs: Path, tmp_path: Path) -> None:
    needs_blazepose()
    web.tab(page, "cast")
    choose_picture(page, tmp_path)
    page.get_by_role("button", name="Look at it").click()
    page.get_by_alt_text("The person cut out of the picture").wait_for()
    page.get_by_label("Prompt", exact=True).fill("the person waves in a park")
    page.get_by_role("radio", name="wave").check()
    page.get_by_text("Seed, steps, length").click()
    page.get_by_label("Steps", exact=True).fill("1")
    page.get_by_label("Frames at most").fill("3")
    page.get_by_role("button", name="Make the video").click()
    page.get_by_role("button", name="Vary").wait_for()
    page.get_by_role("img", name="The motion").wait_for()
    made = video.read(downloaded(page, "MP4")).frames
    assert made.shape == (3, 128, 128, 3)  # of the base that comes with the package
    kept = np.asarray(Image.open(next((runs / "cast").glob("*.reference.png"))))
    assert (kept[0, 0] == 255).all() and (kept < 200).any()
    page.get_by_role("button", name="Change and repeat").click()
    page.get_by_role("heading", name="Cast a person").wait_for()
    assert page.get_by_role("checkbox", name="hero.png").is_checked()
    assert page.get_by_role("radio", name="wave").is_checked()


FORMS: dict[str, dict[str, str]] = {  # what is filled in, by tab
    "generate": {"Prompt": "a man on a moon", "Seed": "7", "Not to be seen": "rain"},
    "swap": {"Seed": "8", "Steps": "3", "Ends at": "1.5"},
    "cast": {"Prompt": "the person sings", "Hair and clothes": "in red", "Seed": "9"},
    "history": {"Search": "x y"},
    f"learn/{EXAMPLE}": {"Filmed": "on a boat", "Ends at": "2"},
}


def test_back_forward_and_reload_bring_what_was_there(
    page: Any, runs: Path, tmp_path: Path
) -> None:
    """Of every tab the form, also of two places of one tab, and what was chosen, found or open."""
    colored(runs, 0, (1, 0, 0))
    web.tab(page, "swap")
    choose_picture(page, tmp_path)
    for name, form in FORMS.items():
        web.tab(page, name)
        if name in ("generate", "cast"):
            page.get_by_text(re.compile("^Seed, steps")).click()
            page.get_by_role("radio", name="wave").check()
        if name in ("swap", "cast"):
            page.get_by_role("checkbox", name="hero.png").check()
        if name == "swap":
            page.get_by_role("radio", name="rendered man").check()
        for label, value in form.items():
            page.get_by_label(label, exact=True).fill(value)
    web.tab(page, "system")
    page.get_by_role("button", name="Check this machine").click()
    page.get_by_text("checked just now").wait_for()

    def is_there(name: str) -> None:
        page.wait_for_function("(name) => location.hash == '#' + name", arg=name)
        for label, value in FORMS.get(name, {}).items():
            field = page.get_by_label(label, exact=True)
            field.wait_for(state="attached")
            assert field.input_value() == value, (name, label)
        if name in ("generate", "cast"):
            assert page.get_by_role("radio", name="wave").is_checked()
        if name in ("swap", "cast"):
            assert page.get_by_role("checkbox", name="hero.png").is_checked()
        if name == "swap":
            assert page.locator(f"input[name=scene][value='{EXAMPLE}']").is_checked()
        if name == "system":
            page.get_by_text("checked just now").wait_for()
        page.get_by_role("heading", level=1).wait_for()

    names = [*FORMS, "system"]
    for name in reversed(names[:-1]):
        page.go_back()
        is_there(name)
        page.reload()
        is_there(name)
    for name in names[1:]:
        page.go_forward()
        is_there(name)
    page.reload()
    is_there("system")

    # Two places of one tab: each has its own
    web.tab(page, "generate/prompt/a%20woman")
    page.get_by_label("Prompt", exact=True).fill("a woman on a hill")
    page.go_back()
    page.go_forward()
    page.get_by_role("heading", name="Generate a video").wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == "a woman on a hill"
    web.tab(page, "cast")  # by its tab, as it was left last
    page.get_by_role("heading", name="Cast a person").wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == "the person sings"

    # What is open in the history, and how far down a page was
    web.tab(page, "history")
    page.get_by_label("Search").fill("")
    page.get_by_role("button", name="Details of generate/0.mp4").click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    page.reload()
    dialog.get_by_role("heading", name="a man").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    page.wait_for_function("location.hash == '#history'")
    web.tab(page, f"learn/{EXAMPLE}")
    page.get_by_label("Base model").wait_for()
    page.evaluate("scrollTo(0, 300)")
    down = page.evaluate("scrollY")
    assert down > 0
    web.tab(page, "system")
    page.get_by_role("heading", name="System").wait_for()
    page.go_back()
    page.wait_for_function("(down) => scrollY == down", arg=down)
    page.reload()
    page.wait_for_function("(down) => scrollY == down", arg=down)


@pytest.fixture
def looked_before(runs: Path) -> Path:
    """The mask of a scene's frame that an earlier look prepared; the newest one failed."""
    mark(runs / "studio", "studio")
    with owned(runs / "reference", "swap"):
        facts = scene_facts(EXAMPLES / "reference.mp4", None, Part(0, 4))
        scene = prepare_scene(facts, runs / "reference", None, Backends())
    files = {"scene": str(scene.folder)}
    report = {"verdict": "ready", "findings": [], "prediction": {}, "files": files}
    for number, (state, result) in enumerate({"done": json.dumps(report), "failed": ""}.items()):
        about = {"pictures": [], "scene": EXAMPLE}
        job = Job("check-swap", "Look", ["check", "--", str(number)], about, state=state)
        job.queued, job.result, job.text = float(number), result, "no room"
        folder = runs / "studio" / "jobs" / job.id
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(asdict(job)))
    return scene.parts[0].folder / "masks" / "0001.png"


def test_a_look_that_failed_leaves_the_scene_of_the_one_before(
    looked_before: Path, page: Any
) -> None:
    web.tab(page, "swap")
    page.get_by_text("no room", exact=True).wait_for()
    before = looked_before.read_bytes()
    web.paint(page, 1, 30)
    web.until(lambda: looked_before.read_bytes() != before)


def test_the_bases_that_come_with_the_package_are_enough(page: Any, runs: Path) -> None:
    shutil.rmtree(runs / "bases")
    web.tab(page, "cast")
    page.get_by_role("button", name="Make the video", exact=True).wait_for()
    web.tab(page, "swap")
    page.get_by_role("button", name="Swap", exact=True).wait_for()
