"""Memory: estimated without weights, and what makes learning and generating take less of it."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNetMotionModel

from animateanywhere.backbones import sd_unet, wan_vace
from animateanywhere.backbones.base import (
    Base,
    base_config,
    encode_poses,
    encode_text,
    latent_shape,
    load_base,
    load_parts,
)
from animateanywhere.backbones.lora import merge
from animateanywhere.backbones.low_memory import generation_precision, recompute, to_device
from animateanywhere.backbones.sd_unet import motion_unet
from animateanywhere.backbones.token_embedding import TokenEmbedding
from animateanywhere.backbones.vae import latent_count
from animateanywhere.cli.main import main
from animateanywhere.core import device
from animateanywhere.core.errors import UsageError
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch
from animateanywhere.methods.animate_anywhere.cost import memory, vram
from animateanywhere.methods.animate_anywhere.cost.fake import Counted
from animateanywhere.methods.animate_anywhere.generation import Sampling, render_latents
from animateanywhere.methods.animate_anywhere.personal_stages import networks
from animateanywhere.methods.animate_anywhere.settings import (
    Loss,
    Recipe,
    Stage,
    by_lora,
    each_stage,
    load_recipe,
)
from animateanywhere.training.loop import fit


def recipe(**changes: object) -> Recipe:
    made = load_recipe("personalize-tiny")
    return each_stage(made, lambda stage: replace(stage, **changes))  # type: ignore[arg-type]


def a_batch(base: Base, stage: Stage, states: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(0)
    rows, shape = stage.batch + stage.prior_batch, latent_shape(base)
    x = torch.randn(rows, latent_count(stage.frames, base.packed), *shape, generator=generator)
    with torch.set_grad_enabled(not states):
        text = encode_text(base, ["a man in a room"] * rows)
    poses = x[:, :, :1].expand(-1, -1, base.family.pose_shape(base)[0], -1, -1)
    poses = x.flip(0) if poses.shape == x.shape else poses
    return Batch(x, poses, text, (x[:, :, :1] > 0).float(), torch.ones(text.shape[:2]))


@pytest.mark.parametrize("name", ["appearance", "motion"])
@pytest.mark.parametrize("kind", ["whole", "lora", "wan"])
def test_what_real_steps_take_is_estimated(
    tiny_base: Path, tiny_wan: Path, tmp_path: Path, name: str, kind: str
) -> None:
    folder, rule = tiny_base, by_lora(recipe()) if kind == "lora" else recipe()
    if kind == "wan":
        folder, rule = tiny_wan, load_recipe("personalize-wan")
        rule = each_stage(rule, lambda s: replace(s, precision="no", frames=min(s.frames, 9)))
    rule = replace(rule, stage=tuple(s for s in rule.stage if s.name == name))
    peak = memory.step(load_parts(folder, base_config(folder), "meta"), rule.stage[0], rule)
    with Counted() as counted:
        base = load_base(folder)
        base.parts["vae"] = None  # as in learning
        token = TokenEmbedding(base.text_encoder, 0) if base.family.learns_tokens else None
        parts, stage = networks(base, rule.stage[0], rule, 0, token)
        reads = "token_embedding" in parts
        if not reads:
            base.parts["text_encoder"] = None
        batch = a_batch(load_base(folder), rule.stage[0])
        counted.peak = 0

        def loss(parts: torch.nn.Module, generator: torch.Generator):
            text = batch.text_states
            if reads:
                text = encode_text(base, ["a man in a room"] * len(text))
            return method.loss(
                base.family, parts[base.family.denoiser], replace(batch, text_states=text),  # type: ignore[index]
                generator, base.scheduler, rule.loss,
            )  # fmt: skip

        with token.spliced() if token is not None and reads else nullcontext():
            fit(parts, replace(stage, steps=2, accumulate=1, log_every=1), loss, tmp_path, 0)
    assert peak.weights + peak.work == pytest.approx(counted.peak / 1e9, rel=0.1)


def test_each_form_takes_less_and_the_first_that_fits_is_taken(
    tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = base_config(tiny_base)
    forms = [form(recipe()) for form in vram.FORMS.values()]
    found = [memory.learning_peaks(tiny_base, config, form) for form in forms]
    peaks = [max(peak.weights + peak.work for peak in some.values()) for some in found]
    assert peaks == sorted(peaks, reverse=True) and peaks[2] < 0.8 * peaks[0]
    known = lambda folder, config, form: found[forms.index(form)]  # noqa: E731
    monkeypatch.setattr(memory, "learning", known)  # as just found, which takes seconds
    monkeypatch.setattr(vram, "BESIDE", 0.0)
    monkeypatch.setattr(vram, "find_spec", lambda name: None)  # no bitsandbytes
    whole, eight, adapters, rows, _ = forms
    assert [stage.row_by_row for stage in rows.stage] == [False, True]
    assert vram.fitted(tiny_base, config, recipe(), 24) == whole
    between = (peaks[1] + peaks[2]) / 2 / vram.GIB
    assert vram.fitted(tiny_base, config, recipe(), between) == adapters
    assert "LoRA of rank 16" in capsys.readouterr().err
    monkeypatch.setattr(vram, "find_spec", lambda name: "there")
    assert vram.fitted(tiny_base, config, recipe(), peaks[1] / vram.GIB) == eight
    with pytest.raises(UsageError, match="GB at least"):
        vram.fitted(tiny_base, config, recipe(), 1e-6)


def test_too_little_memory_is_wrong_use(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vram, "BESIDE", 100.0)
    monkeypatch.setattr(vram, "FORMS", dict([next(iter(vram.FORMS.items()))]))
    clip = Path(__file__).parents[2] / "examples" / "reference.mp4"
    command = ["personalize", str(clip), "--token", "sks", "--base", str(tiny_base)]
    assert main([*command, "--vram", "8"]) == 2
    assert "GB at least, 8 are there" in capsys.readouterr().err.replace("\n", " ")
    assert main([*command, "--vram", "0"]) == 2


@pytest.mark.parametrize("video", [False, True])
def test_activations_are_computed_again_with_the_same_gradients(
    tiny_base: Path, video: bool
) -> None:
    found = []
    for again in (False, True):
        base = load_base(tiny_base)
        unet = method.build(base, Loss(), video).requires_grad_(True).train()
        stage = Stage("s", "motion", 1, batch=1, prior_batch=1, frames=4 if video else 1)
        batch = a_batch(base, stage)
        if again:
            recompute(unet, base.family)
            recompute(unet, base.family)  # once is enough
        with memory.Counted() as counted:
            loss, _ = method.loss(
                base.family, unet, batch, torch.Generator(), base.scheduler, Loss()
            )
            kept = counted.now
            loss.backward()
        found.append((loss.detach(), [p.grad for p in unet.parameters()], kept))
    (loss, gradients, kept), (same, others, less) = found
    assert torch.equal(loss, same) and less < 0.7 * kept
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other)


def test_the_video_unet_has_the_weights_of_the_image_unet_and_no_copies(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    made = motion_unet(base.denoiser, base.parts["motion_adapter"])
    theirs = UNetMotionModel.from_unet2d(base.denoiser, base.parts["motion_adapter"])
    for (name, value), (other, wanted) in zip(
        made.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(value, wanted)
    own, before = base.copy(), theirs.conv_in.weight.clone()
    with torch.no_grad():
        made.conv_in.weight.add_(1)
        made.get_submodule("down_blocks.0.motion_modules.0.proj_in").weight.zero_()
    assert torch.equal(base.denoiser.conv_in.weight, before + 1)
    assert not base.parts["motion_adapter"].down_blocks[0].motion_modules[0].proj_in.weight.any()
    assert torch.equal(own.denoiser.conv_in.weight, before)
    assert own.parts["motion_adapter"].down_blocks[0].motion_modules[0].proj_in.weight.any()


def test_what_adapters_learned_of_clips_is_in_the_image_unet(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    rule = by_lora(recipe())
    parts, _ = networks(base, rule.stages("motion")[0], rule, 0)
    unet = parts["unet"]
    with torch.no_grad():
        for name, factor in unet.named_parameters():
            if "lora_B" in name:
                factor.fill_(0.1)
    before = {name: p.clone() for name, p in base.denoiser.named_parameters()}
    merge(unet)
    after, own = dict(unet.named_parameters()), dict(base.denoiser.named_parameters())
    changed = [name for name, p in own.items() if not torch.equal(p, before[name])]
    assert changed and all(torch.equal(own[name], after[name]) for name in own)
    assert by_lora(rule) == rule


@pytest.mark.parametrize(("native", "wan"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_generates_in_the_precision_of_the_base(
    monkeypatch: pytest.MonkeyPatch, native: bool, wan: str
) -> None:
    monkeypatch.setattr(device, "best_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert generation_precision(wan_vace.FAMILY, "cuda") == wan
    assert generation_precision(sd_unet.FAMILY, "cuda") == "fp16"
    assert generation_precision(wan_vace.FAMILY, "cpu") == "no"


def test_half_precision_halves_weights_and_shows_the_same(tiny_base: Path) -> None:
    base, light = load_base(tiny_base), load_base(tiny_base)
    passes = to_device(light, "cpu", "bf16")
    sizes = [sum(p.nbytes for p in b.denoiser.parameters()) for b in (base, light)]
    assert sizes[1] < 0.55 * sizes[0]
    assert light.denoiser.conv_norm_out.weight.dtype == torch.float32
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    videos = []
    for some, under in ((base, to_device(base, "cpu")), (light, passes)):
        with under:
            poses = encode_poses(some, drawn)
            unet = method.build(some, Loss(guide=False), video=True).eval()
            videos.append(
                render_latents(some, unet, "a man in a room", poses, 0, Sampling(steps=3))
            )
    whole, half = (x.float().numpy() for x in videos)
    assert poses.dtype == torch.float32
    assert 0 < np.abs(half - whole).max() < 0.1 * whole.std()


def test_a_recipe_of_whole_weights_keeps_them_whole(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    whole = recipe(precision="bf16")
    to_device(base, "cpu", whole.precision, whole.only_adapters)
    assert {p.dtype for p in base.denoiser.parameters()} == {torch.float32}


def test_an_optimizer_of_eight_bits_learns_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra vram is not installed")

    def learn(steps: int, folder: Path) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net = torch.nn.Linear(128, 128)

        def loss(net: torch.nn.Module, generator: torch.Generator):
            x = torch.randn(16, 128, generator=generator)
            return (net(x) - x).square().mean(), {}

        stage = Stage("s", "image", steps, learning_rate=0.01, save_every=5, optimizer="adamw8bit")
        fit(net, stage, loss, folder, seed=1)
        x = torch.randn(64, 128, generator=torch.Generator().manual_seed(9))
        assert steps < 20 or (net(x) - x).square().mean() < 0.9  # of 1.3
        return [p.detach().clone() for p in net.parameters()]

    whole = learn(30, tmp_path / "whole")
    learn(10, tmp_path / "parts")
    for one, other in zip(whole, learn(30, tmp_path / "parts"), strict=True):
        assert torch.equal(one, other)
    eight = (tmp_path / "whole/checkpoint.safetensors").stat().st_size
    assert eight < 2 * whole[0].nbytes  # weights, and two moments of a byte each


def test_without_bitsandbytes_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    stage = Stage("s", "image", 1, optimizer="adamw8bit")
    with pytest.raises(UsageError, match=r"install .*\[vram\]"):
        fit(torch.nn.Linear(2, 2), stage, lambda net, generator: (net, {}), tmp_path, 0)  # type: ignore[arg-type,return-value]


def test_generation_is_estimated(tiny_base: Path) -> None:
    config = base_config(tiny_base)
    found = [memory.generating_peaks(tiny_base, config, p) for p in ("no", "fp16")]
    whole, half = (max(p.weights + p.work for p in peaks.values()) for peaks in found)
    with Counted() as counted, torch.no_grad():
        base = load_base(tiny_base)
        frames = np.zeros((int(config["frames"]), 64, 64, 3), np.uint8)
        unet = method.build(base, Loss(guide=False), video=True).eval()
        counted.peak = 0
        poses = encode_poses(base, frames)
        render_latents(base, unet, "a man", poses, 0, Sampling(steps=2, guidance_scale=4.0))
    assert whole == pytest.approx(counted.peak / 1e9, rel=0.15)
    assert half < 0.75 * whole
