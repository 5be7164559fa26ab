"""LoRA: nothing at first, exact when merged, small on disk, and read by others."""

import json
import re
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from animateanywhere.backbones import lora
from animateanywhere.backbones.base import Base, load_base
from animateanywhere.backbones.guided_attention import Region
from animateanywhere.backbones.personal_weights import (
    EMBEDDING,
    load_personal,
    read_metadata,
    save_personal,
)
from animateanywhere.backbones.sd_unet import predict
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.settings import Loss, Recipe, load_recipe

CLIP, POSE = EXAMPLES / "reference.mp4", EXAMPLES / "driving.mp4"
ALL, CROSS = (r"^unet\.",), (r"^unet\..*attentions\..*attn2\.",)


def out(unet: Any, frames: int = 1) -> Tensor:
    """What a UNet of the tiny base says under guided attention."""
    generator = torch.Generator().manual_seed(5)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(unet.dtype)

    x, poses, text = noise(2, frames, 4, 8, 8), noise(2, frames, 4, 8, 8), noise(2, 48, 32)
    region = Region(noise(2, frames, 1, 8, 8).clamp(-1, 1), noise(2, 48).sign())
    with torch.no_grad():
        return predict(unet.eval(), x, torch.tensor([10, 700]), poses, text, region)


def adapt(unet: Any, patterns: tuple[str, ...] = ALL, rank: int = 3) -> tuple[str, ...]:
    return lora.inject(nn.ModuleDict({"unet": unet}), rank, patterns)


def move(unet: Any) -> None:
    """Give B a value, as training would."""
    generator = torch.Generator().manual_seed(6)
    for name, factor in unet.named_parameters():
        if ".lora_B." in name:
            factor.data = 0.1 * torch.randn(factor.shape, generator=generator).to(factor)


@pytest.mark.parametrize("video", [False, True], ids=["image", "video"])
def test_an_adapter_is_nothing_at_first_and_exact_when_merged(tiny_base: Path, video: bool) -> None:
    unet: Any = method.build(load_base(tiny_base), Loss(), video).double()  # exact on any machine
    frames = 4 if video else 1
    names, plain = [name for name, _ in unet.named_parameters()], out(unet, frames)
    adapt(unet)
    assert torch.equal(out(unet, frames), plain)
    move(unet)
    moved = out(unet, frames)
    assert (moved - plain).abs().max() > 0.01
    factors = lora.merge(unet)
    assert [name for name, _ in unet.named_parameters()] == names
    torch.testing.assert_close(out(unet, frames), moved, atol=1e-9, rtol=1e-9)
    fresh: Any = method.build(load_base(tiny_base), Loss(), video)
    for name, pair in lora.split(factors)[1].items():  # linear layers and convolutions
        weight = fresh.get_parameter(name.removeprefix("unet.")).data
        merged = unet.get_parameter(name[5:])
        assert torch.allclose(weight + lora.product(*pair), merged.float(), atol=1e-6)


def test_what_the_patterns_find_gets_an_adapter_and_nothing_else(tiny_base: Path) -> None:
    unet: Any = load_base(tiny_base).denoiser
    parts = nn.ModuleDict({"unet": unet, "text_encoder": nn.Embedding(3, 4)})
    names = lora.inject(parts, 2, (*CROSS, r"conv_in\.", r"text_encoder"))
    layers = {re.sub(r"\.lora_.*", "", name) for name in names}
    assert layers - {"unet.conv_in", "text_encoder.weight"} == {
        f"unet.{name}"
        for name, layer in load_base(tiny_base).denoiser.named_modules()
        if ".attn2." in name and isinstance(layer, nn.Linear)
    }
    assert set(names) <= {name for name, _ in parts.named_parameters()}
    assert all(dict(parts.named_parameters())[n].shape[0] == 2 for n in names if "lora_A" in n)


def test_the_same_seed_gives_the_same_adapter(tiny_base: Path) -> None:
    torch.manual_seed(1)
    first, second = load_base(tiny_base).denoiser, load_base(tiny_base).denoiser
    before = torch.get_rng_state()
    adapt(first)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    adapt(second)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_patterns_that_find_no_layer_are_refused(tiny_base: Path) -> None:
    parts = nn.ModuleDict(
        {"unet": load_base(tiny_base).denoiser, "text_encoder": nn.Embedding(3, 4)}
    )
    with pytest.raises(UsageError, match=r"the pattern attn7 .* matches no layer"):
        lora.inject(parts, 2, (*CROSS, "attn7"))
    with pytest.raises(UsageError, match="matches no layer"):
        lora.inject(parts, 2, (r"norm1\.",))
    with pytest.raises(UsageError, match="no layer of the unet"):
        lora.inject(parts, 2, ("text_encoder",))


