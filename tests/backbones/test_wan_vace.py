"""Wan-based bases: a transformer on clips compressed in time, with a skeleton video as control."""

import copy
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from diffusers import WanVACEPipeline, WanVACETransformer3DModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from animateanywhere.backbones import lora
from animateanywhere.backbones.base import (
    encode_poses,
    encode_text,
    hash_of,
    latent_shape,
    load_base,
    window_length,
)
from animateanywhere.backbones.create_tokenizer import t5_tokenizer
from animateanywhere.backbones.external_lora import add_lora
from animateanywhere.backbones.guided_attention import Region
from animateanywhere.backbones.low_memory import recompute
from animateanywhere.backbones.personal_weights import load_personal, read_metadata, save_personal
from animateanywhere.backbones.spec import Model
from animateanywhere.backbones.vae import (
    decode_latents,
    decoded,
    decoded_pixels,
    encode_frames,
    whole_clip,
)
from animateanywhere.backbones.wan_vace import LENGTH, own_name, predict
from animateanywhere.cli.main import main
from animateanywhere.commands.base_train import base_train
from animateanywhere.commands.bases import bases
from animateanywhere.commands.export import export
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.diffusion.sampling import make_scheduler, sample
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.batch import Batch, Conditions
from animateanywhere.methods.animate_anywhere.prior_preservation import PriorData
from animateanywhere.methods.animate_anywhere.settings import (
    Extras,
    Loss,
    Recipe,
    each_stage,
    load_recipe,
)
from animateanywhere.methods.animate_anywhere.subject_data import Clips, batches

Pictures = Callable[[int], np.ndarray]
CLIP, POSE = EXAMPLES / "reference.mp4", EXAMPLES / "driving.mp4"


def tiny(recipe: Recipe) -> Recipe:
    """The recipe with a few small steps."""
    steps = {"appearance": 4, "motion": 2}
    own = replace(
        recipe.personal, prior_images=2, prior_clips=1, prior_steps=2,
    )  # fmt: skip
    extras = replace(
        recipe.extras, background_images=2, background_clips=1, placements=2, selection_steps=2
    )
    short = each_stage(
        replace(recipe, personal=own, extras=extras),
        lambda s: replace(
            s, steps=steps[s.name], warmup=0, learning_rate=1e-2, lora_rank=2, precision="no",
            frames=min(s.frames, 5), save_every=2, accumulate=1,
        ),
    )  # fmt: skip
    return short


@pytest.fixture(scope="module")
def folder(tiny_wan: Path) -> Path:
    return tiny_wan


def test_a_clip_goes_through_the_vae_as_diffusers_takes_it(folder: Path) -> None:
    base = load_base(folder)
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    pixels = torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 127.5 - 1
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (base.vae.config.latents_mean, base.vae.config.latents_std)
    )
    with torch.no_grad():
        theirs = (base.vae.encode(pixels).latent_dist.mode() - mean) / std
        back = base.vae.decode(theirs * std + mean).sample[0]
    ours = encode_frames(base.vae, frames, clip=True)
    torch.testing.assert_close(ours, theirs[0].transpose(0, 1), atol=1e-5, rtol=1e-5)
    made = decode_latents(base.vae, ours, clip=True)
    wanted = (back.permute(1, 2, 3, 0) * 127.5 + 127.5).round().clamp(0, 255).numpy()
    assert np.abs(made.astype(int) - wanted.astype(int)).max() <= 1
    assert [len(part) for part in decoded(base.vae, ours, clip=True)] == [1, 4, 4]
    alone = encode_frames(base.vae, frames)  # pictures know nothing of each other
    assert len(alone) == 9 and len(decode_latents(base.vae, alone)) == 9
    torch.testing.assert_close(alone[0], ours[0])
    torch.testing.assert_close(alone[5:6], encode_frames(base.vae, frames[5:6], clip=True))


def test_two_decodings_do_not_mix(folder: Path) -> None:
    base = load_base(folder)
    latents = torch.randn(3, *latent_shape(base))
    whole = decode_latents(base.vae, latents, clip=True)
    first = decoded(base.vae, latents, clip=True)
    parts = [next(first)]
    decode_latents(base.vae, torch.randn(2, *latent_shape(base)), clip=True)
    assert np.array_equal(np.concatenate([*parts, *first]), whole)


