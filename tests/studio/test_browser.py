"""The page in a real browser, Debian's Chromium with the network cut off, on the tiny base."""

import io
import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.frame_size import square
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.run_folder import mark
from animateanywhere.evaluation.sidecar import write_sidecar
from animateanywhere.media import video
from animateanywhere.media.source import Part
from animateanywhere.pose.skeleton import read_poses
from animateanywhere.studio.clips import EXAMPLE
from animateanywhere.studio.job import Job
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
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        opened = running.chromium.launch(executable_path=BROWSER, args=cut_off + camera)
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


FOCUSED = """() => { const e = document.activeElement;
    const words = e.matches('button, a, summary') ? e.innerText : '';  // not all of the page's
    return e.ariaLabel || [...(e.labels || [])].map((one) => one.innerText).join(' ') || words }"""


def reach(page: Any, name: str, key: str = "Tab") -> None:
    """Press a key until what has this name, a regular expression, has the focus."""
    passed = []
    for _ in range(120):
        page.keyboard.press(key)
        passed.append(page.evaluate(FOCUSED).strip())
        if re.search(name, passed[-1]):
            return
    pytest.fail(f"{name} is not among {passed}")


def press(page: Any, name: str, key: str = "Tab") -> None:
    reach(page, name, key)
    page.keyboard.press("Enter")


def at_title(page: Any, words: str) -> None:
    """Wait until the title of a new view has the focus."""
    title = "(words) => document.querySelector('h1:focus')?.innerText == words"
    page.wait_for_function(title, arg=words)


def test_from_an_upload_to_a_download_by_the_keyboard_alone(
    page: Any, runs: Path, tmp_path: Path
) -> None:
    """No mouse in any of it; a second tab sees the same, stops the training, and it goes on."""
    needs_blazepose()
    clip = tmp_path / "my ..%2f dance.mp4"
    shutil.copyfile(EXAMPLES / "reference.mp4", clip)
    page.get_by_role("button", name="Choose a file").wait_for()
    press(page, "Skip to the content")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.get_by_role("heading", name="Learn a person").is_visible()
    with page.expect_file_chooser() as asked:
        press(page, "Choose a file")
    asked.value.set_files(clip)
    reach_when(page, "The person is a")
    page.keyboard.type("man")
    reach(page, "Base model")
    page.keyboard.type("tiny")
    press(page, "Look at it")
    page.get_by_role("heading", name="Learn", exact=True).wait_for()
    assert page.evaluate(FOCUSED) == "Look at it"  # news of the work did not take it away
    assert page.get_by_text(re.compile("Takes about .* GB of memory")).is_visible()
    stored = sorted(path.name for path in (runs / "studio" / "clips").iterdir())
    assert all(re.fullmatch(r"[0-9a-f]{16}\.(mp4|json|jpg)", name) for name in stored)

    correct_by_keys(page, next(runs.glob("studio/subjects/*/poses.json")).parent)
    learn_by_keys(page, runs)

    generate_by_keys(page)
    undo_by_keys(page, runs)


def reach_when(page: Any, label: str) -> None:
    """`reach`, in a view that comes by itself, from its title on."""
    page.get_by_label(label).wait_for()
    at_title(page, "Learn a person")
    reach(page, label)


def correct_by_keys(page: Any, folder: Path) -> None:
    """Move a joint of the second frame, undo it, move it again; and paint a line."""
    before, mask = read_poses(folder / "poses.json").keypoints, folder / "masks" / "0001.png"
    press(page, "^Joints$")
    reach(page, "Frame with mask", "Shift+Tab")
    page.keyboard.press("ArrowRight")
    for _ in range(5):
        page.keyboard.press("PageDown")
    page.get_by_text(re.compile("Frame 1, .* · right wrist at")).wait_for()

    def right_wrist() -> float:
        return float(read_poses(folder / "poses.json").keypoints[1, 4, 0])

    for undone in (True, False):
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.get_by_role("button", name=re.compile("Frame 1, corrected: .*pose")).wait_for()
        until(lambda: abs(right_wrist() - before[1, 4, 0] - 3) < 0.02)
        if undone:
            page.keyboard.press("Control+z")
            page.get_by_role("button", name="Frame 1", exact=True).wait_for()
            until(lambda: abs(right_wrist() - before[1, 4, 0]) < 0.02)
    moved = read_poses(folder / "poses.json").keypoints
    assert (np.delete(moved, 1, 0) == np.delete(before, 1, 0)).all()

    painted = np.array(Image.open(mask))
    press(page, "^Erase$")
    reach(page, "Frame with mask", "Shift+Tab")
    page.locator("canvas[aria-busy=false]").wait_for()
    page.keyboard.press("Space")
    page.get_by_text("the brush erases").wait_for()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    until(lambda: (np.array(Image.open(mask)) < painted).any())


