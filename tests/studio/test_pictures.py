"""Swap and Cast: what their tabs ask of the server, and what they are shown."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from animateanywhere.commands import swap_chunks
from animateanywhere.commands.swap import swap
from animateanywhere.commands.swap_settings import SwapOptions
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.core.run_folder import mark, owned, read_mark
from animateanywhere.evaluation.sidecar import write_sidecar
from animateanywhere.media.source import Part
from animateanywhere.preprocessing import character as character_of
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.scene import parts as part_of
from animateanywhere.preprocessing.scene.prepared import prepare_scene
from animateanywhere.preprocessing.scene.scan import scene_facts
from animateanywhere.studio import orders, ready
from animateanywhere.studio.clips import EXAMPLE, file_of
from animateanywhere.studio.job import Job
from animateanywhere.studio.place import Place, Unknown, new_id
from tests.commands.test_swap import scene_of, write_character
from tests.studio.test_files import png, save_mask

VIDEO = (EXAMPLES / "reference.mp4").read_bytes()


@pytest.fixture
def uploads(studio_place: Place) -> dict[str, str]:
    """Ids of two pictures and a clip, as `clips.take` leaves them."""
    folder, ids = studio_place.own / "clips", {}
    folder.mkdir(parents=True)
    picture = png(np.zeros((40, 30, 4), np.uint8))
    for name, content in {"hero.png": picture, "back.png": picture, "street.mp4": VIDEO}.items():
        ids[name], kind = new_id(), "video" if content is VIDEO else "picture"
        file = f"{ids[name]}{Path(name).suffix}"
        (folder / file).write_bytes(content)
        about = {"name": name, "file": file, "kind": kind, "seconds": 4.0}
        (folder / f"{ids[name]}.json").write_text(json.dumps(about))
    return ids


@pytest.fixture
def place(studio_place: Place) -> Place:
    """A folder of runs with bases for both."""
    for command in ("swap", "cast"):
        folder = studio_place.runs / "bases" / f"tiny-{command}"
        folder.mkdir(parents=True)
        (folder / "base.toml").write_text(f'command = "{command}"\nfps = 8\nsize = 64\n')
    return studio_place


def forms(uploads: dict[str, str]) -> dict[str, dict[str, Any]]:
    both, scene = [uploads["hero.png"], uploads["back.png"]], uploads["street.mp4"]
    of_scene = {"pictures": both, "scene": scene, "base": "tiny-swap", "person": 2}
    words = {"pictures": both, "prompt": "--out=/etc/passwd", "base": "tiny-cast"}
    return {
        "check-swap": of_scene,
        "swap": {**of_scene, "seed": 3, "steps": 2, "fit": "bones"},
        "check-cast": {"pictures": both},
        "cast": {**words, "motion": "bundled-walk"},
    }


def test_orders_are_the_commands_of_a_user(place: Place, uploads: dict[str, str]) -> None:
    made = {kind: orders.order(place, kind, form) for kind, form in forms(uploads).items()}
    front, back, scene = (str(file_of(place, uploads[name])) for name in uploads)
    assert made["swap"].arguments == [
        "swap", f"--scene={scene}", "--base=tiny-swap", "--person=2", "--fit=bones", "--seed=3",
        "--steps=2", "--", front, back,
    ]  # fmt: skip
    assert made["swap"].title == "Swap hero.png and back.png in street.mp4"
    assert made["swap"].names == {ident: name for name, ident in uploads.items()}
    assert uploads["street.mp4"] not in made["check-cast"].names
    assert made["check-swap"].arguments == [
        "check", f"--scene={scene}", f"--also={back}", "--base=tiny-swap", "--person=2", "--json",
        "--", front,
    ]  # fmt: skip
    looks = place.own / "looks" / f"{uploads['hero.png']}-{uploads['back.png']}"
    assert made["check-cast"].arguments == [
        "check", "--cast", f"--also={back}", f"--out={looks}", "--json", "--", front,
    ]  # fmt: skip
    cast = made["cast"].arguments
    assert cast[cast.index("--") :] == ["--", front, "--out=/etc/passwd"]
    assert f"--pose={EXAMPLES / 'motions' / 'walk.poses.json'}" in cast


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("swap", {"pictures": []}, "choose one to 4"),
        ("check-swap", {"pictures": ["a"] * 5}, "choose one to 4"),
        ("check-cast", {"pictures": "ab"}, "list of texts"),
        ("swap", {"base": "mini"}, "not ready"),
        ("cast", {"base": "tiny-swap"}, "not ready"),
        ("swap", {"fit": "frame"}, "fit: one of none, bones"),
        ("swap", {"person": 0}, "person: from 1"),
        ("swap", {"start": -1}, "start: from 0"),
        ("cast", {"prompt": " "}, "no words"),
        ("cast", {"likeness": "x"}, "likeness: give a number"),
    ],
)
def test_wrong_orders_are_refused_before_they_are_queued(
    place: Place, uploads: dict[str, str], kind: str, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        orders.order(place, kind, forms(uploads)[kind] | more)


@pytest.mark.parametrize("name", ["", "../../x", "ff" * 8, "/etc/passwd"])
def test_ids_of_nothing_are_unknown(place: Place, uploads: dict[str, str], name: str) -> None:
    for kind, form in forms(uploads).items():
        with pytest.raises(Unknown):
            orders.order(place, kind, form | {"pictures": [name]})
    with pytest.raises(Unknown):
        orders.order(place, "swap", forms(uploads)["swap"] | {"scene": name})


def test_people_are_swapped_and_cast_after_it_was_said_that_they_agreed(
    place: Place, uploads: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("AA_CONSENT")
    given = forms(uploads)
    for kind in ("swap", "cast"):
        with pytest.raises(UsageError, match="ask the people shown"):
            orders.order(place, kind, given[kind])
    assert orders.order(place, "check-swap", given["check-swap"]).kind == "check-swap"
    orders.order(place, "swap", {**given["swap"], "agreed": True})
    assert orders.order(place, "cast", given["cast"]).kind == "cast"


def test_bases_are_known_by_what_they_can_do(client: TestClient, place: Place) -> None:
    vace = place.runs / "bases" / "my-vace"
    (vace / "transformer").mkdir(parents=True)
    (vace / "base.toml").write_text('name = "my-vace"\nfps = 16\nframes = 81\nsize = 512\n')
    named = {command: [one["name"] for one in ready.bases(place, command)]
             for command in ("generate", "swap", "cast")}  # fmt: skip
    assert named == {"generate": ["mini", "my-vace"], "swap": ["mini-swap", "my-vace", "tiny-swap"],
                     "cast": ["mini-cast", "my-vace", "tiny-cast"]}  # fmt: skip
    about = client.get("/api/about").json()["bases_for"]
    assert [one["prompted"] for one in about["swap"]] == [False, True, False]
    shutil.rmtree(place.runs / "bases")
    left = client.get("/api/about").json()["bases_for"]
    assert [one["name"] for one in left["swap"]] == ["mini-swap"]
    assert [one["name"] for one in left["cast"]] == ["mini-cast"]


def checked(client: Any, files: dict[str, Path]) -> str:
    """The id of a check that is done, and says that it wrote these files."""
    job = Job("check-swap", "Look", ["check", "--", "x"], {}, state="done")
    job.result = json.dumps({"files": {what: str(path) for what, path in files.items()}})
    client.app.state.queue.jobs[job.id] = job
    return job.id


def test_what_a_check_wrote_is_shown_and_nothing_else(
    client: TestClient, studio_place: Place, tmp_path: Path
) -> None:
    folder = studio_place.runs / "check"
    folder.mkdir(parents=True)
    secret = tmp_path / "secret.png"
    for path in (secret, folder / "cut-out.png"):
        path.write_bytes(png(np.zeros((4, 4), np.uint8)))
    (folder / "link.png").symlink_to(secret)
    (folder / "notes.txt").write_text("mine")
    job = checked(
        client,
        {
            "cut-out": folder / "cut-out.png",
            "out": secret,
            "text": folder / "notes.txt",
            "link": folder / "link.png",
            "up": folder / ".." / ".." / "secret.png",
        },
    )
    shown = client.get(f"/api/jobs/{job}/files/cut-out")
    assert shown.status_code == 200 and shown.headers["content-type"] == "image/png"
    for what in ("out", "link", "up", "text", "nothing", "scene"):
        assert client.get(f"/api/jobs/{job}/files/{what}").status_code == 404
    assert client.get(f"/api/jobs/{job}/scene").status_code == 404
    outside = checked(client, {"scene": tmp_path})
    (tmp_path / "scene.json").write_text("{}")
    assert client.get(f"/api/jobs/{outside}/scene").status_code == 404
    assert client.get(f"/api/jobs/{new_id()}/scene").status_code == 404


def test_the_scene_that_aa_swap_reads_is_corrected(client: TestClient, studio_place: Place) -> None:
    run = studio_place.runs / "street"
    with owned(run, "swap"):
        scene = prepare_scene(
            scene_facts(EXAMPLES / "reference.mp4", None, Part(0, 4)), run, None, Backends()
        )
    job = checked(client, {"scene": scene.folder})
    (part,) = client.get(f"/api/jobs/{job}/scene").json()
    assert part["first"] == 0
    path = f"/api/subjects/{part['id']}"
    about = client.get(path).json()
    mask = np.zeros((about["height"], about["width"]), np.uint8)
    mask[3:9, 4:6] = 255
    assert save_mask(client, path, 1, mask).status_code == 200
    assert (np.array(Image.open(scene.parts[0].folder / "masks" / "0001.png")) == mask).all()
    assert client.get(path).json()["corrected"]["mask"] == [1]
    with owned(run, "swap"):
        answer = save_mask(client, path, 1, mask)
    assert answer.status_code == 409 and "in use" in answer.json()["error"]
    assert client.delete(path).status_code == 404  # it is the command's


def test_a_stopped_swap_goes_on_with_what_was_corrected_meanwhile(
    client: TestClient, studio_place: Place, tiny_swap: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its run stays one that was stopped; chunks before what was corrected are used again."""
    for module, name, value in ((part_of, "SIDE", 96), (character_of, "SIDE", 96),
                                (part_of, "LONGEST", 8)):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    hero, run = write_character(tmp_path / "hero.png"), studio_place.runs / "scene"
    scene_of(tmp_path, np.full(16, 30.0))
    sampled: list[int] = []
    sample = swap_chunks.sample_chunk

    def counted(base: Any, character: Any, chunk: Any, *rest: Any) -> Any:
        if len(sampled) == 1:
            raise KeyboardInterrupt
        sampled.append(chunk.stop)
        return sample(base, character, chunk, *rest)

    monkeypatch.setattr(swap_chunks, "sample_chunk", counted)
    work = [hero], tmp_path / "scene.mp4", SwapOptions(base=str(tiny_swap), runs=studio_place.runs)
    with pytest.raises(KeyboardInterrupt):
        swap(*work)
    stopped, part = read_mark(run), run / "person-1" / "frames-00008"
    assert stopped is not None and not stopped.ended and sampled == [8]
    path = f"/api/subjects/{studio_place.id_of(part)}"
    mask = np.array(Image.open(part / "masks" / "0005.png"))
    mask[40:44] = np.where(mask[40:44] > 127, 0, mask[40:44])
    assert save_mask(client, path, 5, mask).status_code == 200
    assert read_mark(run) == stopped
    late = client.put(f"{path}/masks/5", content=png(mask), headers={"if-match": "older"})
    assert late.status_code == 409 and read_mark(run) == stopped

    sampled.clear()  # so that one more may be sampled
    about = json.loads(swap(*work).with_suffix(".json").read_text())
    assert sampled == [16]
    assert about["scene"]["corrected"]["8"]["mask"] == [5]
    ended = read_mark(run)
    assert ended is not None and ended.ended
    assert save_mask(client, path, 5, np.zeros_like(mask)).status_code == 200
    assert read_mark(run) == ended


