"""The quickstart notebook, run from the first cell to the last on an untrained tiny base."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


def test_the_quickstart_notebook_runs(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel's `aa` is that of these sources, whatever is installed.
    folder = place / "bin"
    folder.mkdir()
    (folder / "aa").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m animateanywhere "$@"\n')
    (folder / "aa").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(place / "ipython"))

    notebook = nbformat.read(ROOT / "examples/quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    parameters = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(parameters) == 1
    parameters[0].source = f'BASE = "{tiny_base}"\nSTEPS = 1'
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}}
    )
    client.execute()  # raises where a cell does

    shown = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert shown.count("text/html") == 3  # the clip, the motion and the generated video
    assert shown.count("image/png") == 1
    assert (place / "runs/sks/personal.safetensors").is_file()
    assert (place / "runs/sks/evaluation/metrics.json").is_file()
