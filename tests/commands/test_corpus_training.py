"""Base training from a corpus of shards, and from a folder of clips and pictures of any size."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animateanywhere.backbones.base import base_config, hash_of, load_base
from animateanywhere.cli.main import main
from animateanywhere.commands.base_train import base_train
from animateanywhere.commands.corpus_encode import corpus_encode
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.paths import recipes_folder
from animateanywhere.core.reporter import Events
from animateanywhere.core.run_folder import owned, set_mark
from animateanywhere.datasets.shard_corpus import open_shards, write_corpus
from animateanywhere.datasets.shards import Sample, read_shard, write_shards
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.corpus_data import CorpusData, open_samples
from animateanywhere.methods.animate_anywhere.latent_shards import encoded_samples, layout_of
from animateanywhere.methods.animate_anywhere.puppet_corpora import open_puppets
from animateanywhere.methods.animate_anywhere.settings import Corpus, Recipe, load_recipe
from animateanywhere.methods.animate_anywhere.vae_pictures import RenderedPictures
from animateanywhere.pose.skeleton import Poses, poses_text
from animateanywhere.training.log import Log

SIZES = [(64, 64), (48, 80), (90, 50), (72, 128), (60, 64), (50, 90), (64, 64), (80, 48), (40, 70)]
CLIPS = (1, 4, 6)  # numbers of those that move


def content(number: int, folder: Path) -> dict[str, bytes]:
    """The files of a sample: noise, with somebody in the middle."""
    width, height = SIZES[number]
    frames = 9 if number in CLIPS else 1
    rng = np.random.default_rng(number)
    points = np.ones((frames, 18, 3), np.float32)
    points[..., :2] = rng.uniform(0.3, 0.7, (frames, 18, 2)) * (width, height)
    pixels = rng.integers(0, 255, (frames, height // 4, width // 4, 3), np.uint8)
    pixels = pixels.repeat(4, 1).repeat(4, 2)
    height, width = pixels.shape[1:3]
    meta = {"width": width, "height": height, "frames": frames, "fps": 8.0 * (frames > 1),
            "license": "cc0-1.0", "source": f"number {number}"}  # fmt: skip
    files = {
        "pose.json": poses_text(Poses(points, width, height, 8.0)).encode(),
        "caption.txt": f"a man number {number} on a beach\nsomebody\n".encode(),
        "meta.json": json.dumps(meta).encode(),
    }
    if frames > 1:
        video.write(folder / "clip.mp4", pixels, 8.0)
        files["clip.mp4"] = (folder / "clip.mp4").read_bytes()
        (folder / "clip.mp4").unlink()
    else:
        file = io.BytesIO()
        Image.fromarray(pixels[0]).save(file, "PNG")
        files["image.png"] = file.getvalue()
    return files


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three shards."""
    folder, place = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("clips")

    def group(start: int) -> Callable[[], list[Sample]]:
        return lambda: [Sample(f"s{n}", content(n, place)) for n in range(start, start + 3)]

    write_corpus(folder, write_shards(folder, map(group, (0, 3, 6)), {}))
    return folder


def recipe_of(source: Path, *stages: str, workers: int = 0) -> Recipe:
    """The tiny recipe with these stages and a corpus."""
    tiny = load_recipe("tiny")
    kept = tuple(stage for stage in tiny.stage if stage.name in stages)
    kept = tuple(replace(stage, sample_every=0) for stage in kept)
    aspects = ("1:1", "9:16", "16:9")
    return replace(tiny, stage=kept, aspects=aspects, corpus=Corpus(str(source), workers=workers))