def test_two_stages_become_one_pair() -> None:
    torch.manual_seed(0)
    first = {"unet.x.lora_A.weight": torch.randn(2, 5), "unet.x.lora_B.weight": torch.randn(4, 2)}
    second = {"unet.x.lora_A.weight": torch.randn(3, 5), "unet.x.lora_B.weight": torch.randn(4, 3)}
    _, one = lora.split(lora.follow(first, second))
    parts = [lora.product(*lora.split(stage)[1]["unet.x.weight"]) for stage in (first, second)]
    torch.testing.assert_close(lora.product(*one["unet.x.weight"]), sum(parts))
    whole = {"unet.x.weight": torch.randn(4, 5)}
    assert lora.follow(first, whole).keys() == whole.keys()  # has the adapter in it
    assert lora.follow(whole, second).keys() == {*whole, *second}  # comes on top


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lora")
    with chdir(folder):
        yield folder


def recipe(*ranks: int) -> Recipe:
    """The tiny recipe with a rank a stage, and the last step of each kept."""
    tiny = load_recipe("personalize-tiny")
    rows = zip(tiny.stage, ranks, strict=True)
    stages = tuple(replace(stage, lora_rank=rank) for stage, rank in rows)
    return replace(tiny, stage=stages, extras=replace(tiny.extras, checkpoint_selection=False))


def learn(base: Path, folder: Path, *ranks: int) -> Path:
    return personalize(
        CLIP,
        "sks",
        PersonalizeOptions(
            class_word="man", base=str(base), scene="in a room", recipe=recipe(*ranks), out=folder
        ),
    )


@pytest.fixture(scope="module")
def learned(tiny_base: Path, place: Path) -> Path:
    return learn(tiny_base, Path("runs/sks"), 1, 2)


def training(folder: Path, stage: str) -> dict[str, Tensor]:
    """Factors of a stage as its checkpoint has them."""
    kept = load_file(folder / "training" / stage / "checkpoint.safetensors")
    names = {name: name.removeprefix("model.").replace(".default", "") for name in kept}
    return {names[name]: kept[name] for name in kept if ".lora_" in name and "model." in name}


def test_the_file_holds_both_stages_and_is_small(learned: Path, tiny_base: Path) -> None:
    tensors = load_file(learned)
    assert all(".lora_" in name for name in tensors.keys() - {EMBEDDING})
    ranks = {n: len(t) for n, t in tensors.items() if n.endswith(lora.A)}
    assert all(rank == (3 if ".attn2." in name else 1) for name, rank in ranks.items())
    assert {3, 1} == set(ranks.values())
    whole = sum(p.numel() for p in load_base(tiny_base).denoiser.parameters())
    assert sum(t.numel() for t in tensors.values()) < 0.2 * whole
    for stage in recipe(1, 2).stage:
        moved = training(learned.parent, stage.name)
        assert moved and all(t.abs().max() > 0 for t in moved.values())  # each factor learned


def test_the_file_gives_what_training_had(learned: Path, tiny_base: Path) -> None:
    base = load_base(tiny_base)
    wanted = {name: p.clone() for name, p in base.denoiser.named_parameters()}
    for stage in ("appearance", "motion"):
        for name, pair in lora.split(training(learned.parent, stage))[1].items():
            wanted[name.removeprefix("unet.")] += lora.product(*pair)
    load_personal(learned, base)
    for name, parameter in base.denoiser.named_parameters():
        torch.testing.assert_close(parameter.data, wanted[name], atol=1e-4, rtol=0)


def test_learn_then_generate(learned: Path) -> None:
    made = generate("sks man on a beach", POSE, GenerateOptions(weights=learned, frames=4, steps=2))
    assert made.is_file() and read_metadata(learned)["token"] == "sks"