def until(true: Callable[[], bool]) -> None:
    """Wait for a file."""
    end = time.monotonic() + WAIT / 1000
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def learn_by_keys(page: Any, runs: Path) -> None:
    """Learn, in two tabs that see the same; one stops it, the other lets it go on."""
    press(page, "^Learn$")
    stage = page.get_by_text(re.compile(r"of \d+ · .* left|synthetic|appearance ·|motion ·"))
    stage.first.wait_for()
    second = page.context.new_page()
    second.set_default_timeout(WAIT)
    second.goto(page.url)
    page.reload()
    for one in (page, second):
        one.get_by_text("Learn sks").first.wait_for()
    press(second, "^Stop$", "Shift+Tab")
    page.get_by_text("Stopped. What was learned so far is saved.").wait_for()
    assert not (runs / "sks" / "personal.safetensors").exists()
    press(page, "^Go on$")
    second.get_by_text("Learned as “sks”").wait_for()
    second.close()
    page.get_by_role("img", name=re.compile("loss of motion")).wait_for()
    assert (runs / "sks" / "personal.safetensors").is_file()


def generate_by_keys(page: Any) -> None:
    """Generate a video, look at its frames, and download it in all forms."""
    press(page, "Generate “sks man on a beach”")
    at_title(page, "Generate a video")
    assert page.get_by_label("Prompt", exact=True).input_value() == "sks man on a beach"
    reach(page, r"\d s( · yours)?$")  # the motion that is chosen
    reach(page, "^Wave", "ArrowRight")
    press(page, "Seed, steps, format")
    for name, number in {"Steps": "2", "Frames at most": "4"}.items():
        reach(page, name)
        page.keyboard.type(number)
    press(page, "^Generate$")
    page.get_by_role("button", name="Vary").wait_for()
    assert page.evaluate(FOCUSED) == "Generate"
    page.get_by_text("1 of 4", exact=True).wait_for()  # the video has loaded
    press(page, "One frame on")
    page.get_by_text("2 of 4", exact=True).wait_for()
    for form, start in {"MP4": b"ftyp", "GIF": b"GIF8", "Contact sheet": b"PNG"}.items():
        with page.expect_download() as got:
            press(page, f"^{form}$")
        assert start in Path(got.value.path()).read_bytes()[:16]
    with page.expect_download() as got:
        press(page, "^Settings$")
    assert json.loads(Path(got.value.path()).read_text())["prompt"] == "sks man on a beach"


def undo_by_keys(page: Any, runs: Path) -> None:
    """Delete a video, and undo that; delete two things, and bring both back."""
    press(page, "^History$", "Shift+Tab")
    at_title(page, "History")
    video = next(runs.glob("sks/*.mp4"))
    press(page, "Details of sks/")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert page.evaluate(FOCUSED).startswith("Details of sks/")
    press(page, "Delete sks/")
    page.wait_for_function("() => document.activeElement.innerText == 'Undo'")
    assert not video.exists()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete sks/").wait_for()
    assert video.exists()
    for name in ("Delete sks/", "Delete sks$"):
        press(page, name)
        page.wait_for_function("() => document.activeElement.innerText == 'Undo'")
    assert not (runs / "sks").exists()
    press(page, "^Deleted$")
    for left in (1, 2):  # of those that were deleted; then all are shown again
        press(page, "^Bring back")
        page.wait_for_function("(n) => document.querySelectorAll('article').length == n", arg=left)
    page.get_by_role("button", name="Deleted").wait_for(state="hidden")
    assert video.exists() and (runs / "sks" / "personal.safetensors").exists()
    reach(page, "Search", "Shift+Tab")
    page.keyboard.type("nothing like it")
    page.get_by_text("Nothing fits.").wait_for()


