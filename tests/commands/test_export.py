"""Personal weights in other tools' formats, loaded back by diffusers' own loaders."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from animateanywhere.backbones import lora
from animateanywhere.backbones.base import Base, encode_text, load_base
from animateanywhere.backbones.external_lora import add_lora
from animateanywhere.backbones.low_rank import factors
from animateanywhere.backbones.personal_weights import EMBEDDING, load_personal, save_personal
from animateanywhere.cli import main
from animateanywhere.commands.export import export
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.media import video

POSE = EXAMPLES / "driving.mp4"
GENERATOR = torch.Generator().manual_seed(3)


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=GENERATOR)


def weights_of(base: Base, folder: Path, tensors: dict[str, Tensor], **more: str) -> Path:
    path = folder / "personal.safetensors"
    about = {
        "token": "sks", "class_word": "man", "base": "tiny", "base_folder": str(base.folder),
        "base_hash": base.hash, "recipe": "{}", "version": "1", "appearance": "in a red shirt",
    }  # fmt: skip
    rows = base.text_encoder.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
    save_personal(path, tensors | {EMBEDDING: noise(1, rows)}, about | more)
    return path


def layers(base: Base) -> dict[str, torch.nn.Module]:
    """Every layer of the image UNet that LoRA can be added to."""
    return {n: m for n, m in base.denoiser.named_modules() if lora._takes(n, m)}


@pytest.fixture
def adapter(tiny_base: Path, tmp_path: Path) -> Path:
    """LoRA on every layer of the UNet, the ranks of which differ."""
    base = load_base(tiny_base)
    tensors = {}
    for number, (name, layer) in enumerate(layers(base).items()):
        shape, rank = layer.weight.shape, 2 + number % 2
        ones = (1,) * (len(shape) - 2)
        tensors[f"unet.{name}{lora.A}"] = noise(rank, *shape[1:])
        tensors[f"unet.{name}{lora.B}"] = noise(shape[0], rank, *ones)
    return weights_of(base, tmp_path, tensors)


def said(unet: Any, text: Tensor) -> Tensor:
    """In double precision: single rounds by more than 1e-6 on some processors."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, unet.config.in_channels, 8, 8, generator=generator).double()
    with torch.no_grad():
        unet = copy.deepcopy(unet).double().eval()
        return unet(x, torch.tensor([10, 700]), text.double().expand(2, -1, -1)).sample


def pipeline(base: Base, unet: Any) -> StableDiffusionPipeline:
    """diffusers' own, of the base's parts; the VAE is not asked."""
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    return StableDiffusionPipeline(
        vae, base.text_encoder, base.tokenizer, unet, DDIMScheduler(), None, None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )  # fmt: skip


def narrow(unet: Any) -> UNet2DConditionModel:
    """The same UNet without the pose's channels, as other tools have it."""
    channels = unet.config.in_channels // 2
    other = UNet2DConditionModel.from_config(unet.config, in_channels=channels)
    state = dict(unet.state_dict())
    state["conv_in.weight"] = state["conv_in.weight"][:, :channels]
    other.load_state_dict(state)
    return other


def test_diffusers_loads_its_folder(adapter: Path, tiny_base: Path) -> None:
    out = export(adapter, "diffusers")
    assert out == adapter.with_name("sks-diffusers")
    ours, theirs = load_base(tiny_base), load_base(tiny_base)
    load_personal(adapter, ours)
    pipe = pipeline(theirs, theirs.denoiser)
    pipe.load_lora_weights(out, weight_name="pytorch_lora_weights.safetensors")
    pipe.load_textual_inversion(out, weight_name="learned_embeds.safetensors")
    text = encode_text(ours, ["a sks man"])
    torch.testing.assert_close(encode_text(theirs, ["a sks man"]), text, atol=1e-6, rtol=0)
    wanted = said(ours.denoiser, text)
    torch.testing.assert_close(said(pipe.unet, text), wanted, atol=1e-6, rtol=1e-5)
    pipe.fuse_lora()  # merged equals injected
    torch.testing.assert_close(said(pipe.unet, text), wanted, atol=1e-6, rtol=1e-5)
    assert (said(load_base(tiny_base).denoiser, text) - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["kohya", "comfyui"])
