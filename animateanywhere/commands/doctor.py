"""`aa doctor`: whether the commands work on this machine, and what to do where they do not.

Nothing is taken from names alone: packages are imported, in processes of their own, codecs encode
and decode, files are compared with their checksums.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from animateanywhere import __version__
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import nearest_existing, require_writable, sha256
from animateanywhere.core.paths import ASSETS, PACKAGE, RUNS, cache_folder, install_command

Level = Literal["ok", "note", "warning", "broken"]
OLDEST = (3, 11)  # Python
LEAST_MEMORY, LEAST_DISK, NO_DISK = 2.0, 2.0, 0.2  # GB
PATIENCE = 2.0  # seconds for the hub
IMPORT_LIMIT = 60.0  # seconds
HASHED = 200_000_000  # bytes of downloaded networks that are compared with their checksums
# The slow part of what the commands import, and the packages that it contains
CORE = ["torch", "animateanywhere.backbones.base"]
OF_CORE = {"accelerate", "diffusers", "huggingface-hub", "peft", "safetensors", "tokenizers",
           "torch", "transformers"}  # fmt: skip
DEVELOPING = {"test", "lint", "docs"}  # extras that no command needs


@dataclass(frozen=True)
class Check:
    """What was found of one thing. todo: what to do, "" for nothing."""

    group: str
    name: str
    level: Level
    text: str
    todo: str = ""


def doctor() -> list[Check]:
    """All checks, at most a few seconds."""
    with ThreadPoolExecutor() as pool:  # most of them wait for other processes
        core = pool.submit(_imported, CORE)
        packages = pool.submit(_guarded, "packages", "packages", _packages)
        several = [
            pool.submit(_guarded, group, name, check) for group, name, check in (
                ("machine", "disk", _disk), ("files", "bundled base", _bundled),
                ("files", "model files", _model_files), ("files", "networks", _networks),
                ("video", "codecs", _codecs), ("network", "hub", _hub),
            )
        ]  # fmt: skip
        found = [*_machine(), *_guarded("machine", "torch", lambda: _torch(core.result()))]
        rest = [check for part in (packages, *several) for check in part.result()]
    order = list(dict.fromkeys(["machine", "packages", *(check.group for check in rest)]))
    return sorted([*found, *rest], key=lambda check: order.index(check.group))


def works(checks: list[Check]) -> bool:
    """Whether nothing is broken that commands need."""
    return all(check.level != "broken" for check in checks)


def show(checks: list[Check]) -> None:
    """Print the checks, and what to do."""
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    words = {"ok": "[green]ok[/]", "note": "", "warning": "[yellow]warning[/]",
             "broken": "[red]broken[/]"}  # fmt: skip
    group = ""
    for check in checks:
        if check.group != group:
            console.print(f"[bold]{check.group}[/]")
            group = check.group
        word = words[check.level]
        width = len(check.level) if check.level != "note" else 0
        console.print(f"  {word}{' ' * (8 - width)}{escape(f'{check.name}: {check.text}')}")
        if check.todo:
            console.print(escape(f"{' ' * 10}{check.todo}"))
    counts = {level: sum(check.level == level for check in checks) for level in words}
    end = "the commands work" if works(checks) else "something that the commands need is broken"
    warned = counts["warning"]
    more = f", {warned} warning{'s' * (warned > 1)}" if warned else ""
    console.print(f"[bold]{end}{more}[/]")


def to_json(checks: list[Check]) -> str:
    """The checks as a JSON object."""
    table = {"works": works(checks), "version": __version__, "checks": [asdict(c) for c in checks]}
    return json.dumps(table, indent=1)


def _guarded(group: str, name: str, check: Callable[[], Iterator[Check]]) -> list[Check]:
    """The results of a check; an error in it is a result too."""
    try:
        return list(check())
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return [Check(group, name, "broken", f"could not be checked ({words})",
                      "reinstall the program with its pinned versions")]  # fmt: skip


def _machine() -> Iterator[Check]:
    version = platform.python_version()
    fits = sys.version_info >= OLDEST
    todo = "" if fits else f"install Python {OLDEST[0]}.{OLDEST[1]} or newer"
    yield Check("machine", "program", "note", f"aa {__version__} in {PACKAGE}")
    yield Check(
        "machine", "Python", "ok" if fits else "broken", f"{version}, {sys.executable}", todo
    )
    yield Check("machine", "system", "note", f"{platform.platform()}, {os.cpu_count()} processors")
    try:
        import psutil

        from animateanywhere.core.device import free_memory

        total, free = psutil.virtual_memory().total / 1e9, free_memory()
    except ImportError:
        return  # among the packages
    few = free < LEAST_MEMORY
    yield Check(
        "machine", "memory", "warning" if few else "ok", f"{free:.1f} of {total:.1f} GB are free",
        "close other programs: learning a person takes about 1.5 GB with the bundled base" * few,
    )  # fmt: skip


def _torch(results: dict[str, dict[str, Any]]) -> Iterator[Check]:
    """From `_imported`: torch, its devices, and whether the commands can be imported."""
    facts = results["torch"]["facts"]
    if facts:
        cpu = ", ".join([facts["capability"], *facts["cpu"]])
        text = f"{facts['version']}, {facts['threads']} threads, processor: {cpu}"
        yield Check("machine", "torch", "ok", text)
        for name, total, free in facts["gpus"]:
            yield Check("machine", "GPU", "ok", f"{name}, {free:.1f} of {total:.1f} GB are free")
        if not facts["gpus"]:
            build = f"built for CUDA {facts['cuda']}" if facts["cuda"] else "a build without CUDA"
            yield Check("machine", "GPU", "note", f"none that torch can use ({build})")
        if facts["fault"]:
            yield Check("machine", "device", "broken", facts["fault"], "unset or change AA_DEVICE")
        else:
            yield Check("machine", "device", "note", f"networks run on {facts['device']}")
    for name in CORE:
        if error := results[name]["error"]:
            yield Check("packages", name, "broken", f"cannot be imported ({error})", _reinstall())


def _imported(modules: list[str]) -> dict[str, dict[str, Any]]:
    """For each module "error", "" where it could be imported, and "facts" about torch."""
    found: dict[str, dict[str, Any]] = {}
    left = list(modules)
    while left:
        command = [sys.executable, "-m", "animateanywhere.commands.doctor_imports", *left]
        path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=IMPORT_LIMIT,
                env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
            )  # fmt: skip
            lines, end = done.stdout, f"it ends the process with code {done.returncode}"
        except subprocess.TimeoutExpired as late:
            lines, end = str(late.stdout or ""), f"no end after {IMPORT_LIMIT:.0f} s"
        begun = left[0]
        for line in lines.splitlines():
            if not line.startswith('{"'):
                continue  # packages may print
            record = json.loads(line)
            begun = record.get("begin", begun)
            if "end" in record:
                found[record["end"]] = {"error": record["error"], "facts": record["facts"]}
        if begun not in found:
            found[begun] = {"error": end, "facts": {}}
        left = [name for name in left if name not in found]
    return found


def _packages() -> Iterator[Check]:
    """Versions against ranges and pins; extras by importing what is installed of them."""
    from animateanywhere.core.requirements import Package, modules_of, packages

    every = packages()
    extras: dict[str, list[Package]] = {}
    for package in every:
        extras.setdefault(package.extra, []).append(package)
    needed = extras.pop("", [])
    tried = [p for p in needed if p.name not in OF_CORE]
    tried += [p for extra, some in extras.items() if extra not in DEVELOPING for p in some]
    names = {package.name: modules_of(package.name) for package in tried if package.installed}
    results = _imported(sorted({module for some in names.values() for module in some}))
    errors = {}
    for name, modules in names.items():
        if texts := [results[module]["error"] for module in modules if results[module]["error"]]:
            errors[name] = "; ".join(texts)
    for package in needed:
        there = f"{package.installed} is installed" if package.installed else "not installed"
        if not package.fits:
            text = f"{there}; {package.range} is needed"
            yield Check("packages", package.name, "broken", text, _reinstall())
        elif package.name in errors:
            text = f"cannot be imported ({errors[package.name]})"
            yield Check("packages", package.name, "broken", text, _reinstall())
    for extra, some in extras.items():
        missing = [package.name for package in some if package.installed is None]
        wrong = [f"{p.name} {p.installed}, where {p.range} is needed" for p in some
                 if p.installed and not p.fits]  # fmt: skip
        failed = [f"{p.name}: {errors[p.name]}" for p in some if p.name in errors]
        if failed or wrong:
            text = f"does not work: {'; '.join([*failed, *wrong])}"
            yield Check("packages", f"extra {extra}", "warning", text, install_command(extra))
        elif missing:
            text = f"not installed ({', '.join(missing[:4])}{', ...' * (len(missing) > 4)})"
            yield Check("packages", f"extra {extra}", "note", text)
        else:
            what = "installed" if extra in DEVELOPING else "imports"
            yield Check("packages", f"extra {extra}", "ok", what)
    yield from _against_pins([p for p in every if p.installed and p.fits])


def _against_pins(found: list[Any]) -> Iterator[Check]:
    """Installed versions that are not those that were tested; builds ("+cpu") do not count."""
    known = {p.name: p for p in found if p.tested}
    others = [f"{p.name} {p.installed} (tested: {p.tested})" for p in known.values()
              if p.installed.partition("+")[0] != p.tested]  # fmt: skip
    if not known:
        yield Check("packages", "tested versions", "note", "constraints.txt is not there")
    elif others:
        shown = ", ".join(others[:6]) + ", ..." * (len(others) > 6)
        yield Check("packages", "tested versions", "note",
                    f"{len(others)} of {len(known)} packages have other ones: {shown}")  # fmt: skip
    else:
        yield Check("packages", "tested versions", "ok", f"all {len(known)} packages have them")


def _disk() -> Iterator[Check]:
    from animateanywhere.core import hub

    places = {"runs": RUNS, "model files": cache_folder(), "hub's cache": hub.cache_folder()}
    for name, place in places.items():
        free = shutil.disk_usage(nearest_existing(place)).free / 1e9
        text = f"{place.absolute()}, {free:.1f} GB are free"
        try:
            require_writable(place)
        except UsageError as error:
            yield Check("machine", f"disk for {name}", "warning", str(error).partition(";")[0],
                        "work in another folder, or give --out" if name == "runs" else
                        "set AA_CACHE or HF_HOME to another folder")  # fmt: skip
            continue
        level: Level = "broken" if free < NO_DISK else "warning" if free < LEAST_DISK else "ok"
        todo = "free some space" if level != "ok" else ""
        yield Check("machine", f"disk for {name}", level, text, todo)


def _bundled() -> Iterator[Check]:
    """The files of the bundled base against the list of their checksums."""
    lines = (ASSETS / "mini.sha256").read_text(encoding="utf-8").splitlines()
    wrong = []
    for line in lines:
        digest, name = line.split(maxsplit=1)
        path = ASSETS / name
        if not path.is_file():
            wrong.append(f"{path} is missing")
        elif sha256(path) != digest:
            wrong.append(f"{path} is damaged")
    if wrong:
        yield Check("files", "bundled base", "broken", "; ".join(wrong[:3]), _reinstall())
    else:
        yield Check("files", "bundled base", "ok", f"{len(lines)} files with the right checksums")


def _model_files() -> Iterator[Check]:
    from animateanywhere.preprocessing import model_files

    faults = {file.name: model_files.fault(file) for file in model_files.FILES}
    wrong = [f"{name} {what}" for name, what in faults.items() if what]
    todo = f"aa models fetch ({model_files.WHEEL_MB} MB); poses of real footage need them"
    if not wrong:
        yield Check("files", "pose detector", "ok", f"whole, in {model_files.folder()}")
    elif "is damaged" in faults.values():
        yield Check("files", "pose detector", "broken", "; ".join(wrong), todo)
    else:
        yield Check("files", "pose detector", "warning", "; ".join(wrong), todo)


def _networks() -> Iterator[Check]:
    """The other networks of `aa models`, those that are there, by the hub's checksums."""
    from animateanywhere.commands.models import SOURCES
    from animateanywhere.preprocessing.weights import HUB, find_local

    left, absent = HASHED, []
    for name, sources in SOURCES.items():
        for source in sources:
            folder = find_local(source, HUB)
            if folder is None:
                absent.append(name)
                continue
            files = [file for pattern in source.files for file in folder.glob(pattern)]
            damaged, unknown = [], 0
            for file in files:
                digest, size = file.resolve().name, file.stat().st_size
                if len(digest) != hashlib.sha256().digest_size * 2 or size > left:
                    unknown += 1
                    continue
                left -= size
                damaged += [file.name] if sha256(file) != digest else []
            if damaged:
                yield Check("files", f"network {name}", "warning", f"{', '.join(damaged)} damaged",
                            f"delete {folder}, then: aa models fetch {name}")  # fmt: skip
            else:
                how = "there; too large to compare here" if unknown else "with the right checksums"
                yield Check("files", f"network {name}", "ok", how)
    if absent:
        names = ", ".join(dict.fromkeys(absent))
        yield Check("files", "other networks", "note", f"not on this machine: {names}")