def test_corrections_change_the_files_that_the_commands_read(subject: Path, page: Any) -> None:
    open_example(page)
    folder = subject
    mask = folder / "masks" / "0001.png"
    before = np.array(Image.open(mask))
    page.get_by_role("button", name="Frame 1", exact=True).click()
    canvas = page.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    page.get_by_role("button", name="Paint").click()
    page.locator("canvas[aria-busy=false]").wait_for()
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
    until(lambda: (np.array(Image.open(mask)) == before).all())
    page.get_by_role("button", name="Frame 1", exact=True).wait_for()  # nothing counts as corrected

    learn = page.get_by_role("button", name="Learn", exact=True)
    assert learn.is_enabled()
    page.get_by_label("Ends at").fill("1.2")
    page.get_by_text("another choice than the one above, in the part of the clip").wait_for()
    assert learn.is_disabled()
    page.get_by_text("look at it first").wait_for()
    page.get_by_label("Ends at").fill("9")
    page.get_by_text("look at it first").wait_for(state="hidden")
    assert learn.is_enabled()

    page.get_by_label("Caption", exact=True).fill("a <token> man near a window")
    page.get_by_role("button", name="Save the caption").click()
    page.get_by_text("The caption is saved.").wait_for()
    assert "near a window" in (folder / "captions.jsonl").read_text()
    page.get_by_label("Caption", exact=True).fill("a man")
    page.get_by_role("button", name="Save the caption").click()
    page.get_by_text("names the person by <token>").wait_for()
    assert "near a window" in (folder / "captions.jsonl").read_text()


def paint(page: Any, frame: int, at: int) -> None:
    """Put the brush once on a frame, at a place in both directions."""
    page.get_by_role("button", name=re.compile(f"^Frame {frame}(,|$)")).click()
    page.get_by_role("button", name="Paint").click()
    page.locator("canvas[aria-busy=false]").wait_for()
    page.get_by_role("application").click(position={"x": at, "y": at})


def test_two_tabs_do_not_paint_over_each_other(subject: Path, page: Any) -> None:
    """Nor move joints, nor write captions; what the other one has saved is loaded by a click."""
    open_example(page)
    other = page.context.new_page()
    other.set_default_timeout(WAIT)
    other.goto(page.url)
    mask, poses = subject / "masks" / "0001.png", subject / "poses.json"
    for one in (page, other):
        one.get_by_role("button", name="Frame 1", exact=True).click()
        one.locator("canvas[aria-busy=false]").wait_for()
    newer = page.get_by_role("alert").filter(has_text="another tab")

    paint(other, 1, 40)
    other.get_by_role("button", name="Frame 1, corrected: mask").wait_for()
    painted = mask.read_bytes()
    page.get_by_role("button", name="Paint").click()
    page.get_by_role("application").click(position={"x": 120, "y": 40})
    newer.filter(has_text="The mask of frame 1 was changed").wait_for()
    assert mask.read_bytes() == painted
    page.get_by_role("button", name="Load the newer one").click()
    newer.wait_for(state="hidden")
    page.get_by_role("button", name="Frame 1, corrected: mask").wait_for()
    assert page.get_by_role("button", name="Undo").is_disabled()
    paint(page, 1, 120)
    until(lambda: mask.read_bytes() != painted)  # on top of what the other tab has painted
    both = np.array(Image.open(mask)).astype(int)
    assert (both >= np.array(Image.open(io.BytesIO(painted)))).all()

    for one in (other, page):
        one.get_by_role("button", name="Joints").click()
        one.get_by_label("Joint", exact=True).select_option(label="neck")
        one.get_by_role("application").press("ArrowRight")
        if one is other:
            other.get_by_role("button", name=re.compile("Frame 1, corrected: .*pose")).wait_for()
            moved = poses.read_bytes()
    newer.filter(has_text="The skeleton of frame 1 was changed").wait_for()
    assert poses.read_bytes() == moved
    for one, words in ((other, "a <token> man by a door"), (page, "a <token> man by a tree")):
        one.get_by_label("Caption", exact=True).fill(words)
        one.get_by_role("button", name="Save the caption").click()
        if one is other:
            other.get_by_text("The caption is saved.").wait_for()
    newer.filter(has_text="A caption was changed").wait_for()
    assert "by a tree" not in (subject / "captions.jsonl").read_text()
    page.get_by_role("button", name="Load the newer one").click()
    newer.wait_for(state="hidden")
    page.get_by_text("Saved is “a <token> man by a door”.").wait_for()
    other.close()


