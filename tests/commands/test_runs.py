import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from animateanywhere.backbones.personal_weights import METADATA, save_personal
from animateanywhere.cli.main import main
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.core.run_folder import MARK, VIDEOS, mark, owned
from animateanywhere.datasets.shard_corpus import write_corpus
from animateanywhere.datasets.shards import write_shard
from animateanywhere.evaluation.sidecar import write_sidecar
from animateanywhere.training.loop import fit
from animateanywhere.training.stage import Stage

STAGES = [Stage("appearance", "appearance", 8, log_every=1, save_every=3),
          Stage("motion", "motion", 6, log_every=1, save_every=3)]  # fmt: skip


def train(folder: Path, stage: Stage, stop: int | None = None) -> None:
    """Fit a tiny network, up to an error after `stop` steps."""
    torch.manual_seed(0)
    count = 0

    def loss(net: nn.Module, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        nonlocal count
        count += 1
        if stop is not None and count > stop:
            raise OSError("pulled the plug")
        x = torch.randn(4, 3, generator=generator)
        return (net(x) - x).square().mean(), {}

    try:
        fit(nn.Linear(3, 3), stage, loss, folder / "training" / stage.name, 0)
    except OSError:
        assert stop is not None


def person(folder: Path, stop: int | None = None) -> None:
    """A run as `aa personalize` leaves it, or stopped in its last stage."""
    recipe = {"name": "x", "stage": [{**vars(stage)} for stage in STAGES]}
    record = {**dict.fromkeys(METADATA, "x"), "token": "sks", "recipe": json.dumps(recipe)}
    with reporting_to(Events()), owned(folder, "personalize"):
        (folder / "run.json").write_text(json.dumps(record | {"base_folder": "elsewhere"}))
        train(folder, STAGES[0])
        train(folder, STAGES[1], stop)
        if stop is None:
            save_personal(folder / "personal.safetensors", {"unet.x": torch.ones(3)}, record)


def video(path: Path) -> None:
    path.write_bytes(b"frames")
    write_sidecar(path, {"prompt": "a man", "pose": {}, "fit": "none"})


def listed(runs: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["runs", "list", "--json", "--runs", str(runs)]) == 0
    return {run["name"]: run for run in json.loads(capsys.readouterr().out)["runs"]}


def test_list_tells_the_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    person(tmp_path / "done")
    person(tmp_path / "half", stop=5)
    video(tmp_path / "done" / "beach.mp4")
    (tmp_path / "notes.txt").write_text("mine")
    found = listed(tmp_path, capsys)
    assert {name: run["state"] for name, run in found.items()} == {
        "done": "finished", "half": "stopped", "done/beach.mp4": "finished"
    }  # fmt: skip
    half = found["half"]
    assert (half["stage"], half["step"], half["steps"], half["saved"]) == ("motion", 5, 6, 5)
    assert main(["runs", "--runs", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "stopped at step 5 of 6 of stage motion" in said
    assert "neither runs nor results (notes.txt)" in said


def test_weights_of_an_earlier_run_do_not_make_it_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person(tmp_path / "sks")
    record = tmp_path / "sks" / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "seed": "1"}))
    assert listed(tmp_path, capsys)["sks"]["state"] == "stopped"