def test_diffusers_loads_kohyas_names(adapter: Path, tiny_base: Path, kind: Any) -> None:
    out = export(adapter, kind)
    file = out if kind == "kohya" else out / "loras" / "sks-man.safetensors"
    ours, theirs = load_base(tiny_base), load_base(tiny_base)
    load_personal(adapter, ours)
    text = encode_text(theirs, ["a man"])
    wanted = said(narrow(ours.denoiser), text)
    pipe = pipeline(theirs, narrow(theirs.denoiser))
    pipe.load_lora_weights(file)
    torch.testing.assert_close(said(pipe.unet, text), wanted, atol=1e-6, rtol=1e-5)
    beside = adapter.parent if kind == "kohya" else out / "embeddings"
    embedding = load_file(beside / "sks.safetensors")["emb_params"]
    torch.testing.assert_close(embedding, load_file(adapter)[EMBEDDING])


def test_another_tools_lora_is_merged(adapter: Path, tiny_base: Path) -> None:
    """Our own, under kohya's names, is what `--lora` takes; the pose's channels stay."""
    ours, theirs, plain = (load_base(tiny_base) for _ in range(3))
    load_personal(adapter, ours)
    file = export(adapter, "kohya")
    add_lora(theirs, file)
    for name, wanted in ours.denoiser.named_parameters():
        found = theirs.denoiser.get_parameter(name)
        if name == "conv_in.weight":
            half = wanted.shape[1] // 2
            assert torch.equal(found[:, half:], plain.denoiser.get_parameter(name)[:, half:])
            found, wanted = found[:, :half], wanted[:, :half]
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    some = load_base(tiny_base)
    add_lora(some, file, 0.5)
    whole, half_way, none = (b.denoiser.conv_out.weight for b in (theirs, some, plain))
    torch.testing.assert_close(half_way, (whole + none) / 2, atol=1e-6, rtol=1e-5)