def losses(out: Path, stage: str) -> list[float]:
    lines = (out / "training" / stage / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that was trained from the shards, reading nothing ahead."""
    return base_train(recipe_of(shards, "video"), tmp_path_factory.mktemp("base"))


def test_stages_read_latents_of_all_sizes(undisturbed: Path, shards: Path) -> None:
    assert np.isfinite(losses(undisturbed, "video")).all()
    (folder,) = (undisturbed / "corpus").iterdir()
    latents = open_shards(folder)
    assert len(latents) == 9 and len(latents.shards) == 3
    assert sorted(set(map(tuple, latents.sizes.tolist()))) == [(48, 88), (64, 64), (88, 48)]
    assert sorted(latents.frames.tolist()) == [1] * 6 + [9] * 3
    for number in range(9):
        (array,) = latents.rows(number, ["latents.npy"])
        width, height = latents.sizes[number].tolist()
        assert array.shape == (latents.frames[number], 4, height // 8, width // 8)
        assert array.dtype == np.float16
        np.testing.assert_array_equal(latents.rows(number, ["latents.npy"], 0, 1)[0], array[:1])
    assert not list(shards.glob("latents-*"))  # somebody else's folder


def test_a_run_that_is_stopped_resumes_exactly_with_any_number_of_readers(
    shards: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = [2, 4]
    write = Log.write

    def stop(self: Log, step: int, values: dict[str, float]) -> None:
        write(self, step, values)
        if step in stops:
            stops.remove(step)
            raise KeyboardInterrupt

    monkeypatch.setattr(Log, "write", stop)
    for readers in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            base_train(recipe_of(shards, "video", workers=readers), tmp_path)
    base_train(recipe_of(shards, "video", workers=2), tmp_path)
    assert losses(tmp_path, "video") == losses(undisturbed, "video")
    (path,) = (undisturbed / "motion_adapter").glob("*.safetensors")
    assert (tmp_path / "motion_adapter" / path.name).read_bytes() == path.read_bytes()


def test_a_run_tells_other_data(shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Other aspect ratios are another recipe; a corpus with other samples is warned of."""
    out, changed = tmp_path / "base", tmp_path / shards.name
    shutil.copytree(undisturbed, out)
    shutil.copytree(shards, changed)
    write_corpus(changed, [read_shard(path) for path in sorted(changed.glob("*.tar"))[:2]])
    recipe = recipe_of(changed, "video")
    with pytest.raises(UsageError, match="another recipe"):
        base_train(replace(recipe, aspects=("1:1",)), out)
    for source, told in ((shards, False), (changed, True)):
        events = Events()
        with reporting_to(events):
            base_train(recipe_of(source, "video"), out)
        said = [str(event.get("text")) for event in events.events]
        assert any("not as it was when this run began" in text for text in said) == told


ENGINE = """
compute_environment: LOCAL_MACHINE
distributed_type: {kind}
num_machines: 1
num_processes: 2
machine_rank: 0
main_process_port: 0
gpu_ids: all
mixed_precision: 'no'
"""


def launch(place: Path, engine: str, recipe: Path, out: Path) -> subprocess.Popen[str]:
    """`accelerate launch` with a configuration file, in two processes on the CPU."""
    config = place / "engine.yaml"
    config.write_text(engine)
    root = str(Path(__file__).parents[2])
    words = f"launch --config_file {config} -m animateanywhere base-train {recipe} --out {out}"
    return subprocess.Popen(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", *words.split()],
        env=os.environ | {"AA_DEVICE": "cpu", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_accelerate_launch_trains_what_one_process_does(shards: Path, tmp_path: Path) -> None:
    """Three shards for two processes, and the same rows in each step. SIGTERM to the launcher stops
    both at one step, which is saved; the same command goes on, here under FSDP2 and with other
    settings of no consequence. The first process alone speaks and saves."""
    head = (recipes_folder() / "tiny.toml").read_text().split("[[stage]]")
    settings = 'aspects = ["1:1", "9:16", "16:9"]\n' + head[0]
    settings = settings.replace("images = 24", f'source = "{shards}"\nimages = 24')
    image = head[3].replace("steps = 6", "steps = 30").replace("sample_every = 6", "")
    image = image.replace("save_every = 3", "save_every = 99") + "global_batch = 8\n"
    video = head[4].replace("accumulate = 2", "global_batch = 4")
    whole, short, wrong = (tmp_path / f"{name}.toml" for name in ("whole", "short", "wrong"))
    whole.write_text("[[stage]]".join([settings, image, video]))
    short.write_text(
        whole.read_text().replace("frames = 4\ntrain", "frames = 4\nrecompute = true\ntrain")
    )
    wrong.write_text(whole.read_text().replace("steps = 30", "steps = 0"))
    one, out = base_train(whole, tmp_path / "one"), tmp_path / "two"
    ddp, fsdp = ENGINE.format(kind="MULTI_GPU"), ENGINE.format(kind="FSDP")

    said = launch(tmp_path, ddp, wrong, out).communicate(timeout=300)[1]
    told = f"aa: {wrong}: stage image: steps must be at least 1\n"
    assert said.startswith(told) and said.count(f"\n{told}") == 0
    assert f"traceback : {told}" in said and not out.exists()  # in the launcher's table, at the end

    run = launch(tmp_path, ddp, whole, out)
    log = out / "training" / "image" / "log.jsonl"
    try:
        while not log.is_file() or log.read_text().count("\n") < 3:
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=120)[1]
    finally:
        run.kill()
    (saved,) = re.findall(r"image: saved after step (\d+); run the same command to resume", said)
    assert 3 <= int(saved) < 30 and said.count("\naa: ") == 1 and "\naa: stopped" in said
    assert "stage image: 2 processes on cpu, each with all weights (DDP)" in said

    run = launch(tmp_path, f"{fsdp}fsdp_config:\n  fsdp_version: 2\n", short, out)
    made, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert made.splitlines() == [str(out)] and "aa: " not in said
    assert f"resuming image after step {saved} of 30" in said and said.count("stage image: 30") == 1
    assert said.count("2 processes on cpu, weights divided among them (FSDP2)") == 2
    assert hash_of(out) == load_base(out).config["hash"]
    (latents,) = (one / "corpus").iterdir()
    for path in latents.iterdir():
        assert (out / "corpus" / latents.name / path.name).read_bytes() == path.read_bytes()
    for stage, steps in (("image", 30), ("video", 6)):
        rows = losses(out, stage)
        assert len(rows) == steps and rows == pytest.approx(losses(one, stage), rel=1e-3)
    adapters = (load_base(folder).parts["motion_adapter"] for folder in (one, out))
    for (name, a), b in zip(
        next(adapters).named_parameters(), next(adapters).parameters(), strict=True
    ):
        assert ".proj_out." not in name or (a - b).norm() < 0.05 * a.norm()  # it began as zeros


def test_latents_are_encoded_before_training(
    shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """`aa corpus encode` writes what training computes; what is finished stays."""
    out = corpus_encode(shards, undisturbed)
    try:
        (computed,) = (undisturbed / "corpus").iterdir()
        assert out == shards / computed.name
        for path in computed.iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes()
        times = [path.stat().st_mtime_ns for path in sorted(out.glob("*.tar"))]
        (out / "corpus.json").unlink()
        (out / "shard-000001.index.json").unlink()  # as after a kill
        corpus_encode(shards, undisturbed)
        again = [path.stat().st_mtime_ns for path in sorted(out.glob("*.tar"))]
        assert [a == b for a, b in zip(times, again, strict=True)] == [True, False, True]
        set_mark(shards, "corpus")
        with owned(shards, "corpus"), pytest.raises(Failure, match="is in use by process"):
            corpus_encode(shards, undisturbed)
        base_train(recipe_of(shards, "video"), tmp_path)
        assert not (tmp_path / "corpus").exists()
        assert losses(tmp_path, "video") == losses(undisturbed, "video")
    finally:
        for path in out.iterdir():
            path.unlink()
        out.rmdir()


def flip(path: Path, place: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["latents.npy", "pose_latents.npy", "keypoints.npy", "rows.crc32",
                                  "caption.txt"])  # fmt: skip
def test_damaged_latents_are_not_trained_on(
    name: str, shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """The next sample of the same size takes their place, with one warning each."""
    shutil.copytree(undisturbed / "corpus", tmp_path / "corpus")
    data = CorpusData(recipe_of(shards, "image", workers=2), tmp_path, open_samples(shards))
    base, events = load_base(undisturbed), Events()
    latents = data.latents(base)
    stage = replace(data.settings.stage[0], batch=3, dropout=0.0)
    bad = next(n for n in range(9) if (latents.sizes == latents.sizes[n]).all(1).sum() > 1)
    place, own = latents.places[name][bad], latents.rows(bad, ["latents.npy"])[0][:1]
    before = [data._reader(base, stage, 0, video=False)(number) for number in range(20)]
    flip(latents.shards[latents.shard[bad]], int(place[0] + place[1] - 1))
    with reporting_to(events):
        read = data._reader(base, stage, 0, video=False)
        after = [read(number) for number in range(20)]
    said = [str(event["text"]) for event in events.events if event["kind"] == "message"]
    (warning,) = [text for text in said if "damaged" in text]
    assert f"{latents.key(bad)}.{name}" in warning and str(latents.folder) in warning
    for reads, there in ((before, True), (after, False)):
        shape = [one.latents for one in reads if one.latents.shape[1:] == own.shape]
        assert any((rows == own).all((1, 2, 3, 4)).any() for rows in shape) == there
    assert any(np.array_equal(a.latents, b.latents) for a, b in zip(before, after, strict=True))


def test_a_corpus_of_damaged_latents_ends_the_run(
    shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed / "corpus", tmp_path / "corpus")
    recipe = recipe_of(shards, "video")
    data, base = CorpusData(recipe, tmp_path, open_samples(shards)), load_base(undisturbed)
    latents = data.latents(base)
    for row in range(9):
        place = latents.places["latents.npy"][row]
        flip(latents.shards[latents.shard[row]], int(place[0] + place[1] - 1))
    with reporting_to(Events()), pytest.raises(UsageError, match=r"latents-.*damaged: delete"):
        for number in range(20):
            data._reader(base, recipe.stage[0], 0, video=True)(number)


def test_latents_of_a_repaired_sample_are_computed(
    shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """A run names what it leaves out, each time; once it can be read, the shard is made again, and
    is what it would have been."""
    corpus = tmp_path / "corpus"
    shutil.copytree(shards, corpus)
    found = open_shards(corpus)
    tar, place = found.shards[1], found.places["image.png"][5]
    flip(tar, int(place[0]))
    (computed,) = (undisturbed / "corpus").iterdir()
    times = []
    for _ in range(2):
        events = Events()
        with reporting_to(events):
            out = corpus_encode(corpus, undisturbed)
        assert len(open_shards(out)) == 8
        times.append([path.stat().st_mtime_ns for path in sorted(out.glob("*.tar"))])
        said = [str(event.get("text")) for event in events.events]
        assert any("1 of 9 samples of the corpus are left out: s5" in text for text in said)
    assert times[0] == times[1]
    flip(tar, int(place[0]))
    assert corpus_encode(corpus, undisturbed) == out
    again = [path.stat().st_mtime_ns for path in sorted(out.glob("*.tar"))]
    assert [a == b for a, b in zip(times[0], again, strict=True)] == [True, False, True]
    for path in computed.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    (out / "corpus.json").write_text("{")  # the shards have all that it says
    assert corpus_encode(corpus, undisturbed) == out
    for path in computed.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_pairs_of_text_and_picture_have_each_clip_once(shards: Path, undisturbed: Path) -> None:
    """And single frames for the image stage have long clips more often."""
    recipe = recipe_of(shards, "text")
    recipe = replace(recipe, model=replace(recipe.model, frames=3))
    data, base = CorpusData(recipe, undisturbed, open_samples(shards)), load_base(undisturbed)
    for pairs, count in ((True, 9), (False, 15)):
        read: Any = data._reader(base, recipe.stage[0], 0, video=False, pairs=pairs)
        order = read.fetch.order
        assert sum(map(len, order.buckets)) == count


def test_a_folder_of_clips_and_pictures_trains_all_stages(tmp_path: Path) -> None:
    """Pictures of any size too; a damaged file is named and left out."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(6):
        files = content(number, tmp_path)
        kind = "mp4" if number in CLIPS else "png"
        (folder / f"{number}.{kind}").write_bytes(
            files["clip.mp4" if kind == "mp4" else "image.png"]
        )
        (folder / f"{number}.poses.json").write_bytes(files["pose.json"])
        (folder / f"{number}.txt").write_bytes(files["caption.txt"])
    (folder / "4.mp4").write_bytes((folder / "1.mp4").read_bytes()[:700])
    (folder / "3.png").write_bytes(b"no picture")
    recipe = recipe_of(folder, "vae", "text", "image", "video", workers=2)
    events = Events()
    with reporting_to(events):
        out = base_train(recipe, tmp_path / "base")
    said = [event["text"] for event in events.events if event["kind"] == "message"]
    for name in ("4.mp4", "3.png"):
        assert any(name in text and "it is left out" in text for text in said), said
    assert any("2 of 6 samples of the corpus are left out" in text for text in said)
    for stage in ("vae", "text", "image", "video"):
        assert np.isfinite(losses(out, stage)).all()
    (folder / "5.txt").write_text("\n")
    data = CorpusData(recipe, tmp_path / "other", open_samples(folder))
    with reporting_to(events):
        assert len(data.captions) == 10
    assert "5.txt: contains no caption" in events.events[-1]["text"]
    for path in folder.glob("*.txt"):
        path.write_text("\n")
    with pytest.raises(UsageError, match="no sample has a caption"), reporting_to(events):
        _ = data.captions


def test_a_source_that_is_no_corpus_is_named(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        base_train(recipe_of(tmp_path / "none", "image"), tmp_path / "a")
    (tmp_path / "shard-000000.tar").write_bytes(b"foreign")
    with pytest.raises(UsageError, match=r"corpus\.json: cannot be read"):
        base_train(recipe_of(tmp_path, "image"), tmp_path / "b")


def test_puppets_are_rendered_in_all_aspect_ratios(tmp_path: Path) -> None:
    recipe = recipe_of(Path("puppets"), "vae", "video")
    recipe = replace(recipe, corpus=Corpus(images=7, clips=4, captions=2))
    out = base_train(recipe, tmp_path)
    images, clips = open_puppets(recipe, tmp_path / "corpus")
    sizes = [(64, 64), (48, 88), (88, 48)]
    assert [corpus.frames.shape[3:1:-1] for corpus in images] == sizes
    assert [len(corpus.frames) for corpus in images] == [3, 2, 2]
    assert [len(corpus.frames) for corpus in clips] == [2, 1, 1]
    for corpus, (width, height) in zip(clips, sizes, strict=True):
        points = corpus.keypoints[:]
        shown = points[points[..., 2] > 0][:, :2]
        assert len(shown) > 10 and (shown >= 0).all() and (shown <= (width, height)).all()
    pictures = RenderedPictures(images)
    frames, keypoints = pictures.take(np.arange(7))
    assert frames.shape == (7, 48, 48, 3) and keypoints.shape == (7, 18, 3)
    np.testing.assert_array_equal(frames[6], images[2].frames[1, 0][:, 20:68])
    assert np.isfinite(losses(out, "vae") + losses(out, "video")).all()
    assert base_config(out)["aspects"] == list(recipe.aspects)


def test_the_worked_example_of_the_docs_runs(place: Path) -> None:
    """Line by line, as it is written."""
    (place / "recipes").symlink_to(recipes_folder())
    text = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text()
    section = text.partition("## A worked example")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 8
    for line in lines:
        name, *arguments = shlex.split(line)
        if name == "aa":
            assert main(arguments) == 0, line
        else:
            subprocess.run(["bash", "-c", line], check=True)
    assert base_config(Path("runs/own"))["name"] == "own"
    assert load_recipe("runs/own.toml").corpus.source == "runs/corpus"
    (latents,) = Path("runs/corpus").glob("latents-*")
    assert len(open_shards(latents)) == 6 and Path("runs/corpus/report.html").is_file()


def test_a_corpus_that_does_not_fit_is_told_what_would(
    shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Clips that are too short name the recipe to build for; frames that are too small warn."""
    recipe = recipe_of(shards, "video")
    stages = (replace(recipe.stage[0], frames=12),)
    data, base = CorpusData(recipe, undisturbed, open_samples(shards)), load_base(undisturbed)
    with pytest.raises(UsageError, match=r"its longest has 9: .*--recipe tiny"):
        data._reader(base, stages[0], 0, video=True)
    events = Events()
    base.config["size"] = 128
    layout = layout_of(base, recipe.aspects)
    with reporting_to(events):
        encoded_samples(base, open_samples(shards), layout, [tmp_path / "latents"], 0)
    said = [str(event.get("text")) for event in events.events]
    assert any("base tiny learns 12" in text and "--recipe" in text for text in said), said
