"""Base training for real, on recipes/tiny.toml."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from animateanywhere import puppets
from animateanywhere.backbones.base import hash_of, load_base
from animateanywhere.commands.base_train import base_train
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import recipes_folder
from animateanywhere.datasets.clips import clips_of_folder
from animateanywhere.media import video
from animateanywhere.methods.animate_anywhere.settings import Corpus, load_recipe
from animateanywhere.pose import skeleton

# Losses of recipes/tiny.toml on the CPU. Renders and kernels differ a little between machines.
GOLDEN = {
    "vae": [1.6403, 1.3435, 1.1646, 1.054, 1.1123, 0.9783],
    "text": [2.5566, 2.6695, 2.6755, 2.1114, 2.1097, 2.084],
    "image": [1.8637, 1.7565, 1.3045, 0.9395, 1.1432, 1.2601],
    "video": [1.0513, 1.093, 1.0993, 1.1815, 1.4685, 1.2],
}  # fmt: skip


def losses(out: Path, stage: str) -> list[float]:
    lines = (out / "training" / stage / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_all_parts_are_there(trained: Path) -> None:
    base = load_base(trained)
    assert base.denoiser.config.in_channels == 2 * base.vae.config.latent_channels
    assert "motion_adapter" in base.parts
    assert base.config["hash"] == hash_of(trained)
    assert (trained / "perception" / "metrics.json").is_file()
    psnr = json.loads((trained / "training" / "vae" / "done.json").read_text())["psnr_held_out"]
    assert 5 < psnr < 30
    samples = trained / "training" / "image" / "samples"
    assert (samples / "000006.png").stat().st_size > 1000
    heard = json.loads((samples / "000006.json").read_text())
    assert set(heard) == {"person_full", "person_no_looks", "person_no_words"}
    assert all(0.1 < error < 10 for error in heard.values())
    assert list((trained / "training" / "image" / "tensorboard").iterdir())


@pytest.mark.parametrize("stage", GOLDEN)
def test_golden_losses(trained: Path, stage: str) -> None:
    assert losses(trained, stage) == pytest.approx(GOLDEN[stage], rel=0.02)


def test_the_video_stage_leaves_the_spatial_layers_alone(trained: Path, tmp_path: Path) -> None:
    before = load_base(trained)
    assert any(
        p.abs().sum() > 0
        for name, p in before.parts["motion_adapter"].named_parameters()  # type: ignore[union-attr]
        if ".proj_out." in name
    ), "the temporal layers have not learned"
    saved = (trained / "unet" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns
    assert saved < (trained / "motion_adapter" / "config.json").stat().st_mtime_ns


def test_kill_9_and_the_same_command_give_the_same_base(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "base"
    out.mkdir()
    shutil.copytree(trained / "corpus", out / "corpus")  # made once is enough
    command = [sys.executable, "-m", "animateanywhere", "base-train", "tiny", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    log = out / "training" / "image" / "log.jsonl"
    deadline = time.monotonic() + 240
    while not (log.is_file() and len(log.read_text().splitlines()) >= 4):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "base.toml").exists()
    base_train("tiny", out)
    for stage in GOLDEN:
        assert losses(out, stage) == pytest.approx(losses(trained, stage), rel=1e-6), stage
    assert hash_of(out) == hash_of(trained)


def test_two_processes_make_one_base(trained: Path, tmp_path: Path) -> None:
    """As `accelerate launch` starts them: each draws its own rows, the first speaks and saves."""
    recipe = recipes_folder() / "tiny.toml"
    head = recipe.read_text().split("[[stage]]")
    short = tmp_path / "short.toml"
    short.write_text("[[stage]]".join([head[0], head[3], head[4]]))  # image and video
    out = tmp_path / "base"
    out.mkdir()
    for part in ("corpus", "vae", "tokenizer"):
        shutil.copytree(trained / part, out / part)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
               "-m", "animateanywhere", "base-train", str(short), "--out", str(out)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(out)]
    assert done.stderr.count("stage image") == 1
    assert hash_of(out) == load_base(out).config["hash"]
    for stage in ("image", "video"):
        rows = losses(out, stage)
        assert len(rows) == 6 and np.isfinite(rows).all()


def test_a_done_base_is_done(trained: Path) -> None:
    weights = trained / "unet" / "diffusion_pytorch_model.safetensors"
    before = weights.stat().st_mtime_ns
    base_train("tiny", trained)
    assert weights.stat().st_mtime_ns == before


def test_another_recipe_in_the_same_folder_is_refused(trained: Path) -> None:
    recipe = load_recipe("tiny")
    other = replace(recipe, corpus=replace(recipe.corpus, images=30))
    with pytest.raises(UsageError, match="another recipe"):
        base_train(other, trained)


def test_a_folder_of_clips_is_a_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(2):
        clip = puppets.render(puppets.sample_spec(number), frames=9, size=64)
        video.write(folder / f"{number}.mp4", clip.frames, 8)
        poses = skeleton.Poses(clip.keypoints, 64, 64, 8.0)
        skeleton.write_poses(folder / f"{number}.poses.json", poses)
        (folder / f"{number}.txt").write_text(clip.caption + "\n")
    recipe = load_recipe("tiny")
    vae_only = replace(
        recipe, corpus=Corpus(source=str(folder)), stage=recipe.stage[:1],
    )  # fmt: skip
    out = base_train(vae_only, tmp_path / "base")
    frames = np.load(out / "corpus" / "clips" / "frames.npy")
    assert frames.shape == (4, 4, 64, 64, 3)  # two clips of nine frames, four frames each
    again = clips_of_folder(folder, 4, 64, 8)[1](3)  # from the middle on, as after a stop
    np.testing.assert_array_equal(next(again)[0], frames[3])
    long = skeleton.Poses(np.concatenate([clip.keypoints] * 2), 64, 64, 8.0)
    skeleton.write_poses(folder / "0.poses.json", long)
    with pytest.raises(UsageError, match="has 9 frames at 8 fps but 18 poses"):
        base_train(vae_only, tmp_path / "shorter")
    (folder / "1.txt").unlink()
    with pytest.raises(UsageError, match=r"1\.txt"):
        base_train(vae_only, tmp_path / "other")