def test_a_clip_that_ends_within_a_latent_keeps_its_last_frame(folder: Path) -> None:
    base = load_base(folder)
    frames = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), np.uint8)
    longer = np.concatenate([frames, frames[-1:], frames[-1:]])
    short, full = (encode_frames(base.vae, x, clip=True) for x in (frames, longer))
    torch.testing.assert_close(short, full)
    assert [whole_clip(n, 4) for n in (1, 4, 5, 8, 81)] == [1, 1, 5, 5, 81]
    assert window_length(base) == 3


def test_the_vae_runs_in_float32_within_autocast(folder: Path) -> None:
    base = load_base(folder)
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    for clip in (True, False):
        whole = encode_frames(base.vae, frames, clip=clip)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(encode_frames(base.vae, frames, clip=clip), whole)
            shown = list(decoded_pixels(base.vae, whole, clip=clip))
        assert all(map(torch.equal, shown, decoded_pixels(base.vae, whole, clip=clip)))


def test_states_of_prompts_are_cached_and_padded_with_zeros(folder: Path) -> None:
    base = load_base(folder)
    both = encode_text(base, ["a man on a beach", ""])
    assert both.dtype == torch.float32 and both.shape[1] < LENGTH
    assert both[1, 1:].abs().max() == 0  # the empty prompt is its end token
    other = load_base(folder)
    before = [p.dtype for p in other.text_encoder.parameters()]
    with torch.autocast("cpu", torch.bfloat16):  # passes are in half precision, reading is not
        alone = encode_text(other, ["a man on a beach"])
    torch.testing.assert_close(alone[0], both[0], atol=1e-6, rtol=1e-5)
    assert [p.dtype for p in other.text_encoder.parameters()] == before
    base.parts["text_encoder"] = None
    assert torch.equal(encode_text(base, ["a man on a beach"])[0], both[0])


@pytest.mark.parametrize("sampler", ["unipc", "dpm++", "ddim"])
def test_the_same_latents_as_diffusers_own_pipeline(
    pictures: Pictures, folder: Path, sampler: str
) -> None:
    base = load_base(folder)
    drawn, steps, scale = pictures(9), 3, 2.0
    pipe = WanVACEPipeline(
        base.tokenizer, base.text_encoder, base.vae,
        make_scheduler(base.scheduler.config, sampler), base.denoiser,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 3, *latent_shape(base), generator=torch.Generator().manual_seed(7))
    theirs = pipe(
        video=[Image.fromarray(frame) for frame in drawn], prompt="a man on a beach",
        negative_prompt="", height=64, width=64, num_frames=9, num_inference_steps=steps,
        guidance_scale=scale, latents=noise.transpose(1, 2).clone(), output_type="latent",
    ).frames[0]  # fmt: skip
    with torch.no_grad():
        prompted, empty = encode_text(base, ["a man on a beach", ""]).split(1)
    conditions = Conditions(encode_poses(base, drawn, clip=True)[None], prompted, empty)
    network = method.build(base, Loss(guide=False), video=True)
    denoiser = method.denoiser(base.family, network, conditions, scale)
    ours = sample(denoiser, noise, make_scheduler(base.scheduler.config, sampler), steps)[0]
    # Relative to the norm: untrained weights amplify the rounding of single values beyond 1e-4
    assert (ours - theirs.transpose(0, 1)).norm() < 1e-4 * theirs.norm()


def test_the_pose_changes_the_output(pictures: Pictures, folder: Path) -> None:
    base = load_base(folder)
    assert encode_poses(base, pictures(9), clip=True).shape == (3, 72, 8, 8)
    x, text = torch.randn(1, 3, 4, 8, 8), encode_text(base, ["a man"])
    poses = encode_poses(base, pictures(9), clip=True)[None]
    with torch.no_grad():
        one, other = (
            predict(base.denoiser, x, torch.tensor([500]), p, text) for p in (poses, poses.flip(1))
        )
    assert (one - other).abs().max() > 1e-4


