"""Base training for real, on recipes/tiny.toml."""

import inspect
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC
from safetensors.torch import load_file

from animateanywhere import puppets
from animateanywhere.backbones.base import hash_of, load_base
from animateanywhere.backbones.create import save_part
from animateanywhere.backbones.sd_unet import FAMILY
from animateanywhere.backbones.sources import part_of
from animateanywhere.commands.base_train import base_train, require_same
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.core.paths import recipes_folder
from animateanywhere.core.run_folder import MARK
from animateanywhere.datasets.clips import ClipRow
from animateanywhere.methods.animate_anywhere import base_stages, puppet_corpora, vae_stage
from animateanywhere.methods.animate_anywhere.settings import Corpus, Stage, load_recipe, to_dict
from animateanywhere.training.log import Log

# Losses of recipes/tiny.toml on the CPU. Renders and kernels differ a little between machines.
GOLDEN = {
    "vae": [1.6403, 1.3435, 1.1646, 1.054, 1.1123, 0.9783],
    "text": [2.2910, 4.0588, 2.2931, 2.2878, 2.1, 2.1105],
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
    assert set(heard) == {"person_full", "person_no_appearance", "person_no_caption"}
    assert all(0.1 < error < 10 for error in heard.values())
    assert list((trained / "training" / "image" / "tensorboard").iterdir())


@pytest.mark.parametrize("stage", GOLDEN)
def test_golden_losses(trained: Path, stage: str) -> None:
    assert losses(trained, stage) == pytest.approx(GOLDEN[stage], rel=0.02)


def test_the_video_stage_trains_the_temporal_layers_alone(trained: Path) -> None:
    """The UNet is still the average that the image stage ended with."""
    image, video = (
        load_file(trained / "training" / stage / "checkpoint.safetensors")
        for stage in ("image", "video")
    )
    names = [name for name in image if name.startswith("model.")]
    assert names and all("motion_modules" in name for name in video if name.startswith("model."))
    base = load_base(trained)
    unet = dict(base.denoiser.named_parameters())
    found = [n.removeprefix("model.unet.") for n in names if n.startswith("model.unet.")]
    average = {tuple(image[f"ema.{n}"].shape): [] for n in range(len(names))}  # type: ignore[var-annotated]
    for number in range(len(names)):
        average[tuple(image[f"ema.{number}"].shape)].append(image[f"ema.{number}"])
    for name in found:
        same = average[tuple(unet[name].shape)]
        assert any(torch.equal(unet[name], one) for one in same), name
    temporal = base.parts["motion_adapter"].named_parameters()  # type: ignore[union-attr]
    learned = [p for name, p in temporal if ".proj_out." in name]  # which begins as zeros
    assert learned and all(p.abs().sum() > 0 for p in learned)


def test_stages_pass_on_what_recipe_and_base_say(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "base"
    shutil.copytree(trained, out)
    schedule = out / "scheduler/scheduler_config.json"
    schedule.write_text(
        json.dumps(json.loads(schedule.read_text()) | {"image_beta_schedule": "linear"})
    )
    recipe = load_recipe("tiny")
    recipe = replace(
        recipe,
        model=replace(recipe.model, noise_share=0.4),
        loss=replace(recipe.loss, pose_weight=3.0),
        stage=tuple(
            replace(stage, timestep_shift={"image": 2.0, "video": 3.0}.get(stage.name, 1.0))
            for stage in recipe.stage
        ),
    )
    run = base_stages.Run(recipe, out, base_stages.open_data(recipe, out))
    passed: list[dict[str, Any]] = []
    weights: list[torch.Tensor] = []
    recomputed: list[bool] = []
    signature = inspect.signature(base_stages.method.loss)

    def loss(*given: Any, **options: Any) -> Any:
        bound = signature.bind(*given, **options)
        bound.apply_defaults()
        passed.append(bound.arguments)
        return torch.zeros(()), {}

    def rebuilt(made: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        weights.append(weight)
        return torch.zeros(())

    def fit(model: Any, stage: Any, loss_fn: Any, *given: Any, **options: Any) -> None:
        recomputed.append(any("forward" in vars(layer) for layer in model.modules()))
        loss_fn(model, torch.Generator())

    monkeypatch.setattr(base_stages.method, "loss", loss)
    monkeypatch.setattr(vae_stage, "reconstruction", rebuilt)
    monkeypatch.setattr(base_stages, "fit", fit)
    monkeypatch.setattr(base_stages, "sampler", lambda *given, **options: None)
    monkeypatch.setattr(base_stages, "caption_errors", lambda base: dict)
    for name in ("vae", "image", "video"):
        (stage,) = (stage for stage in recipe.stage if stage.name == name)
        base_stages.STAGES[name](run, replace(stage, recompute=name != "image"), 0)
    assert recomputed == [False, False, True]  # it is not for the VAE
    assert [row["timestep_shift"] for row in passed] == [2.0, 3.0]
    assert [row["noise_share"] for row in passed] == [0.0, 0.4]  # frames alone share with none
    betas = [row["scheduler"].config.beta_schedule for row in passed]
    assert betas == ["linear", "scaled_linear"]
    assert all(row["settings"] == recipe.loss for row in passed)
    for row in passed:  # 1 beside the limbs, up to 1 + pose_weight on them
        batch = row["batch"]
        behind = batch.background[:, None, None, None, None]
        weight = batch.weight[:, None, None, None, None] * (batch.mask + behind * (1 - batch.mask))
        torch.testing.assert_close(weight, 1 + 3 * batch.mask)
        assert batch.mask.max() > 0.5
    (weight,) = weights
    assert float(weight.min()) == 1 and 3 < float(weight.max()) <= 4


def train_until_killed(out: Path, place: str) -> None:
    """Train in a process of its own, which is killed (SIGKILL) in the corpus or a stage."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(self: Log, step: int, values: dict[str, float]) -> None:
        real_write(self, step, values)
        if self.stage.name == place and step == self.stage.steps - 2:  # after the last checkpoint
            kill()

    def images(*given: Any, **named: Any) -> Iterator[ClipRow]:
        for number, row in enumerate(real_images(*given, **named)):
            if place == "corpus" and number == 9:
                kill()
            yield row

    torch.set_num_threads(1)
    real_write = Log.write
    Log.write = write  # type: ignore[method-assign]
    real_images = puppet_corpora.puppet_images
    puppet_corpora.puppet_images = images
    base_train("tiny", out)


def test_kill_9_anywhere_and_the_same_command_give_the_same_base(
    trained: Path, tmp_path: Path
) -> None:
    """Bit by bit, in all parts, whether it was killed in the corpus or any of the stages."""
    out = tmp_path / "base"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["animateanywhere.commands.base_train"])
    for place in ("corpus", "vae", "text", "image", "video", "perception"):
        process = context.Process(target=train_until_killed, args=(out, place))
        process.start()
        process.join(240)
        assert process.exitcode == -signal.SIGKILL, place
        assert not (out / "training" / place / "done.json").exists()
        assert not (out / "base.toml").exists()
    base_train("tiny", out)
    for stage in GOLDEN:
        assert losses(out, stage) == losses(trained, stage), stage
    weights = [p.relative_to(trained) for p in trained.glob("*/*.safetensors")]
    assert {p.parent.name for p in weights} > {"vae", "text_encoder", "unet", "perception"}
    for path in weights:
        assert (out / path).read_bytes() == (trained / path).read_bytes(), path
    assert not [p for p in out.rglob("*.part*") if p.is_dir()]


def start_of(out: Path, trained: Path) -> Path:
    """A folder with what the image stage needs."""
    out.mkdir()
    for part in ("corpus", "vae", "tokenizer"):
        shutil.copytree(trained / part, out / part)
    shutil.copy(trained / MARK, out)
    return out


def test_two_processes_make_one_base(
    trained: Path, tmp_path: Path, two_processes: Callable[[list[str]], list[Any]]
) -> None:
    """The first alone speaks and saves. SIGTERM to the launcher stops both at one step, which is
    saved; the same command goes on, and the losses are those of one process without
    recomputation."""
    head = (recipes_folder() / "tiny.toml").read_text().split("[[stage]]")
    image = head[3].replace("steps = 6", "steps = 30").replace("save_every = 3", "save_every = 99")
    video = head[4].replace("accumulate = 2", "global_batch = 4")
    whole, short = tmp_path / "whole.toml", tmp_path / "short.toml"
    whole.write_text("[[stage]]".join([head[0], image + "global_batch = 8\n", video]))
    short.write_text(
        whole.read_text().replace("frames = 4\ntrain", "frames = 4\nrecompute = true\ntrain")
    )
    assert "recompute" in short.read_text()
    base_train(whole, start_of(tmp_path / "whole", trained))
    out = start_of(tmp_path / "base", trained)
    arguments = ["-m", "animateanywhere", "base-train", str(short), "--out", str(out)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "PYTHONPATH": root}
    run = subprocess.Popen(
        [*launcher, *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )
    log = out / "training" / "image" / "log.jsonl"
    try:
        while not log.is_file() or log.read_text().count("\n") < 3:
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=60)[1]
    finally:
        run.kill()
    (saved,) = re.findall(r"image: saved after step (\d+); run the same command to resume", said)
    assert 3 <= int(saved) < 30 and "unexpected" not in said
    first, second = two_processes([sys.executable, *arguments])
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert f"resuming image after step {saved} of 30" in first.stderr
    assert first.stdout.splitlines() == [str(out)] and not second.stdout
    assert first.stderr.count("stage image") == 1 and "stage" not in second.stderr
    assert hash_of(out) == load_base(out).config["hash"]
    for stage, steps in (("image", 30), ("video", 6)):
        rows = losses(out, stage)
        assert len(rows) == steps
        assert rows == pytest.approx(losses(tmp_path / "whole", stage), rel=1e-3)
    one, two = (load_base(folder).parts["motion_adapter"] for folder in (tmp_path / "whole", out))
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert ".proj_out." not in name or (a - b).norm() < 0.05 * a.norm()  # it began as zeros


def test_a_done_base_is_done(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object) -> None:
        raise AssertionError("a stage ran again")

    for kind in base_stages.STAGES:
        monkeypatch.setitem(base_stages.STAGES, kind, never)
    before = hash_of(trained)
    assert base_train("tiny", trained) == trained
    assert hash_of(trained) == before == load_base(trained).config["hash"]


def test_another_recipe_in_the_same_folder_is_refused(trained: Path) -> None:
    recipe = load_recipe("tiny")
    other = replace(recipe, corpus=replace(recipe.corpus, images=30))
    with pytest.raises(UsageError, match="another recipe"):
        base_train(other, trained)


def test_a_base_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """0.1 wrote other names, in another order, `keep`, which is no longer in this table, and not
    the keys that came later."""
    stage, usual = Stage("a", "image", 4, prior_batch=2), asdict(Stage("", "image", 0))
    later = ("prior_batch", "global_batch", "max_skipped", "recompute")
    was = {"regular_batch": 2} | {k: v for k, v in asdict(stage).items() if k not in later}
    table = to_dict(load_recipe("tiny"))
    parts = {key: table[key] for key in ("seed", "model", "corpus", "loss")}
    rest = {k: v for k, v in parts["loss"].items() if k not in ("prior_weight", "pose_weight")}
    loss = {"regularization_weight": 1.0, "keep": 1.0, "heat": 0.0} | rest
    with pytest.raises(UsageError, match="another recipe"):
        path = tmp_path / "other.json"
        path.write_text(json.dumps(was))
        require_same(path, asdict(replace(stage, global_batch=8)), usual)
    corpus = {k: v for k, v in parts["corpus"].items() if k != "detailed"}
    for now, old in ((asdict(stage), was), (parts, parts | {"loss": loss, "corpus": corpus})):
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(old))
        require_same(path, now, usual if now == asdict(stage) else parts)
        assert json.loads(path.read_text()) == json.loads(json.dumps(now))
    path.write_text(json.dumps(parts | {"loss": loss | {"heat": 2.0}}))
    with pytest.raises(UsageError, match="another recipe"):
        require_same(path, parts, parts)
    path.write_text("{")
    with pytest.raises(UsageError, match=r"settings\.json: damaged; delete it if"):
        require_same(path, parts, parts)


def test_a_detailed_corpus_shows_detailed_people() -> None:
    recipe = load_recipe("tiny")
    part = puppet_corpora.Part(0, 1, square(recipe.model.size))
    for detailed in (False, True):
        corpus = replace(recipe.corpus, images=4, clips=1, detailed=detailed)
        settings = replace(recipe, corpus=corpus)
        frames, _, captions = next(puppet_corpora.puppet_images(settings, 0, part))
        spec = puppets.sample_spec(puppet_corpora._seed(settings, "images", 0), detailed=detailed)
        time = float(np.random.default_rng(spec.seed).uniform(0, 4))
        expected = puppets.render_batch([spec], [time], size=recipe.model.size)[0]
        assert np.abs(frames.astype(int) - expected.frames).max() <= 1
        assert captions[0] == puppets.caption(spec, seed=spec.seed)
        clip, *_ = next(puppet_corpora.puppet_clips(settings, 0, part))
        spec = puppets.sample_spec(puppet_corpora._seed(settings, "clips", 0), detailed=detailed)
        same = puppets.render(spec, frames=len(clip), size=recipe.model.size, fps=recipe.model.fps)
        assert (clip == same.frames).all()


def test_what_is_published_names_no_place_on_this_machine(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local sources stand in the recipe by their names, and in no config of a part."""
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("tiny")
    model = replace(recipe.model, vae={"from": str(trained)}, text_encoder={"from": str(trained)},
                    unet={"from": str(trained)}, motion_adapter={})  # fmt: skip
    folder = tmp_path / "clips"
    folder.mkdir()
    settings = replace(recipe, model=model, corpus=Corpus(source=str(folder)))
    with pytest.raises(UsageError, match="no clip or picture"):  # after the recipe is written
        base_train(settings, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert found["model"]["vae"] == {"from": trained.name} and found["corpus"]["source"] == "clips"
    for name in ("vae", "text_encoder"):
        kind = AutoencoderDC if name == "vae" else FAMILY.parts[name]
        part = part_of(kind, model.tables()[name], name)
        save_part(part, tmp_path / "saved" / name)
    for file in (tmp_path / "saved").rglob("*.json"):
        assert str(trained.parent) not in file.read_text(), file
