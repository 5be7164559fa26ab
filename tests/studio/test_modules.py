"""The JavaScript of the page, of which no linter reads it: the browser loads all of it, and what is
imported is used."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from animateanywhere.studio.app import PAGES
from animateanywhere.studio.clips import EXAMPLE
from tests.studio import test_browser as web

browser, runs = web.browser, web.runs
MODULES = sorted(path.name for path in PAGES.glob("*.js"))
# Of a module that cannot be loaded, the browser says why: a wrong line, or a missing name or file
LOAD = """async (names) => {
  const wrong = [];
  for (const name of names) {
    await import(`/static/${name}`).catch((error) => wrong.push(`${name}: ${error}`));
  }
  return wrong;
}"""


def is_wrong(message: Any) -> bool:
    """Whether a message of the console is an error, and no answer of the server, such as 404."""
    return message.type == "error" and "/api/" not in message.location["url"]


@pytest.fixture
def noted(browser: Any, start: Any, runs: Path) -> Iterator[tuple[Any, list[str]]]:
    """A page of a studio, and the errors that it reports."""
    _, address = start()
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(web.WAIT)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda one: is_wrong(one) and wrong.append(one.text))
    page.goto(address)
    yield page, wrong
    context.close()


@web.pytestmark
def test_the_browser_loads_every_module_and_reports_no_error(
    noted: tuple[Any, list[str]],
) -> None:
    page, wrong = noted
    assert page.evaluate(LOAD, MODULES) == []
    for name in ("learn", f"learn/{EXAMPLE}", "generate", "swap", "cast", "history", "system"):
        web.tab(page, name)
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_load_state("networkidle")
    assert wrong == []


IMPORT = re.compile(r'^import \{([^}]*)\} from "\./[a-z_]+\.js";$', re.M)
# Comments, and strings but for templates, whose ${...} are code
WORDS = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def unused(code: str) -> list[str]:
    """The names that a module imports and does not use, as code of this page is written: neither a
    property of something (`a.name`) nor a key (`name: 1`)."""
    names = [name.split(" as ")[-1].strip() for found in IMPORT.findall(code)
             for name in found.split(",")]  # fmt: skip
    rest = WORDS.sub('""', IMPORT.sub("", code))
    used = r"(?<![\w$])(?:(?<=\.\.\.)|(?<!\.)){}(?![\w$:])"
    return [name for name in names if not re.search(used.format(re.escape(name)), rest)]


@pytest.mark.parametrize("name", MODULES)
def test_what_is_imported_is_used(name: str) -> None:
    code = (PAGES / name).read_text(encoding="utf-8")
    assert len(re.findall(r"^import\b", code, re.M)) == len(IMPORT.findall(code)), "read them all"
    assert unused(code) == []


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("a(b); // c", ["c"]), ("a.b(c)", ["b"]), ("x = { a, b: 1, c: c }", ["b"]),
        ('a("b", `${c}`)', ["b"]), ("[...a, b ? c : 1]", []), ("/* a */ b; c", ["a"]),
    ],
)  # fmt: skip
def test_names_in_words_keys_and_properties_are_no_use(line: str, left: list[str]) -> None:
    assert unused(f'import {{ a, x as b, c }} from "./x.js";\n{line}\n') == left
