"""The page in a real browser, Debian's Chromium with the network cut off, on the tiny base."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.frame_size import square
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.run_folder import mark
from animateanywhere.media.source import Part
from animateanywhere.pose.skeleton import read_poses
from animateanywhere.studio.clips import EXAMPLE
from tests.conftest import needs_blazepose

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
WAIT = 300_000  # ms, for commands on a busy machine
CONTRAST = Path(__file__).with_name("contrast.js").read_text().partition("\n")[2]
FIELDS = "button, a, input:not([hidden]), select, textarea"
UNNAMED = f"""[...document.querySelectorAll('{FIELDS}')]
    .filter((e) => e.offsetParent && !e.innerText && !e.labels?.length && !e.ariaLabel)
    .map((e) => e.outerHTML)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        # No name is found, so nothing but this machine's address can be asked
        cut_off = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        opened = running.chromium.launch(executable_path=BROWSER, args=cut_off)
        yield opened
        opened.close()


@pytest.fixture
def runs(tmp_path: Path, tiny_base: Path) -> Path:
    """A folder of runs with the tiny base."""
    folder = tmp_path / "runs"
    shutil.copytree(tiny_base, folder / "bases" / "tiny")
    return folder


@pytest.fixture
def page(browser: Any, start: Any, runs: Path) -> Iterator[Any]:
    """A page of a studio, which may print no error and ask no other machine."""
    process, address = start()
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(WAIT)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda one: one.url.startswith(("http://127.0.0.1", "blob:", "data:"))
              or wrong.append(one.url))  # fmt: skip
    opened.goto(address)
    opened.studio = process
    yield opened
    context.close()
    assert wrong == []


def tab(page: Any, name: str) -> None:
    page.evaluate(f"location.hash = '#{name}'")


@pytest.fixture
def subject(runs: Path) -> Path:
    """The example as `aa prepare` of the command line prepares it, in the studio's place."""
    folder = runs / "studio" / "subjects" / EXAMPLE
    mark(runs / "studio", "studio")
    prepare(EXAMPLES / "reference.mp4", folder, class_word="man", scene="in a room",
            size=square(64), fps=8, part=Part(0, 12))  # fmt: skip
    return folder


def open_example(page: Any) -> None:
    tab(page, f"learn/{EXAMPLE}")
    page.get_by_label("Base model").select_option("tiny")
    page.get_by_role("heading", name="Learn", exact=True).wait_for()


def test_from_an_upload_to_a_download(page: Any, runs: Path, tmp_path: Path) -> None:
    needs_blazepose()
    clip = tmp_path / "my ..%2f dance.mp4"
    shutil.copyfile(EXAMPLES / "reference.mp4", clip)
    page.locator("#file").set_input_files(clip)
    page.get_by_label("The person is a").fill("man")
    page.get_by_label("Base model").select_option("tiny")
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("heading", name="Learn", exact=True).wait_for()
    assert page.get_by_text(re.compile("Takes about .* GB of memory")).is_visible()
    stored = sorted(path.name for path in (runs / "studio" / "clips").iterdir())
    assert all(re.fullmatch(r"[0-9a-f]{16}\.(mp4|json|jpg)", name) for name in stored)

    page.get_by_role("button", name="Learn", exact=True).click()
    page.get_by_text("Learned as “sks”").wait_for()
    page.get_by_role("img", name=re.compile("loss of motion")).wait_for()
    assert (runs / "sks" / "personal.safetensors").is_file()

    page.get_by_role("link", name="Generate “sks man on a beach”").click()
    assert page.get_by_label("Prompt", exact=True).input_value() == "sks man on a beach"
    page.get_by_role("radio", name="wave").check()
    page.get_by_text("Seed, steps, format").click()
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Frames at most").fill("4")
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_role("button", name="Vary").wait_for()
    page.get_by_role("button", name="One frame on").click()
    page.get_by_text("2 of 4", exact=True).wait_for()
    for form, start in {"MP4": b"ftyp", "GIF": b"GIF8", "Contact sheet": b"PNG"}.items():
        with page.expect_download() as got:
            page.get_by_role("link", name=form, exact=True).click()
        assert start in Path(got.value.path()).read_bytes()[:16]
    with page.expect_download() as got:
        page.get_by_role("link", name="Settings", exact=True).click()
    assert json.loads(Path(got.value.path()).read_text())["prompt"] == "sks man on a beach"

    tab(page, "history")
    page.get_by_role("button", name="Delete sks/").click()
    page.get_by_text("Undo", exact=True).click()
    page.get_by_role("button", name="Delete sks/").wait_for()
    page.get_by_role("searchbox").fill("nothing like it")
    page.get_by_text("Nothing fits.").wait_for()