def test_the_best_step_is_kept_of_adapters_too(tiny_base: Path, place: Path) -> None:
    scored = replace(recipe(1, 2), extras=load_recipe("personalize-tiny").extras)
    path = personalize(
        CLIP,
        "sks",
        PersonalizeOptions(
            class_word="man",
            base=str(tiny_base),
            scene="in a room",
            recipe=scored,
            out=Path("runs/scored"),
        ),
    )
    chosen = json.loads(read_metadata(path)["chosen"])
    assert set(chosen) == {"appearance", "motion"}
    best = load_file(path.parent / "training" / "appearance" / "best.safetensors")
    kept = load_file(path)
    for name, factor in best.items():
        if ".lora_B" in name:
            name = name.replace(".default", "")
            torch.testing.assert_close(kept[name][:, :1], factor.half(), atol=1e-3, rtol=0)


def test_diffusers_takes_the_file(learned: Path, tiny_base: Path) -> None:
    ours, theirs = load_base(tiny_base), load_base(tiny_base)
    plain = out(method.build(theirs, Loss(), video=False))
    load_personal(learned, ours)
    theirs.denoiser.load_lora_adapter(load_file(learned), prefix="unet")
    same = out(method.build(ours, Loss(), video=False))
    torch.testing.assert_close(out(theirs.denoiser), same, atol=1e-5, rtol=1e-5)
    assert not torch.equal(plain, same)


def test_a_stopped_run_goes_on(
    learned: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from animateanywhere.methods.animate_anywhere import personal_stages as module

    real, calls = module.method.loss, 0

    def stops(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (4, 9):  # in the middle of each stage
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module.method, "loss", stops)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learn(tiny_base, Path("runs/cut"), 1, 2)
    assert learn(tiny_base, Path("runs/cut"), 1, 2).read_bytes() == learned.read_bytes()
    assert calls == 10


@pytest.mark.parametrize("ranks", [(0, 2), (2, 0)])
def test_one_stage_may_have_an_adapter_and_the_other_not(
    tiny_base: Path, place: Path, ranks: tuple[int, int]
) -> None:
    path = learn(tiny_base, Path(f"runs/{ranks[0]}{ranks[1]}"), *ranks)
    tensors = load_file(path)
    assert any(".lora_" in name for name in tensors)
    base = load_base(tiny_base)
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    wanted = base.denoiser.get_parameter(f"{layer}.weight").clone()
    for stage in ("appearance", "motion"):
        kept = load_file(path.parent / "training" / stage / "checkpoint.safetensors")
        factors = lora.split(training(path.parent, stage))[1]
        if f"unet.{layer}.weight" in factors:
            wanted += lora.product(*factors[f"unet.{layer}.weight"])
        else:
            wanted = kept[f"model.unet.{layer}.weight"]
    load_personal(path, base)
    after = base.denoiser.get_parameter(f"{layer}.weight").data
    torch.testing.assert_close(after, wanted, atol=1e-3, rtol=0)


def fitting(base: Base) -> dict[str, Tensor]:
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
    out, inside = base.denoiser.get_parameter(f"{layer[5:]}.weight").shape
    return {layer + lora.A: torch.ones(2, inside), layer + lora.B: torch.ones(out, 2)}


@pytest.mark.parametrize("harm", ["alone", "rank", "shape", "name", "flat", "empty", "both"])
def test_factors_that_do_not_fit_are_refused_and_nothing_is_touched(
    tiny_base: Path, tmp_path: Path, harm: str
) -> None:
    base, path = load_base(tiny_base), tmp_path / "personal.safetensors"
    tensors = fitting(base)
    a, b = tensors
    before = base.denoiser.get_parameter(a.removeprefix("unet.").replace(lora.A, ".weight")).clone()
    if harm == "alone":
        del tensors[b]
    elif harm == "rank":
        tensors[b] = torch.ones(len(tensors[b]), 3)
    elif harm == "shape":
        tensors[a] = torch.ones(2, tensors[a].shape[1] + 1)
    elif harm == "flat":
        tensors[a] = torch.ones(2)
    elif harm == "empty":
        tensors[b] = torch.ones(0, 2)
    elif harm == "both":
        tensors[b.replace(lora.B, ".weight")] = torch.ones(3)
    else:
        tensors = {name.replace("down_blocks", "no_blocks"): t for name, t in tensors.items()}
    keys = ("token", "class_word", "base", "recipe", "version")
    save_personal(path, tensors, dict.fromkeys(keys, "sks") | {"base_hash": base.hash})
    with pytest.raises(UsageError, match=r"damaged\?$") as caught:
        load_personal(path, base)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    after = base.denoiser.get_parameter(a.removeprefix("unet.").replace(lora.A, ".weight"))
    assert torch.equal(before, after)
