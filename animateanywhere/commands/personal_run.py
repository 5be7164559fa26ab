"""The folder of a run of `aa personalize`: the inputs that its state belongs to, and the finished
weights of earlier runs, which are never deleted.

personal.safetensors  the weights    run.json  what they depend on    training/  state of the stages
subject/  what was learned           earlier/1, earlier/2...          former weights and their files
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from rich.markup import escape

from animateanywhere.backbones.personal_weights import FILE, RECORD, require_whole
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import folder_aside, sha256, write_aside
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import say, warn
from animateanywhere.methods.animate_anywhere import checkpoint_selection
from animateanywhere.methods.animate_anywhere.model_card import NAME

# What is kept of an earlier run, beside its subject
KEPT = (FILE, RECORD, NAME, checkpoint_selection.FILE, checkpoint_selection.PICTURE)


def bind(out: Path, run: dict[str, str], local: dict[str, str]) -> None:
    """Bind the training state in `out` to a run; state of another run, or with damaged scores, is
    deleted. local: further facts for the record, which identify nothing."""
    before = read_run(out)
    same = {key: before.get(key) for key in run} == run
    if same:
        try:
            checkpoint_selection.read(out)
        except UsageError as error:
            warn(escape(f"{error}: training starts from the beginning"))
            same = False
    elif (out / "training").is_dir():
        warn(
            f"{escape(str(out))} is of a run with another clip or settings, or of another version: "
            "training starts from the beginning"
        )
    if not same:
        keep_earlier(out)
        shutil.rmtree(out / "training", ignore_errors=True)
        (out / checkpoint_selection.FILE).unlink(missing_ok=True)
    with write_aside(out / RECORD) as aside:
        aside.write_text(json.dumps(run | local, indent=1) + "\n", encoding="utf-8")


def finished(path: Path, run: dict[str, str]) -> bool:
    """Whether the weights of a run are complete; those of other runs and damaged ones are not."""
    if not path.is_file():
        return False
    try:
        about = require_whole(path)
    except UsageError as error:
        warn(escape(f"{error.args[0].removesuffix('; copy it again')}; it is made again"))
        return False
    return {key: about.get(key) for key in run} == run


def keep_earlier(out: Path) -> None:
    """Keep a copy of the finished weights in `out`, and of the files that belong to them, in
    `earlier/<number>`, unless it exists or the weights are damaged. Prints the folder."""
    folder = out / "earlier"
    try:
        require_whole(out / FILE)
    except UsageError:
        return
    digest = sha256(out / FILE)
    if any(sha256(file) == digest for file in folder.glob(f"*/{FILE}")):
        return
    numbers = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    kept = folder / str(max(numbers, default=0) + 1)
    with folder_aside(kept) as aside:
        for name in KEPT:
            if (out / name).is_file():
                shutil.copy2(out / name, aside / name)
        if (out / "subject").is_dir():
            shutil.copytree(out / "subject", aside / "subject")
    say(f"the finished run in {escape(str(out))} is kept in {escape(str(kept))}")


def read_run(folder: Path) -> dict[str, Any]:
    """The record of the run in a folder; {} without one, or if it is damaged."""
    return read_table(folder / RECORD)


def is_run(folder: Path) -> bool:
    """Whether a folder without a mark is of a run: version 0.1 wrote none."""
    return {"token", "base_hash"} <= read_run(folder).keys()
