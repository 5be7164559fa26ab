"""Base training for real, on recipes/tiny.toml."""

import inspect
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC
from safetensors.torch import load_file
from torch.nn import functional as F

from animateanywhere import puppets
from animateanywhere.backbones.base import hash_of, load_base
from animateanywhere.backbones.create import save_part
from animateanywhere.backbones.sd_unet import FAMILY
from animateanywhere.backbones.sources import part_of
from animateanywhere.commands.base_train import base_train
from animateanywhere.commands.run_settings import require_same
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.datasets.clips import ClipRow
from animateanywhere.methods.animate_anywhere import base_stages, puppet_corpora, vae_stage
from animateanywhere.methods.animate_anywhere.base_data import Rendered, encoded
from animateanywhere.methods.animate_anywhere.settings import Corpus, Stage, load_recipe, to_dict
from animateanywhere.training.log import Log
from tests.conftest import forks

# Losses of recipes/tiny.toml on the CPU. Renders and kernels differ a little between machines.
GOLDEN = {
    "vae": [1.9224, 1.4978, 1.2708, 1.2208, 1.1742, 1.0535],
    "text": [2.2477, 4.9831, 3.0069, 2.3109, 2.1566, 2.1043],
    "image": [2.2927, 1.7403, 1.5314, 1.6875, 1.6689, 1.4906],
    "video": [1.5193, 1.3834, 1.363, 1.298, 1.4495, 1.3416],
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
    for place in ("corpus", "vae", "text", "image", "video", "perception"):
        process = forks().Process(target=train_until_killed, args=(out, place))
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
    with pytest.raises(UsageError, match=r"another recipe: corpus\.images was 24 and is 30; set"):
        base_train(other, trained)
    with pytest.raises(UsageError, match=r"another recipe: autoencoder\.noise was 0.05 and is 0.1"):
        base_train(replace(recipe, autoencoder=replace(recipe.autoencoder, noise=0.1)), trained)
    longer = [replace(stage, steps=7, batch=3) for stage in recipe.stage]
    with pytest.raises(UsageError, match=r"vae was made .*: steps was 6 and is 7, batch was 4 and"):
        base_train(replace(recipe, stage=tuple(longer)), trained)


def test_a_record_that_has_other_keys_is_told(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    path.write_text(json.dumps({"a": {"b": [1, 2]}, "old": "x" * 80} | dict.fromkeys("cdef", 1)))
    with pytest.raises(UsageError) as told:
        require_same(path, {"a": {"b": [1, 3], "new": None}, "c": 2}, {})
    words = "a.b was [1, 2] and is [1, 3], a.new was not set and is null, c was 1 and is 2, old was"
    assert words in str(told.value) and "xxx... and is not set, and 3 more differ" in str(
        told.value
    )


def test_what_changes_no_result_may_be_changed_midway(tmp_path: Path) -> None:
    stage, path = Stage("a", "image", 4), tmp_path / "stage.json"
    require_same(path, asdict(stage), {})
    free = replace(stage, log_every=1, save_every=1, sample_every=1, max_skipped=1, recompute=True)
    require_same(path, asdict(free), {})
    assert json.loads(path.read_text())["save_every"] == 1
    with pytest.raises(UsageError, match="learning_rate was 0.0001 and is 1.0"):
        require_same(path, asdict(replace(free, learning_rate=1.0)), {})


def test_a_base_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """0.1 wrote other names, in another order, `keep`, which is no longer in this table, and not
    the keys that came later."""
    stage, usual = Stage("a", "image", 4, prior_batch=2), asdict(Stage("", "image", 0))
    later = ("prior_batch", "global_batch", "max_skipped", "recompute")
    was = {"regular_batch": 2} | {k: v for k, v in asdict(stage).items() if k not in later}
    table = to_dict(load_recipe("tiny"))
    parts = {key: table[key] for key in ("seed", "model", "corpus", "loss")}
    rest = {k: v for k, v in parts["loss"].items() if k not in ("prior_weight", "pose_weight")}
    rest = {k: v for k, v in rest.items() if k not in ("face_weight", "object_weight")}
    loss = {"regularization_weight": 1.0, "keep": 1.0, "heat": 0.0} | rest
    with pytest.raises(UsageError, match="another recipe"):
        path = tmp_path / "other.json"
        path.write_text(json.dumps(was))
        require_same(path, asdict(replace(stage, global_batch=8)), usual)
    corpus = {k: v for k, v in parts["corpus"].items() if k not in ("detailed", "close_ups")}
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
        frames, _, captions, _ = next(puppet_corpora.puppet_images(settings, range(1), part))
        spec = puppets.sample_spec(puppet_corpora._seed(settings, "images", 0), detailed=detailed)
        time = float(np.random.default_rng(spec.seed).uniform(0, 4))
        expected = puppets.render_batch([spec], [time], size=recipe.model.size)[0]
        assert np.abs(frames.astype(int) - expected.frames).max() <= 1
        assert captions[0] == puppets.caption(spec, seed=spec.seed)
        clip, *_ = next(puppet_corpora.puppet_clips(settings, range(1), part))
        spec = puppets.sample_spec(puppet_corpora._seed(settings, "clips", 0), detailed=detailed)
        same = puppets.render(spec, frames=len(clip), size=recipe.model.size, fps=recipe.model.fps)
        assert (clip == same.frames).all()


def test_a_share_of_the_images_are_close_ups() -> None:
    recipe = load_recipe("tiny")
    corpus = replace(recipe.corpus, images=60, close_ups=0.3)
    specs = [puppet_corpora._image_spec(n, replace(recipe, corpus=corpus)) for n in range(60)]
    close = [spec == puppets.sample_portrait(spec.seed) for spec in specs]
    assert 0.15 < np.mean(close) < 0.45
    others = [spec for spec, near in zip(specs, close, strict=True) if not near]
    assert others == [puppets.sample_spec(spec.seed) for spec in others]


def test_faces_and_objects_weigh_more_in_the_loss(trained: Path, tmp_path: Path) -> None:
    """By as much as they cover of each latent, where the rendering says they are."""
    out = tmp_path / "base"
    shutil.copytree(trained, out, ignore=shutil.ignore_patterns("corpus"))
    recipe = load_recipe("tiny")
    rule = replace(recipe.loss, pose_weight=0.0, face_weight=6.0, object_weight=2.0)
    corpus = replace(recipe.corpus, images=8, clips=2, close_ups=0.5)
    recipe = replace(recipe, loss=rule, corpus=corpus)
    data = base_stages.open_data(recipe, out)
    assert isinstance(data, Rendered)
    base = load_base(str(out))
    (stage,) = recipe.stages("image")
    (images,) = data.images
    part = puppet_corpora.Part(0, 1, square(64))
    clips = puppet_corpora.puppet_images(recipe, range(8), part)
    assert images.regions is not None
    for known, clip in zip(images.regions, clips, strict=True):
        np.testing.assert_array_equal(known, clip.regions)
    read = data.rows(base, stage, 0, video=False)(torch.Generator().manual_seed(0))
    batch = read.batch(base)
    assert batch.mask is not None and batch.weight is not None and batch.background is not None
    rows = (batch.weight, batch.background)
    scale, behind = (part[:, None, None, None, None] for part in rows)
    weight = scale * (batch.mask + behind * (1 - batch.mask))
    regions = {
        latents.tobytes(): cells
        for corpus in (*data.images, *data.clips)
        for row, some in zip(encoded(base, out, corpus), corpus.regions or (), strict=True)
        for latents, cells in zip(row, some, strict=True)
    }
    drawn = np.stack([[regions[x.tobytes()] for x in row] for row in read.latents.numpy()])
    face, thing = torch.from_numpy(drawn / 255).float().permute(4, 0, 1, 2, 3)
    side = batch.latents.shape[-1]
    wanted = F.adaptive_avg_pool2d(1 + 6 * face + 2 * thing, side)[:, :, None]
    torch.testing.assert_close(weight, wanted)
    assert weight.max() > 1.2

    with pytest.raises(UsageError, match="known where faces and objects are"):
        own = tmp_path / "own.toml"
        own.write_text('corpus = { source = "clips" }\nloss = { face_weight = 1.0 }\n')
        load_recipe(own)


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