def region(rows: int, frames: int) -> Region:
    """Hard masks that agree within patches of two by two latents, and a few words."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(rows, frames, 1, 4, 4, generator=generator).sign()
    mask = coarse.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return Region(mask, torch.randn(rows, 10, generator=generator).sign())


def test_guided_attention_equals_a_dense_bias(folder: Path) -> None:
    """By the whole transformer, self- and cross-attention, against a bias written out."""
    base, gamma = load_base(folder), 0.1
    x, poses = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 72, 8, 8)
    times, text, regions = torch.tensor([300, 800]), torch.randn(2, 10, 32), region(2, 3)
    with torch.no_grad():
        plain = predict(base.denoiser, x, times, poses, text)
        method.build(base, Loss(gamma=gamma), video=True)
        assert torch.equal(predict(base.denoiser, x, times, poses, text), plain)
        ours = predict(base.denoiser, x, times, poses, text, regions)
        own = F.avg_pool2d(regions.mask.flatten(0, 1), 2).reshape(2, -1)
        words = F.pad(regions.tokens, (0, LENGTH - 10))

        def dense(q: Any, k: Any, v: Any, m_q: Any, m_k: Any, gamma: float) -> torch.Tensor:
            keys = own if k.shape[2] == q.shape[2] else words
            bias = -math.log(gamma) / 2 * own[:, None, :, None] * keys[:, None, None, :]
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("animateanywhere.backbones.wan_vace.guided_attention", dense)
            theirs = predict(base.denoiser, x, times, poses, text, regions)
    assert (ours - plain).abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_rows_without_a_person_are_plain(folder: Path) -> None:
    base = load_base(folder)
    x, poses = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 72, 8, 8)
    times, text = torch.tensor([300, 800]), torch.randn(2, 10, 32)
    none = region(2, 3)
    none = Region(none.mask * torch.tensor([1.0, 0.0])[:, None, None, None, None],
                  none.tokens * torch.tensor([1.0, 0.0])[:, None])  # fmt: skip
    with torch.no_grad():
        plain = predict(base.denoiser, x, times, poses, text)
        method.build(base, Loss(), video=True)
        some = predict(base.denoiser, x, times, poses, text, none)
    torch.testing.assert_close(some[1], plain[1], atol=1e-5, rtol=1e-5)
    assert (some[0] - plain[0]).abs().max() > 1e-4


def test_a_person_is_learned_and_generated(folder: Path, place: Path) -> None:
    weights = personalize(
        CLIP,
        "sks",
        PersonalizeOptions(
            class_word="man",
            base=str(folder),
            scene="in a room",
            recipe=tiny(load_recipe("personalize-wan")),
        ),
    )
    about = read_metadata(weights)
    assert about["base_hash"] == hash_of(folder) and "motion" in about["selected_steps"]
    names = set(load_file(weights))
    assert names and all(name.startswith("transformer.blocks.") for name in names)
    assert not any("vace" in name or "token_embedding" in name for name in names)
    assert (weights.parent / "background_augmentation.png").is_file()
    made = generate(
        "sks man on a beach", POSE, GenerateOptions(frames=6, contact_sheet=place / "sheet.png")
    )
    again = generate("sks man on a beach", POSE, GenerateOptions(frames=6, out=place / "again.mp4"))
    assert made.read_bytes() == again.read_bytes()
    with av.open(str(made)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 6  # though latents hold 9
    settings = json.loads(made.with_suffix(".json").read_text())
    assert settings["sampler"] == "unipc" and settings["frames"] == 6
    alone = generate(
        "a man on a beach", POSE, GenerateOptions(base=str(folder), frames=6, out=place / "b.mp4")
    )
    assert alone.read_bytes() != made.read_bytes()


def test_long_videos_go_in_windows(folder: Path, place: Path) -> None:
    made = generate(
        "a man on a beach",
        POSE,
        GenerateOptions(base=str(folder), frames=20, out=place / "long.mp4"),
    )
    with av.open(str(made)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 20


def test_recipes_that_train_the_token_are_refused(folder: Path, place: Path) -> None:
    recipe = each_stage(
        tiny(load_recipe("personalize-wan")),
        lambda stage: replace(stage, train=(*stage.train, "token_embedding")),
    )
    for wrong, says in ((recipe, "the token"), (load_recipe("personalize"), "the token"),
                        (load_recipe("personalize-tiny"), "the token")):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            personalize(
                CLIP, "sks", PersonalizeOptions(class_word="man", base=str(folder), recipe=wrong)
            )
    fits = replace(load_recipe("personalize-wan"), extras=Extras(fit_vae_steps=3))
    with pytest.raises(UsageError, match="fits the VAE"):
        personalize(
            CLIP, "sks", PersonalizeOptions(class_word="man", base=str(folder), recipe=fits)
        )
    assert not (place / "runs").exists()  # refused before any work


def test_a_recipe_of_wans_kind_is_not_for_a_unet(tiny_base: Path, place: Path) -> None:
    with pytest.raises(UsageError, match="not for base tiny"):
        personalize(
            CLIP,
            "sks",
            PersonalizeOptions(class_word="man", base=str(tiny_base), recipe="personalize-wan"),
        )


def test_a_base_without_a_part_is_reported_at_once(folder: Path, place: Path) -> None:
    """And not looked for at a hub under the folder's name."""
    for part in ("text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(folder, place / "broken" / part)
        shutil.rmtree(place / "broken" / part / part)
        with pytest.raises(UsageError, match=f"it has no folder {part}"):
            load_base(place / "broken" / part)


def test_public_parts_are_gathered_into_a_base(folder: Path, place: Path, wan_model: Model) -> None:
    """As recipes/wan-vace-1.3b.toml does, from folders in the place of a hub."""
    recipe = load_recipe("wan-vace-1.3b")
    parts: dict[str, Any] = {n: {"from": str(folder)} for n in ("text_encoder", "transformer")}
    vae = {"_class_name": "AutoencoderKLWan", "from": str(folder)}
    small = replace(wan_model, vae=vae, scheduler=recipe.model.scheduler, **parts)
    out = base_train(replace(recipe, model=small))
    assert out == Path("runs/bases/wan-vace-1.3b")
    base = load_base("wan-vace-1.3b")
    assert isinstance(base.denoiser, WanVACETransformer3DModel)
    assert base.tokenizer.model_max_length == LENGTH
    stored = load_file(out / "transformer" / "diffusion_pytorch_model.safetensors")
    assert stored["blocks.0.attn1.to_q.weight"].dtype == torch.bfloat16
    row = {row.name: row for row in bases()}["wan-vace-1.3b"]
    assert row.ready.startswith("runs/bases/wan-vace-1.3b") and row.license == "apache-2.0"
    generate("a man", POSE, GenerateOptions(base="wan-vace-1.3b", frames=4, out=place / "a.mp4"))


def original(name: str) -> str:
    """Wan's own name of a parameter of diffusers' transformer."""
    if name == "scale_shift_table":
        return "head.modulation"
    layer, _, kind = name.rpartition(".")
    if layer.endswith("norm2"):
        layer = layer.replace("norm2", "norm3")
    return f"{own_name(layer)}.{kind}".replace("scale_shift_table", "modulation")


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_transformer_in_one_file(
    folder: Path, place: Path, prefix: str, wan_model: Model
) -> None:
    moved: dict[str, torch.Tensor] = {}
    network = copy.deepcopy(load_base(folder).denoiser)
    for name, parameter in network.named_parameters():
        parameter.data += 1
        moved[prefix + original(name)] = parameter.data.clone()
    save_file(moved, place / "fine.safetensors")
    recipe = load_recipe("wan-vace-1.3b")
    parts: dict[str, Any] = {n: {"from": str(folder)} for n in ("text_encoder", "transformer")}
    vae = {"_class_name": "AutoencoderKLWan", "from": str(folder)}
    small = replace(wan_model, vae=vae, scheduler=recipe.model.scheduler, **parts)
    out = base_train(replace(recipe, model=small), checkpoint=place / "fine.safetensors")
    assert out == Path("runs/bases/fine")
    found = load_base("fine").denoiser
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), parameter.bfloat16().float())
    save_file({"a": torch.zeros(1)}, place / "other.safetensors")
    with pytest.raises(UsageError, match="not a transformer of Wan"):
        base_train(replace(recipe, model=small), checkpoint=place / "other.safetensors")


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA on every layer of the main blocks that can take one, the ranks of which differ."""
    base, tensors = load_base(folder), {}
    generator = torch.Generator().manual_seed(3)
    blocks = [
        (n, m) for n, m in base.denoiser.named_modules()
        if n.startswith("blocks.") and isinstance(m, torch.nn.Linear)
    ]  # fmt: skip
    for number, (name, layer) in enumerate(blocks):
        (out, into), rank = layer.weight.shape, 2 + number % 2
        a, b = (
            torch.randn(rank, into, generator=generator),
            torch.randn(out, rank, generator=generator),
        )
        tensors[f"transformer.{name}{lora.A}"] = 0.2 * a
        tensors[f"transformer.{name}{lora.B}"] = 0.2 * b
    path = tmp_path_factory.mktemp("adapter") / "personal.safetensors"
    about = {
        "token": "sks", "class_word": "man", "base": "wan", "base_folder": str(folder),
        "base_hash": base.hash, "recipe": "{}", "version": "1", "appearance": "",
    }  # fmt: skip
    save_personal(path, tensors, about)
    return path


def said(transformer: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    x, poses = (torch.randn(2, 3, c, 8, 8, generator=generator) for c in (4, 72))
    text = torch.randn(2, 10, 32, generator=generator)
    with torch.no_grad():
        return predict(transformer, x, torch.tensor([10, 700]), poses, text)


def test_other_tools_load_what_is_exported(adapter: Path, folder: Path) -> None:
    """diffusers' own loader takes its folder and Wan's names, and the outputs are the same."""
    ours = load_base(folder)
    load_personal(adapter, ours)
    wanted = said(ours.denoiser)
    assert (said(load_base(folder).denoiser) - wanted).abs().max() > 1e-2
    files = [
        export(adapter, "diffusers") / "pytorch_lora_weights.safetensors",
        export(adapter, "kohya"),
        export(adapter, "comfyui") / "loras" / "sks-man.safetensors",
    ]
    for file in files:
        base = load_base(folder)
        pipe = WanVACEPipeline(
            base.tokenizer, base.text_encoder, base.vae, base.scheduler, base.denoiser
        )
        pipe.load_lora_weights(str(file.parent), weight_name=file.name)
        torch.testing.assert_close(said(pipe.transformer), wanted, atol=1e-6, rtol=1e-5)
        pipe.fuse_lora()  # merged equals injected
        torch.testing.assert_close(said(pipe.transformer), wanted, atol=1e-6, rtol=1e-5)
    assert not (adapter.parent / "sks.safetensors").exists()  # no token was learned


def test_another_tools_lora_is_merged(adapter: Path, folder: Path) -> None:
    ours, theirs = load_base(folder), load_base(folder)
    load_personal(adapter, ours)
    add_lora(theirs, export(adapter, "kohya"))
    torch.testing.assert_close(said(theirs.denoiser), said(ours.denoiser))


def test_lcm_is_not_for_a_flow(folder: Path, place: Path) -> None:
    with pytest.raises(UsageError, match="unipc"):
        generate("a man", POSE, GenerateOptions(base=str(folder), sampler="lcm"))
    assert not (place / "runs").exists()


def test_row_by_row_is_the_same_step(folder: Path) -> None:
    """Also where blocks compute their activations again, each with its own row's region."""
    found = []
    for apart in (False, True):
        base = load_base(folder)
        network = method.build(base, Loss(), video=True).requires_grad_(True)
        if apart:
            recompute(network, base.family)
        generator = torch.Generator().manual_seed(1)
        x, poses = (torch.randn(2, 3, c, 8, 8, generator=generator) for c in (4, 72))
        own = region(2, 3)
        batch = Batch(
            x, poses, torch.randn(2, 10, 32, generator=generator), own.mask.clamp_min(0),
            own.tokens, torch.tensor([False, True]),
        )  # fmt: skip
        same = torch.Generator().manual_seed(2)
        value, _ = method.loss(
            base.family, network, batch, same, base.scheduler, Loss(), row_by_row=apart
        )
        value.backward()
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        found.append([value.detach(), *grads])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_flow_is_learned(folder: Path) -> None:
    """Every weight on one clip, noise and time: the loss falls far."""
    base = load_base(folder)
    network = method.build(base, Loss(), video=True).requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, 4, 8, 8, generator=generator)
    mask = torch.zeros(1, 3, 1, 8, 8)
    mask[..., 2:, 2:6] = 1
    batch = Batch(
        x, torch.randn(1, 3, 72, 8, 8, generator=generator),
        torch.randn(1, 10, 32, generator=generator), mask, region(1, 3).tokens,
        torch.tensor([False]),
    )  # fmt: skip
    optimizer, values = torch.optim.AdamW(network.parameters(), lr=3e-3), []
    for _ in range(60):
        same = torch.Generator().manual_seed(2)
        value, _ = method.loss(base.family, network, batch, same, base.scheduler, Loss())
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(float(value.detach()))
    assert values[-1] < 0.3 * values[0]


