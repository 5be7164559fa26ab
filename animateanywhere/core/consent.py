"""Whether the user has said that the people shown agreed: a yes is kept in the user's folder of
settings, so that it is asked for once."""

import json
import os
from datetime import date
from pathlib import Path

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_table
from animateanywhere.core.paths import config_folder

VARIABLE = "AA_CONSENT"
QUESTION = (
    "Has everybody who can be recognized in your files agreed to be put into generated videos?"
)
REFUSED = "nothing was made: ask the people shown first, then run the command again"
ANSWERS = {"yes": True, "y": True, "true": True, "1": True,
           "no": False, "n": False, "false": False, "0": False}  # fmt: skip
KEY = "people_agreed"


def answer() -> bool | None:
    """What `AA_CONSENT` or else an earlier run says; None if nobody has been asked. Raises
    UsageError for a value that is neither yes nor no."""
    said = os.environ.get(VARIABLE, "").strip().lower()
    if said:
        if said not in ANSWERS:
            raise UsageError(f"{VARIABLE}={said}: give yes or no")
        return ANSWERS[said]
    place = _place()
    return True if place is not None and read_table(place).get(KEY) is True else None


def keep() -> None:
    """Keep a yes; warn where that is not possible."""
    place = _place()
    try:
        if place is None:
            raise OSError("there is no home folder")
        with write_aside(place) as aside:
            told = {KEY: True, "question": QUESTION, "date": date.today().isoformat()}
            aside.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    except (OSError, Failure, UsageError) as error:
        reason = str(error)
        if isinstance(error, OSError) and error.strerror:
            reason = f"{place}: {error.strerror.lower()}"
        from rich.markup import escape

        from animateanywhere.core.messages import warn

        warn(escape(f"the answer is not kept ({reason}); {VARIABLE}=yes says it for every run"))


def _place() -> Path | None:
    try:
        return config_folder() / "consent.json"
    except RuntimeError:  # no home folder
        return None