def test_what_was_typed_stays_where_the_newer_state_is_loaded(subject: Path, page: Any) -> None:
    """Said to be not saved yet, also over other frames and a reload, until a click drops it."""
    open_example(page)
    other = page.context.new_page()
    other.set_default_timeout(WAIT)
    other.goto(page.url)
    other.get_by_label("Caption", exact=True).wait_for()
    caption, typed = page.get_by_label("Caption", exact=True), "a <token> man by a tree"
    caption.fill(typed)
    page.get_by_text("Not saved yet. Saved is").wait_for()
    page.get_by_label("for all frames").uncheck()
    other.get_by_label("Caption", exact=True).fill("a <token> man by a door")
    other.get_by_role("button", name="Save the caption").click()
    other.get_by_text("The caption is saved.").wait_for()
    other.close()

    page.get_by_role("button", name="Save the caption").click()
    page.get_by_role("alert").filter(has_text="a caption that was typed stays").wait_for()
    page.get_by_role("button", name="Load the newer one").click()
    page.get_by_text("Not saved yet. Saved is “a <token> man by a door”.").wait_for()
    assert caption.input_value() == typed
    assert not page.get_by_label("for all frames").is_checked()
    assert "by a tree" not in (subject / "captions.jsonl").read_text()
    page.get_by_role("button", name="Frame 1", exact=False).first.click()
    page.get_by_text("Typed and not saved yet: the caption of frame 0.").wait_for()
    assert caption.input_value() == "a <token> man by a door"
    page.reload()
    page.get_by_text("Not saved yet. Saved is “a <token> man by a door”.").wait_for()
    assert caption.input_value() == typed

    page.get_by_label("for all frames").uncheck()
    page.get_by_role("button", name="Save the caption").click()  # over what is seen now
    page.get_by_text("Not saved yet").wait_for(state="hidden")
    lines = (subject / "captions.jsonl").read_text().splitlines()
    assert ["by a tree" in line for line in lines] == [True] + [False] * (len(lines) - 1)
    caption.fill("something else")
    page.get_by_role("button", name="Drop what was typed").click()
    assert caption.input_value() == typed
    assert page.get_by_text("Not saved yet").is_hidden()


def test_what_was_typed_to_learn_stays_over_a_reload(subject: Path, page: Any) -> None:
    open_example(page)
    form = {"Word for this person": "anna", "Hair and clothes": "in a red shirt", "Seed": "7"}
    for label, value in form.items():
        page.get_by_label(label, exact=True).fill(value)
    page.reload()
    for _ in range(2):
        page.get_by_role("heading", name="Learn", exact=True).wait_for()
        assert {label: page.get_by_label(label, exact=True).input_value() for label in form} == form
        tab(page, "system")
        page.get_by_role("heading", name="System").wait_for()
        page.go_back()
    page.get_by_role("heading", name="Learn", exact=True).wait_for()
    assert page.get_by_label("Filmed").input_value() == "in a room"


LISTENERS = """() => { const add = Set.prototype.add;  // of the functions that hear how jobs stand
    Set.prototype.add = function (one) {
        if (typeof one === 'function') window.listening = this;
        return add.call(this, one);
    } }"""


@pytest.mark.parametrize("not_ended", ["failed"], indirect=True)
def test_looks_leave_no_more_listeners_and_what_was_typed(
    not_ended: str, subject: Path, page: Any
) -> None:
    page.add_init_script(f"({LISTENERS})()")
    tab(page, f"learn/{EXAMPLE}")
    page.reload()
    found = page.get_by_role("region", name="What was found")
    found.get_by_text(not_ended, exact=True).wait_for()
    word = page.get_by_label("Word for this person")
    word.fill("anna")
    page.get_by_label("Caption", exact=True).fill("a <token> man by a tree")
    before = page.evaluate("listening.size")
    assert before > 0
    for _ in range(2):
        found.get_by_role("button", name="Try again").click()
        found.get_by_role("progressbar").wait_for()
        found.get_by_role("button", name="Try again").wait_for()
        assert page.evaluate("listening.size") == before
    page.get_by_text("Not saved yet. Saved is").wait_for()
    assert word.input_value() == "anna"
    page.get_by_text("The last look did not end: try it again first.").wait_for()