def test_few_steps_by_lcm(
    adapter: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = export(adapter, "kohya")
    command = [
        "generate", "a man", "--pose", str(POSE), "--base", str(tiny_base), "--frames", "3",
        "--lora", f"{file}:0.5", "--sampler", "lcm", "--steps", "2", "--guidance", "1",
    ]  # fmt: skip
    assert main.main([*command, "--out", "a.mp4"]) == 0
    assert main.main([*command, "--out", "b.mp4"]) == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    settings = json.loads(Path("a.json").read_text())
    assert settings["lora"][0][1] == 0.5 and settings["sampler"] == "lcm"


def test_a_file_that_is_no_lora_of_the_base(
    adapter: Path, tiny_base: Path, tiny_wan: Path, tmp_path: Path
) -> None:
    nothing, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    nothing.write_bytes(b"nothing")
    save_file({"a.b": torch.zeros(2, 2)}, other)
    kohya = export(adapter, "kohya")
    for folder, file in (
        (tiny_base, nothing), (tiny_base, other), (tiny_wan, other), (tiny_wan, kohya),
        (tiny_base, tmp_path / "none.safetensors"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=file.name) as caught:
            add_lora(load_base(folder), file)
        assert "\n" not in str(caught.value)


def test_names_and_metadata_are_those_of_sd_scripts(adapter: Path, tiny_base: Path) -> None:
    """By the map that ComfyUI builds: each weight of the UNet under lora_unet_, dots as lines."""
    base = load_base(tiny_base)
    unet = narrow(base.denoiser)
    known = {
        f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}": value.shape
        for name, value in unet.state_dict().items()
        if name.endswith(".weight")
    }
    file = export(adapter, "kohya")
    tensors = load_file(file)
    found = {name.split(".")[0] for name in tensors}
    assert found == {f"lora_unet_{name.replace('.', '_')}" for name in layers(base)}
    for name in found:
        down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
        assert lora.shape(down, up) == tuple(known[name])
        assert tensors[f"{name}.alpha"] == len(down)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    assert about["modelspec.sai_model_spec"] == "1.0.0"
    assert about["modelspec.architecture"] == "animateanywhere-tiny/lora"
    assert about["modelspec.trigger_phrase"] == "sks man"
    assert about["modelspec.usage_hint"] == "sks man in a red shirt on a beach"
    assert about["ss_network_module"] == "networks.lora"
    assert about["ss_network_dim"] == "3"
    assert json.loads(about["ss_training_comment"])["token"] == "sks"


def test_whole_weights_come_to_low_rank(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, changed = load_base(tiny_base), {}
    for name in layers(base):
        weight = base.denoiser.get_parameter(f"{name}.weight").clone()
        changed[f"unet.{name}.weight"] = weight + noise(*weight.shape)
    inner = "encoder.layers.0.self_attn.q_proj.weight"
    weight = base.text_encoder.get_parameter(inner).clone()
    changed[f"text_encoder.{inner}"] = weight + noise(*weight.shape)
    path = weights_of(base, tmp_path, changed)
    load_personal(path, base)
    text = encode_text(base, ["a man"])
    wanted, errors = said(base.denoiser, text), []
    key = "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"
    assert key in load_file(export(path, "kohya"))
    for rank in (512, 8, 1):
        theirs = load_base(tiny_base)
        pipe = pipeline(theirs, theirs.denoiser)
        pipe.load_lora_weights(export(path, "diffusers", rank=rank))
        text = encode_text(theirs, ["a man"])
        errors.append(float((said(pipe.unet, text) - wanted).abs().mean()))
    assert errors[0] < 1e-5 < errors[1] < errors[2]
    words = capsys.readouterr().err
    assert "rank 512 keeps 100.0%" in " ".join(words.split())
    assert "give a higher --rank" in " ".join(words.split())


def test_temporal_layers_are_left_out_of_images(tiny_base: Path, tmp_path: Path) -> None:
    base = load_base(tiny_base)
    name = next(n for n, _ in base.parts["motion_adapter"].named_parameters() if "attn1.to_q" in n)
    layer = f"unet.{name.removesuffix('.weight')}"
    width = base.parts["motion_adapter"].get_parameter(name).shape[0]
    own = {layer + lora.A: noise(2, width), layer + lora.B: noise(width, 2)}
    path = weights_of(base, tmp_path, own)
    assert (
        load_file(export(path, "diffusers") / "pytorch_lora_weights.safetensors").keys()
        == own.keys()
    )
    out = export(path, "comfyui")
    assert not (out / "loras").exists()
    assert (out / "embeddings" / "sks.safetensors").is_file()


def test_a_base_with_the_person_in_it(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = export(adapter, "base", tmp_path / "a base")
    options: dict[str, Any] = {"frames": 4, "steps": 2, "fit": "none", "appearance": ""}
    first = generate(
        "sks man", POSE, GenerateOptions(weights=adapter, out=tmp_path / "1.mp4", **options)
    )
    second = generate(
        "sks man", POSE, GenerateOptions(base=str(out), out=tmp_path / "2.mp4", **options)
    )
    np.testing.assert_array_equal(video.read(first).frames, video.read(second).frames)


def test_unusable_outputs_are_refused(adapter: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter.txt").write_text("dear")
    for kind, out in (
        ("diffusers", own), ("base", own), ("kohya", own / "x.ckpt"), ("kohya", adapter),
        ("diffusers", own / "letter.txt"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="out|file"):
            export(adapter, kind, out)  # type: ignore[arg-type]
    assert (own / "letter.txt").read_text() == "dear"


def test_weights_of_another_base_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    path = weights_of(load_base(tiny_base), tmp_path, {}, base_hash="0" * 64)
    result = CliRunner().invoke(main.app, ["export", str(path), "--format", "kohya"])
    assert isinstance(result.exception, UsageError)
    assert "learned on base tiny" in str(result.exception)
    assert main.main(["export", str(path), "--format", "webui"]) == 2
    assert main.main(["export", str(tmp_path), "--format", "kohya"]) == 2


# What nodes of ComfyUI and AnimateDiff-Evolved take from others, by name of the input, and give
NODES: dict[str, tuple[dict[str, str], list[str]]] = {
    "CheckpointLoaderSimple": ({}, ["MODEL", "CLIP", "VAE"]),
    "LoraLoader": ({"model": "MODEL", "clip": "CLIP"}, ["MODEL", "CLIP"]),
    "CLIPTextEncode": ({"clip": "CLIP"}, ["CONDITIONING"]),
    "LoadImage": ({}, ["IMAGE", "MASK"]),
    "ControlNetLoader": ({}, ["CONTROL_NET"]),
    "ControlNetApplyAdvanced": (
        {"positive": "CONDITIONING", "negative": "CONDITIONING", "control_net": "CONTROL_NET",
         "image": "IMAGE"}, ["CONDITIONING", "CONDITIONING"],
    ),
    "EmptyLatentImage": ({}, ["LATENT"]),
    "KSampler": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING",
         "latent_image": "LATENT"}, ["LATENT"],
    ),
    "LoraLoaderModelOnly": ({"model": "MODEL"}, ["MODEL"]),
    "LoadVideo": ({}, ["VIDEO"]),
    "GetVideoComponents": ({"video": "VIDEO"}, ["IMAGE", "AUDIO", "FLOAT"]),
    "CreateVideo": ({"images": "IMAGE"}, ["VIDEO"]),
    "SaveVideo": ({"video": "VIDEO"}, []),
    "ADE_LoadAnimateDiffModel": ({}, ["MOTION_MODEL_ADE"]),
    "ADE_ApplyAnimateDiffModelSimple": ({"motion_model": "MOTION_MODEL_ADE"}, ["M_MODELS"]),
    "ADE_UseEvolvedSampling": ({"model": "MODEL", "m_models": "M_MODELS"}, ["MODEL"]),
    "UNETLoader": ({}, ["MODEL"]), "CLIPLoader": ({}, ["CLIP"]), "VAELoader": ({}, ["VAE"]),
    "ModelSamplingSD3": ({"model": "MODEL"}, ["MODEL"]),
    "WanVaceToVideo": (
        {"positive": "CONDITIONING", "negative": "CONDITIONING", "vae": "VAE",
         "control_video": "IMAGE"}, ["CONDITIONING", "CONDITIONING", "LATENT", "INT"],
    ),
    "TrimVideoLatent": ({"samples": "LATENT", "trim_amount": "INT"}, ["LATENT"]),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, ["IMAGE"]),
    "SaveImage": ({"images": "IMAGE"}, []),
}  # fmt: skip


def connected(nodes: dict[str, Any]) -> None:
    for node in nodes.values():
        takes, _ = NODES[node["class_type"]]
        links = {n: value for n, value in node["inputs"].items() if isinstance(value, list)}
        assert links.keys() == takes.keys()
        for name, (source, place) in links.items():
            assert NODES[nodes[source]["class_type"]][1][place] == takes[name]


@pytest.mark.parametrize(
    "name", ["comfyui_workflow.json", "comfyui_animatediff.json", "comfyui_wan_vace.json"]
)
def test_workflows_for_comfyui_are_connected(name: str) -> None:
    connected(json.loads((EXAMPLES / name).read_text()))


def test_workflows_are_filled_in(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = export(adapter, "comfyui")
    said = " ".join(capsys.readouterr().err.split())
    assert 'use in prompts: "embedding:sks man in a red shirt on a beach"' in said
    assert "no other tool can run base tiny" in said
    files = sorted((out / "workflows").iterdir())
    assert [file.name for file in files] == ["sks-man-animatediff.json", "sks-man-picture.json"]
    for file in files:
        nodes = json.loads(file.read_text())
        connected(nodes)
        kinds = {node["class_type"]: node["inputs"] for node in nodes.values()}
        assert (out / "loras" / kinds["LoraLoader"]["lora_name"]).is_file()
        texts = [n["inputs"]["text"] for n in nodes.values() if n["class_type"] == "CLIPTextEncode"]
        assert texts == ["embedding:sks man in a red shirt on a beach", ""]
    assert (out / "embeddings" / "sks.safetensors").is_file()


def test_lora_is_written_without_reading_the_base(
    adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Gigabytes for a public one. Its hash is in its base.toml."""
    lacking = tmp_path / "lacking"
    shutil.copytree(tiny_base, lacking)
    for file in lacking.rglob("*.safetensors"):
        file.write_bytes(b"")
    for kind in ("kohya", "diffusers"):
        whole = export(adapter, kind, tmp_path / f"a{_SUFFIX[kind]}", base=str(tiny_base))  # type: ignore[arg-type]
        other = export(adapter, kind, tmp_path / f"b{_SUFFIX[kind]}", base=str(lacking))  # type: ignore[arg-type]
        name = "" if kind == "kohya" else "pytorch_lora_weights.safetensors"
        first, second = load_file(whole / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    toml = lacking / "base.toml"  # of other weights: then they are read
    toml.write_text(toml.read_text().replace(load_base(tiny_base).hash, "0" * 64))
    with pytest.raises(UsageError, match="learned on base tiny"):
        export(adapter, "kohya", tmp_path / "c.safetensors", base=str(lacking))


_SUFFIX = {"kohya": ".safetensors", "diffusers": ""}


@pytest.mark.parametrize("shape", [(160, 300), (300, 40, 3, 3)])
def test_the_quick_approximation_keeps_what_the_best_one_keeps(shape: tuple[int, ...]) -> None:
    """Of changes as training makes them: few directions, and noise in all others."""
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(shape, generator=generator).flatten(1)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    change = (u * (s * torch.linspace(0, 8, len(s)).neg().exp())) @ v
    change = change + 1e-3 * torch.randn(change.shape, generator=generator)
    a, b, kept = factors(change.view(shape), 16)
    best = float(torch.linalg.svdvals(change)[:16].square().sum())
    assert 0.999 * best < kept < 1.001 * best
    lost = float((change - lora.product(a, b).flatten(1)).square().sum())
    assert lost == pytest.approx(float(change.square().sum()) - kept, rel=1e-3)
    again = factors(change.view(shape), 16)
    assert torch.equal(a, again[0]) and torch.equal(b, again[1])