def test_a_trained_base(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever base training writes is known: the page has it, and nothing is left of it."""
    base = tmp_path / "base"
    shutil.copytree(trained, base)
    assert listed(tmp_path, capsys)["base"]["state"] == "finished"
    (base / "training" / "video" / "done.json").unlink()
    assert listed(tmp_path, capsys)["base"]["stage"] == "video"
    assert main(["runs", "show", "base", "--runs", str(tmp_path)]) == 0
    page = (base / "run.html").read_text()
    for words in ("Stage vae", "learning rate", "per second", "data:image/jpeg", "stopped at step"):
        assert words in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|https?://|<script|@import""", page)
    (base / "corpus" / "notes.txt").write_text("mine")
    assert main(["runs", "delete", "base", "--runs", str(tmp_path), "--yes"]) == 0
    assert [str(path.relative_to(base)) for path in base.rglob("*")] == [
        "corpus", "corpus/notes.txt"
    ]  # fmt: skip
    assert "left, since it is not of the run: corpus/" in capsys.readouterr().err


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_all_of_a_corpus_and_of_latents_goes(tmp_path: Path) -> None:
    """Shards, those of latents, an unfinished corpus, and what a tracked, stopped stage leaves."""
    shards = ["corpus.json", "shard-000000.tar", "shard-000000.index.json"]
    corpus, base = tmp_path / "people", tmp_path / "base"
    with owned(corpus, "corpus"):
        fill(corpus, *shards, *(f"latents-0a/{name}" for name in shards), "mine.txt",
             *"build.json rejected.jsonl report.html contact_sheet.png".split(),
             *(f"unfinished/{name}" for name in ("shots.jsonl", "samples/a.zip")))  # fmt: skip
    with owned(base, "base-train"):
        fill(base, "recipe.json", *(f"corpus/latents-0a/{name}" for name in shards))
        stage = base / "training" / "perception"
        fill(stage, "checkpoint.next.safetensors", "renders.safetensors", "tracked-run",
             "wandb/run-1/files/config.yaml", "faces/checkpoint.previous.safetensors")  # fmt: skip
        (stage / "wandb" / "latest-run").symlink_to("run-1")
    arguments = ["runs", "delete", "people", "base", "--yes", "--runs", str(tmp_path)]
    assert main(arguments) == 0
    assert [path.name for path in corpus.iterdir()] == ["mine.txt"]
    assert not list(base.rglob("*"))


def test_running_by_its_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person(tmp_path / "sks", stop=5)
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from animateanywhere.core.run_folder import owned\n"
        "with owned(Path(sys.argv[1]), 'personalize'):\n    print(flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "sks")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"\n"
    run = listed(tmp_path, capsys)["sks"]
    assert (run["state"], run["process"]) == ("running", child.pid)
    before = sorted(tmp_path.rglob("*"))
    assert main(["runs", "delete", "sks", "--yes", "--runs", str(tmp_path)]) == 1
    assert f"in use by process {child.pid}" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert listed(tmp_path, capsys)["sks"]["state"] == "stopped"


def test_other_commands_are_finished_where_they_came_to_their_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, error in (("whole", None), ("half", KeyboardInterrupt)):
        try:
            with owned(tmp_path / name, "puppets"):
                (tmp_path / name / "clip00000.mp4").touch()
                if error is not None:
                    raise error
        except KeyboardInterrupt:
            pass
    found = listed(tmp_path, capsys)
    assert (found["whole"]["state"], found["half"]["state"]) == ("finished", "stopped")
    for left in ({"process": 1}, {"ended": False}):  # of an earlier version; of no process
        (tmp_path / "half" / MARK).write_text(json.dumps({"command": "puppets", **left}))
        assert listed(tmp_path, capsys)["half"]["state"] == "unknown"


def test_a_corpus_is_finished_with_its_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(KeyboardInterrupt), owned(tmp_path / "people", "corpus"):
        write_corpus(tmp_path / "people", [write_shard(tmp_path / "people", 0, [])])
        raise KeyboardInterrupt  # such as while latents are encoded
    assert listed(tmp_path, capsys)["people"]["state"] == "finished"
    (tmp_path / "people" / "corpus.json").unlink()
    assert listed(tmp_path, capsys)["people"]["state"] == "stopped"