@pytest.fixture(params=["stopped", "failed"])
def not_ended(request: Any, subject: Path, runs: Path) -> str:
    """How a look at the example ended that found nothing new."""
    text = {"stopped": "", "failed": "no room"}[request.param]
    form = {"clip": EXAMPLE, "base": "tiny", "frames": 12}
    job = Job(
        "check", "Look at Example", ["check", "--", "x"], form, state=request.param, text=text
    )
    folder = runs / "studio" / "jobs" / job.id
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    return text or "Stopped."


def test_a_look_that_did_not_end_leaves_what_was_found_before(
    not_ended: str, subject: Path, page: Any
) -> None:
    tab(page, f"learn/{EXAMPLE}")
    found = page.get_by_role("region", name="What was found")
    found.get_by_text(not_ended, exact=True).wait_for()
    assert found.get_by_role("button", name="Try again").is_visible()
    mask = subject / "masks" / "0001.png"
    before = mask.read_bytes()
    paint(page, 1, 30)
    until(lambda: mask.read_bytes() != before)
    learn = page.get_by_role("button", name="Learn", exact=True)
    assert learn.is_disabled()
    page.get_by_text("The last look did not end: try it again first.").wait_for()


@pytest.fixture
def two_results(runs: Path) -> None:
    mark(runs / "studio", "studio")
    for seed, color in enumerate((RED, BLUE)):
        colored(runs, seed, color)


def test_two_results_are_compared_by_a_slider(two_results: None, page: Any) -> None:
    """The shares left and right of the slider, and the same frame of both, also after steps."""
    tab(page, "generate")
    page.get_by_label("Compare with").wait_for()
    reach(page, "Compare with")
    page.keyboard.press("ArrowDown")
    slider = page.get_by_label(re.compile("How much of the left"))
    slider.wait_for()
    page.get_by_text("1 of 4", exact=True).wait_for()
    screen = page.locator(".screen")

    def seen(frame: int) -> float:
        """The share of the left result, once both show a frame."""
        until(lambda: shows(screen.screenshot(), frame))
        return share_of(screen.screenshot(), BLUE)

    assert seen(0) == pytest.approx(0.5, abs=0.02)
    reach(page, "How much of the left", "Shift+Tab")
    for key, share in {"End": 1, "Home": 0, "PageUp": 0.1}.items():
        page.keyboard.press(key)
        assert seen(0) == pytest.approx(share, abs=0.02)
    assert slider.get_attribute("aria-valuetext") == "10 % seed 1, 90 % seed 0"
    reach(page, "One frame on")
    for frame in (1, 2, 3):
        page.keyboard.press("Enter")
        page.get_by_text(f"{frame + 1} of 4", exact=True).wait_for()
        assert seen(frame) == pytest.approx(0.1, abs=0.02)


RED, BLUE = (1, 0, 0), (0, 0, 1)  # of the two results; each frame is brighter than the one before
LEVELS = (60, 110, 160, 220)


def colored(runs: Path, seed: int, color: tuple[int, int, int]) -> None:
    """A result of one color, and the job that made it, as the studio keeps it."""
    path = runs / "generate" / f"{seed}.mp4"
    frames = np.full((4, 64, 64, 3), color) * np.reshape(LEVELS, (4, 1, 1, 1))
    video.write(path, frames.astype(np.uint8), 8)
    about = {"prompt": "a man", "seed": seed, "steps": 2, "fps": 8.0, "size": [64, 64],
             "pose": {}, "fit": "none", "output": {"format": ".mp4", "fps": 8.0}}  # fmt: skip
    write_sidecar(path, about)
    job = Job("generate", "a man", ["generate"], {"prompt": "a man"}, state="done", queued=seed)
    job.result, job.ended = str(path), float(seed)
    folder = runs / "studio" / "jobs" / job.id
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(asdict(job)))