def _codecs() -> Iterator[Check]:
    from animateanywhere.media.try_codecs import CODECS, try_codec

    for codec in CODECS:
        fault = try_codec(codec)
        level: Level = "ok" if fault is None else "broken" if codec.needed else "warning"
        todo = "" if fault is None else f"install the pinned PyAV: {_reinstall()}"
        yield Check("video", codec.name, level, fault or "frames were encoded and decoded", todo)


def _hub() -> Iterator[Check]:
    from animateanywhere.core import hub

    if hub.is_offline():
        yield Check("network", "hub", "note", "downloads are off (HF_HUB_OFFLINE)")
        return
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    with ThreadPoolExecutor(1) as pool:  # looking up a name may take longer than any time limit
        asked: Future[Any] = pool.submit(get_session().head, constants.ENDPOINT, timeout=PATIENCE)
        try:
            code = asked.result(PATIENCE + 1).status_code
            yield Check("network", "hub", "ok", f"{constants.ENDPOINT} answers ({code})")
        except Exception as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield Check(
                "network", "hub", "warning", f"{constants.ENDPOINT} does not answer ({why})",
                "only downloads need it; HF_HUB_OFFLINE=1 says that there is none",
            )  # fmt: skip
            pool.shutdown(wait=False, cancel_futures=True)


def _reinstall() -> str:
    return install_command("offline")