def test_names_and_metadata_of_wan(adapter: Path, folder: Path) -> None:
    """By the map that ComfyUI builds: each weight under diffusion_model., by Wan's own names."""
    file = export(adapter, "kohya")
    known = {
        f"diffusion_model.{original(name)}": value.shape
        for name, value in load_base(folder).denoiser.state_dict().items()
    }
    tensors = load_file(file)
    for name, tensor in tensors.items():
        layer, _, kind = name.partition(".lora_") if ".lora_" in name else name.partition(".alp")
        shape = known[f"{layer}.weight"]
        if kind == "down.weight":
            assert tensor.shape[1:] == shape[1:]
        elif kind == "up.weight":
            assert tensor.shape[0] == shape[0]
        else:
            assert kind == "ha" and float(tensor) == 3.0
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    assert about["modelspec.architecture"] == "wan2.1/lora"
    assert about["modelspec.prediction_type"] == "flow"
    assert about["ss_network_dim"] == "3" and about["modelspec.trigger_phrase"] == "sks man"


def test_a_base_with_the_person_in_it(adapter: Path, folder: Path) -> None:
    out = export(adapter, "base")
    ours = load_base(folder)
    load_personal(adapter, ours)
    torch.testing.assert_close(said(load_base(out).denoiser), said(ours.denoiser))