def pixels_of(png: bytes) -> np.ndarray:
    """A row in the middle of a screenshot, without its ends (N, 3): below the names."""
    found = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)
    return found[found.shape[0] * 3 // 4, 4:-4]


def shows(png: bytes, frame: int) -> bool:
    """Whether all of a screenshot, but for the line between the results, is of one frame."""
    return float(np.mean(np.abs(pixels_of(png).max(-1) - LEVELS[frame]) < 20)) > 0.95


def share_of(png: bytes, color: tuple[int, int, int]) -> float:
    return float(np.mean(pixels_of(png).argmax(-1) == np.argmax(color)))


def test_a_clip_is_recorded_with_the_camera(page: Any, runs: Path) -> None:
    """Chromium's own test camera; what it recorded is read to its end."""
    press(page, "Record with the camera")
    page.locator("video").wait_for()
    began = time.monotonic()
    page.wait_for_timeout(2500)
    took = time.monotonic() - began
    assert page.evaluate(FOCUSED) == "Stop recording"
    page.keyboard.press("Enter")
    page.get_by_label("The person is a").wait_for()
    facts = [json.loads(path.read_text()) for path in runs.glob("studio/clips/*.json")]
    clip = next(one for one in facts if one["name"] == "recording.mp4")
    assert clip["kind"] == "video" and clip["strip"] >= 8
    assert 1.5 < clip["seconds"] < took + 10


@pytest.fixture
def long_work(runs: Path) -> None:
    """Work for minutes, which the studio finds in its queue."""
    mark(runs / "studio", "studio")
    words = ["puppets", f"--out={runs / 'p'}", "--clips=5000", "--frames=2", "--size=32"]
    job = Job("learn", "Learn sks", words, {"subject": EXAMPLE, "token": "sks"})
    folder = runs / "studio" / "jobs" / job.id
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(asdict(job)))


POST = """form => fetch('/api/jobs', { method: 'POST', body: JSON.stringify(form) })"""


def test_the_queue_is_seen_and_a_page_goes_on_after_a_restart(
    long_work: None, page: Any, start: Any
) -> None:
    page.locator("#work").get_by_role("button", name="Stop", exact=True).wait_for()
    form = {"job": "generate", "prompt": "a man", "motion": "bundled-walk", "base": "tiny"}
    page.evaluate(POST, form)
    page.evaluate(POST, {"job": "check", "clip": EXAMPLE, "frames": 8, "base": "tiny"})
    page.get_by_role("button", name="2 more in the queue").click()
    rows = page.get_by_role("dialog").get_by_role("listitem")
    waits = page.get_by_role("dialog").get_by_text("waits for: Learn sks")
    waits.nth(1).wait_for()
    words = ("Learn sks", "Look at Example", "a man")  # a look goes before what takes long
    assert all(word in text for word, text in zip(words, rows.all_inner_texts(), strict=True))
    rows.nth(2).get_by_role("button", name="Take off the queue").click()
    waits.nth(1).wait_for(state="detached")
    page.keyboard.press("Escape")
    page.locator("#work").get_by_role("link", name="Learn sks").click()
    page.get_by_label("Base model").wait_for()
    found = page.get_by_role("region", name="What was found")
    found.get_by_text("waits for: Learn sks").wait_for()
    assert found.get_by_role("button", name="Take off the queue").is_visible()

    page.get_by_label("Filmed").fill("on a boat")
    page.studio.send_signal(signal.SIGINT)
    page.studio.wait(60)
    page.evaluate("scrollTo(0, 10000)")
    page.get_by_role("alert").filter(has_text="does not answer").wait_for()
    port = page.url.split(":")[2].split("/")[0]
    address = start(f"--port={port}")[1]
    page.get_by_role("alert").filter(has_text="open the address that it printed").wait_for()
    box = page.locator("#lost").bounding_box()
    assert 0 <= box["y"] < 300  # in view
    assert page.locator("#work").is_hidden()
    assert page.get_by_role("button", name="Take off the queue").count() == 0
    second = page.context.new_page()
    second.goto(address)
    page.locator("#lost").wait_for(state="hidden")
    page.locator("#work").get_by_role("button", name="Stop", exact=True).wait_for()
    assert page.get_by_label("Filmed").input_value() == "on a boat"
    second.close()


def test_an_answer_for_a_view_that_was_left_changes_nothing(page: Any) -> None:
    late: list[Any] = []
    address = page.url
    page.goto("about:blank")  # or the request that is held may be one of the page before
    page.route("**/api/clips", lambda one: one.continue_() if late else late.append(one))
    with page.expect_request("**/api/clips"):
        page.goto(address)
    tab(page, f"learn/{EXAMPLE}")
    page.get_by_label("Base model").wait_for()
    with page.expect_response("**/api/clips"):
        late[0].continue_()
    page.wait_for_timeout(300)  # what came is shown at once, if at all
    assert page.get_by_label("Base model").is_visible()


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


