"""Files to download, pages of runs, and what `aa doctor` says, each made by a process of its own.

    python -m animateanywhere.studio.exports VIDEO OUT

writes a video as a GIF, or as a contact sheet, by the suffix of OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.json_file import parse_json
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.process import run_module

# By what the page asks for; "" is the video itself
SUFFIXES = {"video": "", "gif": ".gif", "sheet": ".png", "settings": ".json"}
PATIENCE = 180.0  # seconds


async def export(place: Place, video: Path, form: str) -> Path:
    """The file of a video in another form, made where it is not there yet. Raises Unknown, and
    UsageError where it cannot be made."""
    settings = video.with_suffix(".json")
    if form not in SUFFIXES or not settings.is_file() or not video.is_file():
        raise Unknown(form)
    if form == "video" or video.suffix == SUFFIXES[form]:
        return video
    if form == "settings":
        if not place.holds(settings):
            raise Unknown(form)
        return settings
    state = video.stat()
    name = f"{place.id_of(video)}-{state.st_mtime_ns:x}{SUFFIXES[form]}"
    out = place.own / "exports" / name
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        await _run("animateanywhere.studio.exports", str(video), str(out))
    return out


async def run_page(place: Place, run: Path) -> Path:
    """The page of a run as `aa runs show` writes it."""
    out = place.own / "exports" / f"{place.id_of(run)}.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    name = str(run.relative_to(place.runs))
    await _run(
        "animateanywhere", "runs", "show", f"--runs={place.runs}", f"--out={out}", "--", name
    )
    return out


async def doctor(runs: Path) -> Any:
    """The checks of `aa doctor`, as JSON. runs: the studio's folder, whose disk is looked at."""
    return parse_json(await _run("animateanywhere", "doctor", "--json", known=(0, 1), runs=runs))


async def _run(
    module: str, *arguments: str, known: tuple[int, ...] = (0,), runs: Path | None = None
) -> str:
    """What a module prints. Raises UsageError or Failure with its last line where it fails."""
    try:
        code, out, said = await run_module(module, *arguments, patience=PATIENCE, runs=runs)
    except TimeoutError:
        raise Failure("it takes too long; do it on the command line") from None
    if code in known:
        return out
    text = said[-1].removeprefix("aa: ") if said else "it failed without a word"
    raise UsageError(text) if code == 2 else Failure(text)


def main() -> int:
    from animateanywhere.commands.results import result_of
    from animateanywhere.core.messages import quietly
    from animateanywhere.evaluation.sidecar import earlier_settings
    from animateanywhere.media import output, video
    from animateanywhere.media.provenance import BY_COMMAND, GENERATED, read

    source, out = map(Path, sys.argv[1:3])
    try:
        with quietly():
            clip = video.read(source)
        result = result_of(source)
        made = BY_COMMAND[result[1]] if result else GENERATED
        if (origin := read(source)) is not None and origin.source == made.composite().source:
            made = made.composite()
        if out.suffix == ".gif":
            output.write(out, clip.frames, len(clip.frames), clip.fps, made=made)
        else:
            settings = earlier_settings(source) or {}
            video.contact_sheet(out, [(str(settings.get("prompt", "")), clip.frames)], made=made)
    except (UsageError, Failure) as error:
        print(str(error), file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