def test_it_is_taken_as_it_is(folder: Path, place: Path, wan_model: Model) -> None:
    recipe = load_recipe("tiny")
    with pytest.raises(UsageError, match="needs no training"):
        base_train(replace(recipe, model=wan_model))


def test_rows_begin_where_their_clip_does(folder: Path, place: Path) -> None:
    """A clip too short for the stage: its one latent, and the first of others'."""
    base = load_base(folder)
    few = Clips(
        torch.zeros(1, 1, 4, 8, 8), torch.zeros(1, 1, 72, 8, 8), torch.zeros(1, 1, 1, 8, 8),
        ["a sks man"], torch.zeros(1, 512),
    )  # fmt: skip
    latents = torch.arange(3.0)[None, :, None, None, None].expand(2, -1, 4, 8, 8)
    other = PriorData(latents, torch.zeros(2, 3, 72, 8, 8), ["a man", "a woman"])
    recipe = load_recipe("personalize-wan")
    draw_rows = batches(base, recipe.stages("motion")[0], few, other, recipe, False)
    for seed in range(8):
        batch = draw_rows(torch.Generator().manual_seed(seed))
        assert batch.latents.shape == (2, 1, 4, 8, 8) and (batch.latents == 0).all()


def test_it_is_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bases"]) == 0
    assert "wan-vace-1.3b" in capsys.readouterr().err


def test_a_new_tokenizer_is_the_same_each_time() -> None:
    """The trainer draws the order of pieces of equal scores, and the scores of unseen letters."""
    captions = ["a man on a beach", "a woman in a room walks", "a sks man in the snow"] * 20
    first, *others = (
        t5_tokenizer(captions, 800, 16).backend_tokenizer.to_str()  # type: ignore[attr-defined]
        for _ in range(4)
    )
    assert others == [first] * 3
    ids = t5_tokenizer(captions, 800, 16)("a man in the room").input_ids
    assert t5_tokenizer(captions, 800, 16).decode(ids, skip_special_tokens=True) == (
        "a man in the room"
    )
