"""A swap that is stopped within a chunk goes on from its last denoising step."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from animateanywhere.cli.main import main
from animateanywhere.commands import swap as swap_of
from animateanywhere.commands.swap_settings import SwapOptions
from animateanywhere.core.errors import UsageError
from animateanywhere.core.run_folder import is_running, owned
from animateanywhere.diffusion import kept_steps
from animateanywhere.methods.anycharv import route
from animateanywhere.preprocessing import character as character_of
from animateanywhere.preprocessing.scene import parts as part_of
from tests.commands.test_runs import listed
from tests.commands.test_swap import STAYS, scene_of, write_character

STEPS = 4
Run = Callable[..., int]


@pytest.fixture(params=["tiny_swap", "tiny_wan"])
def run(place: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`aa swap` of a picture into a scene by either kind of base."""
    monkeypatch.setattr(part_of, "SIDE", 96)
    monkeypatch.setattr(character_of, "SIDE", 96)
    base = request.getfixturevalue(request.param)
    write_character(place / "a.png")
    scene_of(place, STAYS)

    def command(out: str, *more: object) -> int:
        given = ["a.png", "--scene", "scene.mp4", "--base", str(base), "--steps", str(STEPS)]
        return main(["swap", *given, "--out", out, *map(str, more)])

    return command


def stop(run: Run, monkeypatch: pytest.MonkeyPatch, out: str, steps: int, *more: object) -> None:
    """Ctrl-C after so many denoising steps."""
    with monkeypatch.context() as stopping:
        for module in (route.generation, route.vace):
            stopping.setattr(module, "swap_latents", stopped(module.swap_latents, steps))
        assert run(out, *more) == 130


def stopped(swap: Callable[..., Any], steps: int) -> Callable[..., Any]:
    def until(*given: Any) -> Any:
        *others, options, advance = given
        done = list[int]()

        def on() -> None:
            advance()
            done.append(1)
            if len(done) == steps:
                raise KeyboardInterrupt

        return swap(*others, options, on)

    return until


def count_made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of steps that are written from now on."""
    made, write = list[Path](), kept_steps._write

    def counted(path: Path, *rest: Any) -> None:
        made.append(path)
        write(path, *rest)

    monkeypatch.setattr(kept_steps, "_write", counted)
    return made


def steps_of(place: Path) -> list[Path]:
    return sorted((place / "runs" / "scene" / "person-1" / ".pieces").glob("*.steps/*.npy"))


def test_a_stopped_chunk_goes_on_from_its_last_step(run, place, monkeypatch):
    assert run("whole.mp4") == 0
    assert not (place / "runs" / "scene" / "person-1" / ".pieces").exists()
    stop(run, monkeypatch, "again.mp4", 3)
    assert [path.name for path in steps_of(place)] == ["0000.npy", "0001.npy", "0002.npy"]
    made = count_made(monkeypatch)
    assert run("again.mp4") == 0
    assert [path.name for path in made] == ["0003.npy"]
    assert (place / "again.mp4").read_bytes() == (place / "whole.mp4").read_bytes()
    assert not (place / "runs" / "scene" / "person-1" / ".pieces").exists()


def test_damaged_steps_and_those_of_other_settings_are_not_taken(run, place, monkeypatch):
    assert run("whole.mp4", "--seed", 1) == 0
    stop(run, monkeypatch, "other.mp4", 3)
    stop(run, monkeypatch, "again.mp4", 3, "--seed", 1)
    one, two = {path.parent for path in steps_of(place)}
    newer = max(one, two, key=lambda folder: folder.stat().st_mtime_ns)
    first, second, _ = sorted(newer.iterdir())
    first.write_bytes(first.read_bytes()[:-9])
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1  # one bit of a number
    second.write_bytes(data)
    made = count_made(monkeypatch)
    assert run("again.mp4", "--seed", 1) == 0
    assert [path.name for path in made] == ["0000.npy", "0001.npy", "0003.npy"]
    assert (place / "again.mp4").read_bytes() == (place / "whole.mp4").read_bytes()
    assert len(steps_of(place)) == 3  # the other command may go on, too
    monkeypatch.setattr(kept_steps, "OLD", -1.0)
    assert run("third.mp4", "--seed", 2) == 0
    assert not steps_of(place)


def test_steps_of_another_device_are_not_taken(run, place, monkeypatch):
    stop(run, monkeypatch, "a.mp4", 2)
    (folder,) = {path.parent for path in steps_of(place)}
    folder.rename(folder.with_name(folder.name.replace("-cpu.", "-cuda.")))
    made = count_made(monkeypatch)
    assert run("a.mp4") == 0
    assert len(made) == STEPS


def test_deleting_a_stopped_swap_leaves_no_steps(run, place, monkeypatch):
    stop(run, monkeypatch, "a.mp4", 2)
    assert len(steps_of(place)) == 2
    assert main(["runs", "delete", "scene", "--yes"]) == 0
    assert not (place / "runs" / "scene").exists()


def test_the_list_of_runs_tells_a_stopped_swap_from_a_refused_one(run, place, monkeypatch, capsys):
    def state() -> object:
        return listed(place / "runs", capsys)["scene"]["state"]

    stop(run, monkeypatch, "a.mp4", 2)
    assert state() == "stopped"
    assert main(["check", "a.png", "--scene", "scene.mp4"]) == 0 and state() == "stopped"
    assert run("a.mp4", "--person", 2) == 2 and state() == "stopped"
    assert run("a.mp4") == 0 and state() == "finished"
    assert run("a.mp4", "--person", 2) == 2 and state() == "finished"


@pytest.mark.parametrize("verb", ["swap", "check"])
def test_a_folder_in_use_is_refused_before_a_network_is_imported(place, verb):
    """In a process of its own: this one has imported all."""
    write_character(place / "a.png")
    scene_of(place, STAYS)
    code = (
        "import sys; from animateanywhere.cli.main import main; "
        f"code = main(['{verb}', 'a.png', '--scene', 'scene.mp4']); "
        "print(code, 'torch' in sys.modules)"
    )
    with owned(place / "runs" / "scene", "swap"):
        done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.stdout.split() == ["1", "False"], done.stderr
    assert f"runs/scene is in use by process {os.getpid()} of aa" in " ".join(done.stderr.split())


def test_the_folder_is_owned_before_a_base_is_loaded(place, tiny_swap, monkeypatch):
    write_character(place / "a.png")
    scene_of(place, STAYS)
    options = SwapOptions(str(tiny_swap))
    found = route.route_of(tiny_swap)

    def load(name: object) -> NoReturn:
        assert is_running(place / "runs" / "scene")
        raise UsageError("damaged")

    monkeypatch.setattr(swap_of, "route_of", lambda name: replace(found, load=load))
    with pytest.raises(UsageError, match="damaged"):
        swap_of.swap([place / "a.png"], place / "scene.mp4", options)
    assert not (place / "runs" / "scene").exists()  # nothing was found