def test_damaged_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person(tmp_path / "sks", stop=5)
    stage = tmp_path / "sks" / "training" / "motion"
    lines = (stage / "log.jsonl").read_text().splitlines()
    (stage / "log.jsonl").write_text("\n".join([lines[0], '{"st', "[3]", *lines[3:], "{"]))
    (stage / "checkpoint.safetensors").write_bytes(b"none")
    (tmp_path / "sks" / "scores.json").write_text("[1]")
    next((stage / "tensorboard").iterdir()).write_bytes(b"\xff" * 100)
    assert main(["runs", "show", "sks", "--runs", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    for words in ("log.jsonl: 2 damaged lines (2, 3)", "checkpoint.safetensors: damaged",
                  "scores.json: damaged", "saved at 3"):  # fmt: skip
        assert words in said, words
    assert "2 damaged lines" in (tmp_path / "sks" / "run.html").read_text()
    (tmp_path / "sks" / MARK).write_text("?")
    run = listed(tmp_path, capsys)["sks"]
    assert run["state"] == "unknown" and f"{MARK}: damaged" in str(run["problems"])
    assert main(["runs", "delete", "sks", "--yes", "--runs", str(tmp_path)]) == 2
    assert (stage / "log.jsonl").is_file()


def test_the_step_is_that_of_the_checkpoint_a_training_would_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person(tmp_path / "sks", stop=5)  # saved at 5, and at 3 before
    stage = tmp_path / "sks" / "training" / "motion"
    newest = stage / "checkpoint.safetensors"
    newest.rename(stage / "checkpoint.next.safetensors")
    assert listed(tmp_path, capsys)["sks"]["saved"] == 5
    newest.write_bytes(b"none")
    run = listed(tmp_path, capsys)["sks"]
    assert run["saved"] == 3 and "checkpoint.safetensors: damaged" in str(run["problems"])


def test_delete_leaves_what_is_not_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Notes, videos, a shared corpus behind a link, other runs inside; nothing outside goes."""
    run, shared = tmp_path / "runs" / "sks", tmp_path / "shared"
    person(run)
    shared.mkdir()
    (shared / "clip.npy").touch()
    (run / "training" / "notes.txt").write_text("mine")
    (run / "subject").symlink_to(shared)
    video(run / "beach.mp4")
    with owned(run / "sks-diffusers", "export"):
        (run / "sks-diffusers" / "lora.safetensors").touch()
    arguments = ["runs", "delete", "sks", "--runs", str(run.parent)]
    assert main(arguments) == 2  # nobody can be asked
    assert (run / "personal.safetensors").is_file()
    assert main([*arguments, "--yes"]) == 0
    said = capsys.readouterr().err
    assert f"only links are deleted, not what they point to: {shared}" in " ".join(said.split())
    assert "left, since it is not of the run: beach.json, beach.mp4, sks-diffusers/, training/" in (
        " ".join(said.split())
    )
    left = {str(path.relative_to(run)) for path in run.rglob("*") if not path.is_dir()}
    own = {"beach.mp4", "beach.json", MARK}
    assert left == own | {"training/notes.txt", f"sks-diffusers/{MARK}",
                          "sks-diffusers/lora.safetensors"}  # fmt: skip
    assert (shared / "clip.npy").is_file()
    assert main([*arguments, "--yes"]) == 0  # now a folder of videos
    assert not (run / "beach.mp4").exists() and (run / "training" / "notes.txt").is_file()


@pytest.mark.parametrize("target", ["mine", "..", "other.mp4", "none"])
def test_delete_refuses_what_is_not_ours(target: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "mine").mkdir(parents=True)
    (runs / "mine" / "personal.safetensors").touch()
    (runs / "other.mp4").touch()
    (runs / "other.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    assert main(["runs", "delete", target, "--yes", "--runs", str(runs)]) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_video_is_shown_and_deleted_with_its_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark(tmp_path / "sks", VIDEOS)
    for name in ("one.mp4", "two.mp4"):
        video(tmp_path / "sks" / name)
    assert main(["runs", "show", "sks/one.mp4", "--runs", str(tmp_path)]) == 0
    page = tmp_path / "sks" / "one.html"
    assert "data:video/mp4" in page.read_text() and "a man" in page.read_text()
    page.write_text("<p>mine")
    assert main(["runs", "show", "sks/one.mp4", "--runs", str(tmp_path)]) == 2
    assert page.read_text() == "<p>mine"
    assert main(["runs", "delete", "sks/one.mp4", "--yes", "--runs", str(tmp_path)]) == 0
    assert sorted(os.listdir(tmp_path / "sks")) == [MARK, "one.html", "two.json", "two.mp4"]


def swapped(path: Path) -> None:
    """What `aa swap` leaves of a result."""
    if path.suffix == ".png":
        Image.new("RGB", (8, 8)).save(path)
    else:
        path.write_bytes(b"frames")
    write_sidecar(path, {
        "command": "swap", "characters": [{"file": "her.jpg"}], "scene": {"file": "street.mp4"},
        "base": {"name": "mini-swap"}, "format": path.suffix,
    })  # fmt: skip


def test_results_of_swaps_are_listed_shown_and_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = tmp_path / "street"
    with reporting_to(Events()), owned(scene, "swap"):
        fill(scene, "people.png", "person-1/scene.json", "mine.json")
        for name in ("her.mp4", "her-2.png"):
            swapped(scene / name)
    names = {name: run["kind"] for name, run in listed(tmp_path, capsys).items()}
    assert names == dict.fromkeys(["street", "street/her.mp4", "street/her-2.png"], "swap")
    for name, data in (("her.mp4", "data:video/mp4"), ("her-2.png", "data:image/jpeg")):
        assert main(["runs", "show", f"street/{name}", "--runs", str(tmp_path)]) == 0
        assert "(aa swap): finished" in capsys.readouterr().err
        page = (scene / name).with_suffix(".html").read_text()
        for words in (data, "her.jpg", "street.mp4", "mini-swap"):
            assert words in page, words
        (scene / name).with_suffix(".html").unlink()
    assert main(["runs", "show", "street", "--runs", str(tmp_path)]) == 0
    page = (scene / "run.html").read_text()
    assert "data:video/mp4" in page and "data:image/jpeg" in page
    assert main(["runs", "delete", "street/her.mp4", "--yes", "--runs", str(tmp_path)]) == 0
    assert not (scene / "her.mp4").exists() and (scene / "her-2.json").is_file()
    assert main(["runs", "delete", "street", "--yes", "--runs", str(tmp_path)]) == 0
    assert [path.name for path in scene.iterdir()] == ["mine.json"]


def test_the_list_reads_the_ends_of_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step is that of the last row, wherever it is; damaged lines have their numbers."""
    person(tmp_path / "sks", stop=5)
    log = tmp_path / "sks" / "training" / "motion" / "log.jsonl"
    rows = [json.dumps({"step": step, "loss": 0.5}) for step in range(1, 2001)]
    rows[3] = rows[1990] = "?"
    log.write_text("\n".join(rows) + "\n{")
    run = listed(tmp_path, capsys)["sks"]
    assert run["step"] == 2000 and "log.jsonl: a damaged line (1991)" in str(run["problems"])
    assert main(["runs", "show", "sks", "--runs", str(tmp_path)]) == 0
    assert "2 damaged lines (4, 1991)" in " ".join(capsys.readouterr().err.split())
    log.write_text("\n".join([*rows, "?" * 10000]) + "\n")  # no row in the end
    assert listed(tmp_path, capsys)["sks"]["step"] == 2000


def test_a_list_loads_neither_networks_nor_scipy(tmp_path: Path) -> None:
    person(tmp_path / "sks")
    video(tmp_path / "sks" / "beach.mp4")
    code = (
        "import sys\nfrom animateanywhere.cli.main import main\n"
        "main(['runs', 'list', '--runs', sys.argv[1]])\n"
        "print(*{'torch', 'scipy', 'accelerate', 'av'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "", done.stdout


def test_hard_links_and_links_count_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for name in ("one", "two"):
        with owned(runs / name, "puppets"):
            (runs / name / "clip.mp4").touch()
    (runs / "one" / "large").write_bytes(os.urandom(2**20))
    os.link(runs / "one" / "large", runs / "two" / "large")
    (tmp_path / "outside").write_bytes(os.urandom(2**20))
    (runs / "two" / "link").symlink_to(tmp_path / "outside")
    found = listed(runs, capsys)
    for run in found.values():
        assert 2**20 <= int(str(run["bytes"])) < 2**20 + 2**16
    assert main(["runs", "--json", "--runs", str(runs)]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] < 2**20 + 2**17


def test_a_link_to_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere" / "sks"
    person(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    runs.mkdir()
    (runs / "link").symlink_to(elsewhere)
    assert main(["runs", "delete", "link", "--yes", "--runs", str(runs)]) == 2
    assert "is a link" in capsys.readouterr().err
    assert sorted(elsewhere.rglob("*")) == before and (runs / "link").is_symlink()
