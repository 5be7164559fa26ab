"""README and docs: links lead somewhere, files are there, and every `aa` command can be typed."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from animateanywhere import __version__
from animateanywhere.cli.main import app
from animateanywhere.commands.cast_baselines import KNOWN as CASTS
from animateanywhere.commands.swap_benchmark import ROWS as SWAPS
from animateanywhere.core.errors import UsageError
from animateanywhere.methods.animate_anywhere.baselines import named

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PLACES = ("animateanywhere", "benchmarks", "docs", "examples", "recipes", "tests", ".github")
FILES = {".jpg", ".json", ".mp4", ".png", ".safetensors", ".toml"}


def prose(text: str) -> str:
    """A page without its blocks of code."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    \S.*$", "", text, flags=re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that headings get, on the site and in common viewers of repositories."""
    heads = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_links(text: str, page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(prose(text)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


def commands(text: str) -> list[str]:
    """Lines of blocks of shell that begin with `aa`."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in blocks if kind == "sh" for line in block.splitlines()]
    lines += re.findall(r"^    (\S.*)$", text, flags=re.MULTILINE)
    return [line for line in lines if line.startswith("aa ")]


def parse(line: str, folder: Path) -> None:
    """Have Typer read a command as a shell would pass it; files that it names are made first."""
    name, *arguments = shlex.split(line, comments=True)[1:]
    for argument in arguments:
        path = folder / argument.partition(":")[0]
        if path.suffix in FILES:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif re.fullmatch(r"[a-z]+/\w+", argument):
            path.mkdir(parents=True, exist_ok=True)
    context = COMMANDS[name].make_context(name, arguments)
    for method in (context.params.get("methods") or "ours").split(","):
        known = {"swap": SWAPS, "cast": CASTS}.get(str(context.params.get("bench")))
        assert method in known if known else named(method)


def options(name: str) -> set[str]:
    every = (flag for one in COMMANDS[name].params for flag in (*one.opts, *one.secondary_opts))
    return {*every, "--help"}


def wrong_code(text: str) -> list[str]:
    """What inline code names that is not there: commands, their options, options, files."""
    flags = set().union(*map(options, COMMANDS)) | {"--version", "--install-completion"}
    scripts = "".join(file.read_text() for file in (ROOT / "benchmarks").glob("*.py"))
    flags |= set(re.findall(r'"(--[a-z0-9-]+)"', scripts))
    wrong = []
    for code in CODE.findall(prose(text)):
        words = code.split()
        used = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", code))
        known = flags
        if words[0] == "aa" and len(words) > 1 and words[1].islower() and words[1][0] != "-":
            known = options(words[1]) if words[1] in COMMANDS else set()
            used |= set() if known else {words[1]}
        missing = words[0].split("/")[0] in PLACES and "/" in words[0] and "NAME" not in words[0]
        if used - known or (missing and not list(ROOT.glob(words[0].rstrip("/")))):
            wrong.append(code)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page.read_text(), page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_in_a_sentence_names_what_exists(page: Path) -> None:
    assert wrong_code(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_can_be_typed(page: Path, place: Path) -> None:
    for line in commands(page.read_text()):
        parse(line, place)


def test_ablations_have_the_names_of_the_benchmark() -> None:
    text = (ROOT / "docs/measuring.md").read_text()
    sentence = re.search(r"^Ablations go by name:.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert sentence
    names = [name for name in CODE.findall(sentence[0]) if not name.endswith("*")]
    assert len(names) > 10
    for name in names:
        named(name)


def test_commands_are_found_at_all() -> None:
    assert len(commands((ROOT / "README.md").read_text())) > 10


def test_recipes_show_commands_that_can_be_typed(place: Path) -> None:
    headers = [path.read_text() for path in (ROOT / "recipes").glob("*.toml")]
    lines = [line for text in headers for line in re.findall(r"^#   (aa .*)$", text, re.MULTILINE)]
    assert len(lines) > 10
    for line in lines:
        parse(line, place)


@pytest.mark.parametrize(
    "text", ["[a](nothing.md)", "![a](../outside.png)", "[a](CHANGELOG.md#nowhere)", "[a](#b)"]
)
def test_a_broken_link_is_seen(text: str) -> None:
    assert len(broken_links(text, ROOT / "README.md")) == 1


@pytest.mark.parametrize(
    "code", ["aa nothing", "aa generate --bogus", "--bogus", "tests/nothing.py", "docs/quality.md"]
)
def test_wrong_code_is_seen(code: str) -> None:
    assert wrong_code(f"See `{code}`.") == [code]


def test_a_wrong_method_is_seen(place: Path) -> None:
    with pytest.raises(UsageError):
        parse("aa evaluate --bench puppets --methods ours,nothing", place)


@pytest.mark.parametrize(
    "line",
    [
        'aa generate "a man" --pose dance.mp4 --bogus 1',
        'aa generate "a man"',
        'aa generate "a man" --pose dance.mp4 --steps few',
        "aa export personal.safetensors --format nothing",
    ],
)
def test_a_wrong_command_is_seen(line: str, place: Path) -> None:
    with pytest.raises(typer.TyperException):
        parse(line, place)


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r": ([\w-]+\.md)$", text, re.MULTILINE))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= listed


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    lines = re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [name for line in lines for name in line.split()[:-1]]
    assert sources and all((ROOT / name).exists() for name in sources)
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(sources) == set(kept)


def test_pre_commit_runs_what_make_lint_runs() -> None:
    lint = re.search(r"^lint:.*\n((?:\t.*\n?)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lint
    made = [line.strip().replace("$(RUN)", ".venv/bin/python") for line in lint[1].splitlines()]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]] == made


def test_workflows_call_what_is_there() -> None:
    for path in (ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(path.read_text()), path
    assert "run: .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text()
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["preferred-citation"]["doi"] in (ROOT / "README.md").read_text()


def test_the_notebook_is_stored_without_results() -> None:
    notebook = json.loads((ROOT / "examples/quickstart.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
