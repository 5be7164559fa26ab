"""Stops, full disks and two processes: nothing half-written, and the same command goes on."""

import errno
import operator
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from animateanywhere.cli.main import main
from animateanywhere.commands import cast as command
from animateanywhere.commands import cast_output
from animateanywhere.core.files import cache_place
from animateanywhere.core.name_claim import claimed
from animateanywhere.core.paths import RUNS
from animateanywhere.diffusion import kept_steps
from animateanywhere.evaluation import sidecar
from animateanywhere.media import writing
from tests.commands.renames import put_back, states_of
from tests.commands.test_cast import cast_run, said, small_pictures  # noqa: F401
from tests.commands.test_swap import write_character

STAGES = {
    "picture": (command, "read_pictures"), "denoising": (command.generation, "cast_latents"),
    "video": (writing, "_in_bt709"), "settings": (sidecar, "write_aside"),
    "kept picture": (cast_output, "write_aside"), "sheet": (cast_output.video, "contact_sheet"),
}  # fmt: skip
ORDER = ("--frames", 1, "--steps", 1, "--contact-sheet", "sheet.png")


def test_a_run_that_is_stopped_anywhere_ends_with_the_same_bytes(
    run: Callable[..., int], place: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert run(*ORDER, "--out", "whole.mp4") == 0
    whole = (place / "whole.mp4").read_bytes()
    for name, (module, function) in STAGES.items():
        with monkeypatch.context() as stopping:

            def stop(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            stopping.setattr(module, function, stop)
            assert run(*ORDER) == 130, name
        assert not list(place.rglob("*.part*")), name
        assert run(*ORDER) == 0, name
        (made,) = (place / "runs/cast").glob("*.mp4")  # and none with another number
        assert made.read_bytes() == whole, name
        for path in (place / "runs/cast").glob("the-*"):
            path.unlink()


@pytest.mark.parametrize("base", ["tiny_cast", "tiny_wan"])
def test_a_long_denoising_goes_on_where_it_was_stopped(
    base: str, place: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WORTH_KEEPING", 0.0)
    write_character(place / "a.png")
    folder = request.getfixturevalue(base)
    order = ["cast", "a.png", "she waves", "--base", str(folder), "--frames", "2", "--steps", "4"]
    assert main([*order, "--out", "whole.mp4"]) == 0
    assert not list((place / "runs").rglob("*.npy"))  # nothing is left of the steps
    name = "generation.cast_latents" if base == "tiny_cast" else "vace_latents"
    original, steps = operator.attrgetter(name)(command), list[int]()

    def stopped(*given: Any) -> torch.Tensor:
        *others, options, advance = given

        def on() -> None:
            advance()
            steps.append(1)
            if options.steps_folder is not None and len(steps) == 3:  # and one of the estimate
                raise KeyboardInterrupt

        return original(*others, options, on)

    with monkeypatch.context() as stopping:
        stopping.setattr(f"{command.__name__}.{name}", stopped)
        assert main([*order, "--out", "x.mp4"]) == 130
    kept = sorted(path.name for path in cache_place(RUNS / "unfinished").rglob("*.npy"))
    assert kept == ["0000.npy", "0001.npy"] and not (place / "x.mp4").exists()
    made = list[int]()
    monkeypatch.setattr(kept_steps.np, "save", count_calls(kept_steps.np.save, made))
    assert main([*order, "--out", "x.mp4"]) == 0
    assert len(made) == 2  # of four
    assert (place / "x.mp4").read_bytes() == (place / "whole.mp4").read_bytes()
    assert not list(cache_place(RUNS / "unfinished").rglob("*.npy"))


def count_calls(function: Callable[..., None], calls: list[int]) -> Callable[..., None]:
    def counted(*given: Any) -> None:
        calls.append(1)
        function(*given)

    return counted


@pytest.mark.parametrize("where", ["video", "settings", "kept picture"])
def test_a_full_disk_leaves_nothing_half_written(
    run: Callable[..., int], place: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], where: str,
) -> None:  # fmt: skip
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as filled:
        if where == "video":
            filled.setattr(writing, "_in_bt709", full)
        elif where == "settings":
            filled.setattr(sidecar.Path, "write_text", full)
        else:
            filled.setattr(cast_output.Image.Image, "save", full)
        assert run(*ORDER, "--out", "x.mp4") == 1
    assert "disk full while writing" in said(capsys)
    assert not list(place.rglob("*.part*"))
    assert (place / "x.mp4").exists() == (place / "x.json").exists() == (where == "kept picture")
    assert run(*ORDER, "--out", "x.mp4") == 0


def test_whenever_it_is_killed_the_same_command_takes_the_name_again(
    run: Callable[..., int], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--frames", 1, "--steps", 1, "--out", "x.mp4")
    with monkeypatch.context() as watched:
        states = states_of(watched, place)
        assert run(*given) == 0
    seen = {("x.mp4" in state, "x.json" in state): state for state in states}
    assert seen.keys() == {(False, False), (False, True), (True, True)}  # no video without settings
    whole = seen[True, True]["x.mp4"]
    put_back(place, seen[False, True])
    assert run(*given) == 0 and (place / "x.mp4").read_bytes() == whole


def test_two_processes_do_not_write_one_file(
    run: Callable[..., int],
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second process takes another name, or is refused where the name is given."""
    name = place / "runs/cast/the-person-walks-on-a-beach-0.mp4"
    code = (
        "import sys; from pathlib import Path\n"
        "from animateanywhere.core.name_claim import claimed\n"
        "with claimed(Path(sys.argv[1])) as a, claimed(Path(sys.argv[2])) as b:\n"
        "    print(a, b, flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(name), str(place / "x.mp4")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "True True\n"
    assert run("--frames", 1, "--steps", 1) == 0
    assert [path.name for path in name.parent.glob("*.mp4")] == [f"{name.stem}-2.mp4"]
    assert run("--frames", 1, "--steps", 1, "--out", "x.mp4") == 1
    assert "x.mp4 is being written by another process of aa" in said(capsys)
    child.kill()  # which ends the claims
    child.communicate()
    with claimed(name) as own:
        assert own
    assert run("--frames", 1, "--steps", 1, "--out", "x.mp4") == 0