def test_corrections_change_the_files_that_the_commands_read(subject: Path, page: Any) -> None:
    open_example(page)
    folder = subject
    mask = folder / "masks" / "0001.png"
    before, poses = np.array(Image.open(mask)), read_poses(folder / "poses.json").keypoints
    page.get_by_role("button", name="Frame 1", exact=True).click()
    canvas = page.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    page.get_by_role("button", name="Paint").click()
    page.wait_for_timeout(400)
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 30, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Frame 1, corrected: mask").wait_for()
    after = np.array(Image.open(mask))
    scale = after.shape[1] / box["width"]
    row, columns = int(30 * scale), slice(int(40 * scale), int(110 * scale))
    assert (after[row, columns] > 250).all() and before[row, columns].max() < 250
    assert after.shape == before.shape and (after >= before).all()
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function(
        "() => document.querySelector('button.plain[disabled]')?.innerText == 'Undo'"
    )
    page.wait_for_timeout(300)
    assert (np.array(Image.open(mask)) == before).all()

    page.get_by_role("button", name="Joints").click()
    page.get_by_label("Joint", exact=True).select_option(label="right wrist")
    canvas.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name=re.compile("Frame 1, corrected: .*pose")).wait_for()
    moved = read_poses(folder / "poses.json").keypoints
    assert moved[1, 4, 0] == pytest.approx(poses[1, 4, 0] + 3, abs=0.01)
    assert (np.delete(moved, 1, 0) == np.delete(poses, 1, 0)).all()

    page.get_by_label("Caption", exact=True).fill("a <token> man near a window")
    page.get_by_role("button", name="Save the caption").click()
    page.get_by_text("The caption is saved.").wait_for()
    assert "near a window" in (folder / "captions.jsonl").read_text()
    page.get_by_label("Caption", exact=True).fill("a man")
    page.get_by_role("button", name="Save the caption").click()
    page.get_by_text("names the person by <token>").wait_for()
    assert "near a window" in (folder / "captions.jsonl").read_text()


def test_an_answer_for_a_view_that_was_left_changes_nothing(page: Any) -> None:
    late: list[Any] = []
    page.route("**/api/clips", lambda one: one.continue_() if late else late.append(one))
    page.reload()
    tab(page, f"learn/{EXAMPLE}")
    page.get_by_label("Base model").wait_for()
    with page.expect_response("**/api/clips"):
        late[0].continue_()
    page.wait_for_timeout(300)  # what came is shown at once, if at all
    assert page.get_by_label("Base model").is_visible()


def test_a_reload_and_a_second_tab_see_the_same_and_a_stop_goes_on(
    subject: Path, page: Any, runs: Path
) -> None:
    open_example(page)
    page.get_by_role("button", name="Learn", exact=True).click()
    stage = page.get_by_text(re.compile(r"of \d+ · .* left|synthetic|appearance ·|motion ·"))
    stage.first.wait_for()
    second = page.context.new_page()
    second.set_default_timeout(WAIT)
    second.goto(page.url)
    page.reload()
    for one in (page, second):
        one.get_by_text("Learn sks").first.wait_for()
    second.locator("#work").get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped. What was learned so far is saved.").wait_for()
    assert not (runs / "sks" / "personal.safetensors").exists()
    page.get_by_role("button", name="Go on").click()
    second.get_by_text("Learned as “sks”").wait_for()
    assert (runs / "sks" / "personal.safetensors").is_file()


def test_a_bad_file_and_a_full_disk_are_one_line_and_leave_nothing(
    page: Any, runs: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "notes.mp4"
    bad.write_text("only words")
    page.locator("#file").set_input_files(bad)
    page.get_by_text("notes.mp4: a text file, not a video").wait_for()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((EXAMPLES / "reference.mp4").read_bytes()[600:])
    page.locator("#file").set_input_files(cut)
    page.get_by_text(re.compile(r"cut.mp4: .*damaged")).wait_for()
    # The server itself is not ours to fill the disk of: no file may grow beyond this
    import resource

    resource.prlimit(page.studio.pid, resource.RLIMIT_FSIZE, (1000, 1000))
    page.locator("#file").set_input_files(EXAMPLES / "reference.mp4")
    page.get_by_role("alert").filter(has_text=re.compile("too large|disk")).wait_for()
    names = {path.stem for path in (runs / "studio" / "clips").iterdir()}
    assert names <= {EXAMPLE}
    assert page.studio.poll() is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_contrast_enough_and_everything_has_a_name(
    browser: Any, start: Any, runs: Path, scheme: str
) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text; nothing wider than a phone; names of fields and buttons."""
    _, address = start()
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    for name in ("learn", f"learn/{EXAMPLE}", "generate", "swap", "cast", "history", "system"):
        tab(page, name)
        page.wait_for_timeout(700)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert page.evaluate(CONTRAST) == [], name
        assert page.evaluate(UNNAMED) == [], name
    for cut in ("generate/again/%7B%22x", "generate/prompt/%E0%A4%A", "generate/again/null"):
        tab(page, cut)
        page.get_by_role("heading", name="Generate a video").wait_for()
    context.close()
