import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from animateanywhere.cli.main import main
from animateanywhere.commands import doctor
from animateanywhere.core import paths, requirements
from animateanywhere.core.files import sha256
from animateanywhere.media.try_codecs import CODECS, Codec, try_codec
from animateanywhere.preprocessing import model_files

ROOT = Path(__file__).parents[2]


def test_this_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, by the command; nothing is asked of a network that the user has switched off."""
    command = [sys.executable, "-m", "animateanywhere", "doctor", "--json"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    checks = {check["name"]: check for check in found["checks"]}
    assert done.returncode == (0 if found["works"] else 1) and "Svt" not in done.stderr
    assert checks["hub"] == {"group": "network", "name": "hub", "level": "note", "todo": "",
                             "text": "downloads are off (HF_HUB_OFFLINE)"}  # fmt: skip
    assert {"Python", "torch", "memory", "disk for runs", "H.264", "AV1", "bundled base",
            "extra openai", "tested versions"} <= checks.keys()  # fmt: skip
    assert checks["torch"]["level"] == checks["H.264"]["level"] == "ok"
    assert all(check["todo"] for check in checks.values() if check["level"] == "broken")


def test_the_bundled_base_has_the_checksums_of_its_list() -> None:
    lines = (paths.ASSETS / "mini.sha256").read_text().splitlines()
    listed = dict(reversed(line.split(maxsplit=1)) for line in lines)
    assert listed.keys() >= {
        str(path.relative_to(paths.ASSETS)) for path in paths.ASSETS.rglob("*")
        if path.suffix in (".safetensors", ".toml")
    }  # fmt: skip
    wrong = [name for name, digest in listed.items() if sha256(paths.ASSETS / name) != digest]
    assert not wrong, "in animateanywhere/assets, write mini.sha256 again with sha256sum"


def test_damaged_and_missing_files_of_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(paths.ASSETS, tmp_path / "assets")
    monkeypatch.setattr(doctor, "ASSETS", tmp_path / "assets")
    assert [check.level for check in doctor._bundled()] == ["ok"]
    weights = tmp_path / "assets" / "mini" / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (tmp_path / "assets" / "mini" / "base.toml").unlink()
    (found,) = doctor._bundled()
    assert found.level == "broken" and found.todo
    assert "base.toml is missing" in found.text and f"{weights} is damaged" in found.text


def test_model_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AA_CACHE", str(tmp_path))
    (found,) = doctor._model_files()
    assert found.level == "warning" and "aa models fetch" in found.todo
    model_files.folder().mkdir(parents=True)
    (model_files.folder() / model_files.DETECTION.name).write_bytes(b"cut off")
    (found,) = doctor._model_files()
    assert found.level == "broken" and f"{model_files.DETECTION.name} is damaged" in found.text


def test_modules_that_fail_or_crash_when_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that raises, one that exits, one whose binary kills the process; the rest is tried."""
    for name, text in {
        "fine_one": "print('hello')", "raises": "raise OSError('no\\nlibrary')",
        "leaves": "raise SystemExit(0)", "crashes": "import os; os.abort()", "last_one": "",
    }.items():  # fmt: skip
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = doctor._imported(["fine_one", "raises", "leaves", "crashes", "last_one"])
    errors = {name: result["error"] for name, result in found.items()}
    assert errors["fine_one"] == errors["last_one"] == ""
    assert errors["raises"] == "OSError: no library" and errors["leaves"].startswith("SystemExit")
    assert errors["crashes"] == "it ends the process with code -6"


def test_packages_outside_of_their_range_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(name: str) -> str | None:
        return {"torch": "1.0", "openai": "99.0", "scipy": None}.get(name, "0") if name in (
            "torch", "openai", "scipy"
        ) else real(name)  # fmt: skip

    real = requirements._installed
    monkeypatch.setattr(requirements, "_installed", installed)
    found = {check.name: check for check in doctor._packages()}
    assert found["torch"].level == found["scipy"].level == "broken"
    assert "1.0 is installed; >=2.6 is needed" in found["torch"].text
    assert found["scipy"].text.startswith("not installed")
    assert found["extra openai"].level == "warning" and "openai 99.0" in found["extra openai"].text


def test_requirements_are_those_of_the_project_and_of_the_installed_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"]]
    extras = project["optional-dependencies"]
    lines += [f'{line}; extra == "{name}"' for name, some in extras.items() for line in some]
    there = [(p.name, p.extra, set(p.range.split(","))) for p in requirements.packages()]
    assert len(there) == len(lines)
    monkeypatch.setattr(requirements, "PACKAGE", tmp_path / "installed")
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    installed = [(p.name, p.extra, set(p.range.split(","))) for p in requirements.packages()]
    assert sorted(map(str, installed)) == sorted(map(str, there))


def test_a_codec_that_is_not_there() -> None:
    h264 = CODECS[0]
    assert try_codec(h264) is None
    assert try_codec(h264._replace(encoders=("none",))) == (
        "no encoder, and so the decoder was not tried"
    )
    assert try_codec(Codec("none", "none", ("none",), "mp4", False)) == "no decoder"
    assert "fails" in str(try_codec(h264._replace(container="gif")))


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="not Linux")
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_try_leaves_the_process_as_it_was(codec: Codec) -> None:
    before = os.sched_getscheduler(0)
    assert try_codec(codec) is None
    assert os.sched_getscheduler(0) == before


def test_an_error_in_a_check_is_broken_and_decides_the_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> object:
        raise RuntimeError("two\nlines")

    (found,) = doctor._guarded("video", "codecs", fails)  # type: ignore[arg-type]
    assert (
        found.level == "broken" and found.text == "could not be checked (RuntimeError: two lines)"
    )
    monkeypatch.setattr(doctor, "doctor", lambda: [found])
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "could not be checked" in out and found.todo in out
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["works"] is False