FAILED = {
    "swap": (
        "{runs}/studio/clips/{one}.png: 2 persons: choose one by --character-person N, numbered in "
        "{runs}/{two}/character-people-2.png, or crop the picture",
        "hero.png: 2 persons: choose one by “Person of the picture to put there”, numbered in a "
        "picture that “Look at it” shows, or crop the picture",
    ),
    "cast": (
        "/opt/aa/mini/base.toml: no such file; give --likeness 2, --whole or --vram 8",
        "base.toml: no such file; give “Likeness” 2, “Take the picture as it is” or --vram 8",
    ),
    "generate": (
        "{runs}/sks/personal.safetensors: other bones; give --fit none (see {runs}/sks).",
        "sks/personal.safetensors: other bones; give “Fit of the skeleton: as it is” (see sks).",
    ),
    "check": (
        "{runs}/studio/subjects/{one}/masks/0001.png: not 64 x 64 pixels: --person 2, --place",
        "hero.png (masks/0001.png): not 64 x 64 pixels: “Number of the person to learn” 2, "
        "“Filmed”",
    ),
}


@pytest.fixture
def failed(runs: Path) -> dict[str, str]:
    """A failed job of each tab, whose lines name options and files; the lines as they were said."""
    mark(runs / "studio", "studio")
    ids, said = {"one": EXAMPLE, "two": "ab" * 8}, {}
    for kind, (text, _) in FAILED.items():
        said[kind] = text.format(runs=runs, **ids)
        about = {"pictures": [], "clip": EXAMPLE, "prompt": "a man"}
        job = Job(kind, f"The {kind}", [kind, "--", "x"], about, state="failed", text=said[kind])
        job.names = {ids["one"]: "hero.png", ids["two"]: "street.mp4"}
        folder = runs / "studio" / "jobs" / job.id
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(asdict(job)))
    return said


def test_why_a_job_failed_is_said_in_the_words_of_the_page(
    failed: dict[str, str], page: Any
) -> None:
    """Fields for options, and names for files of the server; the line itself is below."""
    for kind, (_, words) in FAILED.items():
        tab(page, f"learn/{EXAMPLE}" if kind == "check" else kind)
        page.get_by_text(words, exact=True).wait_for()
        assert not page.get_by_text(failed[kind], exact=True).is_visible()
        page.get_by_text("As the command said it").click()
        page.get_by_text(failed[kind], exact=True).wait_for()
    tab(page, "system")
    for _, words in FAILED.values():
        page.get_by_role("cell").get_by_text(words, exact=True).wait_for()


def long_lines(runs: Path) -> None:
    """Jobs whose lines name a file by a path that no line can be broken in."""
    mark(runs / "studio", "studio")
    path = f"/{'folder' * 12}/a.mp4"
    failed = Job("swap", "Swap", ["swap", "--", "x"], {"pictures": []}, state="failed", text=path)
    found = {"level": "warning", "file": "a.mp4", "what": "file", "text": f"see {path[1:]}"}
    report = {"verdict": "unusable", "findings": [found], "prediction": {}, "files": {}}
    looked = Job("check", "Look", ["check", "--", "x"], {"clip": EXAMPLE}, state="done")
    looked.result = json.dumps(report)
    for job in (failed, looked):
        folder = runs / "studio" / "jobs" / job.id
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(asdict(job)))


def test_colors_contrast_enough_and_everything_has_a_name(
    browser: Any, start: Any, runs: Path
) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text; nothing wider than a phone; names of fields and buttons."""
    long_lines(runs)
    _, address = start()
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address)
    for name in ("learn", f"learn/{EXAMPLE}", "generate", "swap", "cast", "history", "system"):
        tab(page, name)
        page.locator("h1").wait_for()
        if name == f"learn/{EXAMPLE}":
            page.get_by_text("see folder").wait_for()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(CONTRAST) == [], (name, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert page.evaluate(UNNAMED) == [], name
    for cut in ("generate/again/%7B%22x", "generate/prompt/%E0%A4%A", "generate/again/null"):
        tab(page, cut)
        page.get_by_role("heading", name="Generate a video").wait_for()
    context.close()