def test_history_tells_what_a_result_was_made_of(
    client: TestClient, studio_place: Place, uploads: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("animateanywhere.studio.clips.EXAMPLES", EXAMPLES)
    folder = studio_place.runs / uploads["street.mp4"]
    mark(folder, "swap")
    hero, street = (
        file_of(studio_place, uploads[name]).name for name in ("hero.png", "street.mp4")
    )
    common = {"format": ".mp4", "fps": 8.0, "seed": 3, "steps": 2, "size": [128, 128], "frames": 4}
    made = {
        "a": {"command": "swap", "characters": [{"file": hero}, {"file": "other.png"}],
              "scene": {"file": street, "start": 0.5}, "base": {"name": "tiny-swap"}},
        "b": {"command": "cast", "prompt": "she waves", "pictures": [{"file": hero}], "person": 2,
              "appearance": "in red",
              "motion": {"file": "walk.poses.json", "start": 1.5}, "base": {"name": "tiny-cast"}},
        "c": {"command": "swap", "characters": "damaged", "scene": ["damaged"]},
        "d": {"command": "swap", "scene": {"file": "reference.mp4", "sha256": "x"}},
        "e": {"command": "swap", "scene": {"file": "reference.mp4",
                                           "sha256": sha256(EXAMPLES / "reference.mp4")}},
    }  # fmt: skip
    example = {"name": "Example", "file": "reference.mp4", "kind": "video", "seconds": 4.0,
               "bundled": True}  # fmt: skip
    (studio_place.own / "clips" / f"{EXAMPLE}.json").write_text(json.dumps(example))
    for name, settings in made.items():
        shutil.copyfile(EXAMPLES / "driving.mp4", folder / f"{name}.mp4")
        write_sidecar(folder / f"{name}.mp4", common | settings)
    items = {one["name"]: one for one in client.get("/api/history").json()["items"]}
    swapped, cast, damaged, alike, same = (items[f"{folder.name}/{one}.mp4"] for one in "abcde")
    assert items[folder.name]["title"] == "Scene street.mp4"
    assert swapped["title"] == "hero.png and other.png in street.mp4"
    assert swapped["given"] == {"pictures": [uploads["hero.png"]], "scene": uploads["street.mp4"]}
    assert swapped["settings"]["scene"] == "street.mp4" and swapped["settings"]["start"] == 0.5
    assert cast["given"] == {"pictures": [uploads["hero.png"]]} and cast["settings"]["person"] == 2
    assert cast["motion_id"] == "bundled-walk" and cast["settings"]["start"] == 1.5
    assert cast["settings"]["appearance"] == "in red"
    assert damaged["given"] == {"pictures": [], "scene": None}
    assert alike["settings"]["scene"] == "reference.mp4" and alike["given"]["scene"] is None
    assert same["settings"]["scene"] == "Example" and same["given"]["scene"] == EXAMPLE
