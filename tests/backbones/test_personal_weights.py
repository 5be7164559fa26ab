import json
import os
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from animateanywhere.backbones.base import encode_text, load_base, write_base_toml
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.personal_weights import (
    EMBEDDING,
    add_token,
    find_weights,
    load_personal,
    mentions,
    read_metadata,
    save_personal,
)
from animateanywhere.backbones.sd_unet import motion_unet
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.methods.animate_anywhere.settings import load_recipe


def metadata(token="sks", base_hash="0" * 64):
    return {
        "token": token,
        "class_word": "man",
        "base": "tiny",
        "base_hash": base_hash,
        "recipe": json.dumps({"name": "tiny"}),
        "version": "0.1.0",
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "personal.safetensors"
    generator = torch.Generator().manual_seed(0)
    tensors = {f"unet.layer{i}.weight": torch.randn(4, 3, generator=generator) for i in range(3)}
    save_personal(path, tensors, metadata())
    return path


def test_metadata_comes_back(file):
    assert read_metadata(file) == metadata() | {"format": "animateanywhere-personal-1"}


def test_earlier_names_of_metadata_are_read(tmp_path):
    path = tmp_path / "personal.safetensors"
    old = {"looks": "in a red shirt", "chosen": '{"appearance": 80}'}
    save_personal(path, {"unet.a": torch.ones(1)}, metadata() | old)
    read = read_metadata(path)
    assert (read["appearance"], read["selected_steps"]) == tuple(old.values())
    assert not read.keys() & old.keys()


def test_the_same_weights_give_the_same_bytes(tmp_path):
    tensors = {"unet.b": torch.ones(3), "unet.a": torch.zeros(2, 2), EMBEDDING: torch.ones(1, 4)}
    files = []
    for i in range(6):  # the library's order of metadata is random
        path = tmp_path / f"{i}.safetensors"
        save_personal(path, dict(random.sample(sorted(tensors.items()), 3)), metadata())
        files.append(path.read_bytes())
    assert len(set(files)) == 1
    with safe_open(path, "pt") as file:
        assert all(torch.equal(file.get_tensor(name), tensors[name]) for name in tensors)


def test_half_precision_halves_the_file(tmp_path):
    tensors = {"unet.a": torch.randn(256, 256)}
    save_personal(tmp_path / "full.safetensors", tensors, metadata())
    save_personal(tmp_path / "half.safetensors", tensors, metadata(), half=True)
    full, half = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half"))
    assert half < 0.51 * full


def test_what_must_not_be_saved(tmp_path):
    path = tmp_path / "personal.safetensors"
    with pytest.raises(Failure, match="unet.a is not finite"):
        save_personal(path, {"unet.a": torch.tensor([1.0, float("nan")])}, metadata())
    with pytest.raises(Failure, match="not finite"):
        save_personal(path, {"unet.a": torch.tensor([1e6])}, metadata(), half=True)
    with pytest.raises(ValueError, match="no part"):
        save_personal(path, {"network.a": torch.ones(1)}, metadata())
    with pytest.raises(ValueError, match="class_word"):
        save_personal(path, {}, {"token": "sks"})
    assert not list(tmp_path.iterdir())


def test_every_truncation_is_refused_in_one_line(file, tmp_path):
    whole = file.read_bytes()
    bad = tmp_path / "bad.safetensors"
    for size in [*range(0, 64), *range(64, len(whole), 17), len(whole) - 1]:
        bad.write_bytes(whole[:size])
        with pytest.raises(UsageError) as caught:
            read_metadata(bad)
        assert str(bad) in str(caught.value) and "\n" not in str(caught.value)


def test_garbage_is_refused_or_harmless(file, tmp_path):
    """Bytes overwritten at random: either refused in one line, or read as finite weights."""
    whole = file.read_bytes()
    bad = tmp_path / "bad.safetensors"
    generator = random.Random(0)
    refused = 0
    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(generator.choice([1, 4, 64])):
            broken[generator.randrange(len(broken))] = generator.randrange(256)
        bad.write_bytes(broken)
        try:
            assert read_metadata(bad)["format"]
        except UsageError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 200
    for size in (0, 1, 7, 8, 9, 100, 5000):
        bad.write_bytes(generator.randbytes(size))
        with pytest.raises(UsageError, match="not readable as safetensors"):
            read_metadata(bad)


def test_files_that_are_no_personal_weights(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_metadata(tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="is a folder"):
        read_metadata(tmp_path)
    foreign = tmp_path / "lora.safetensors"
    save_file({"lora_unet_down.weight": torch.ones(2)}, foreign)
    with pytest.raises(UsageError, match="not personal weights of AnimateAnywhere"):
        read_metadata(foreign)
    pickle = tmp_path / "weights.pt"
    torch.save({"unet.a": torch.ones(2)}, pickle)
    with pytest.raises(UsageError, match="not readable as safetensors"):
        read_metadata(pickle)


@pytest.mark.parametrize(
    "prompt, found",
    [
        ("sks man on a beach", True),
        ("a photo of SKS, dancing", True),
        ("a man named sks", True),
        ("sksman on a beach", False),
        ("he asks a man", False),
        ("", False),
    ],
)
def test_a_token_is_a_word(prompt, found):
    assert mentions(prompt, "sks") is found


def test_the_newest_weights_of_a_mentioned_token_are_found(tmp_path, capsys):
    for i, (folder, token) in enumerate(
        [("sks", "sks"), ("sks/second", "sks"), ("zwx", "zwx"), ("sks/third", "sks")]
    ):
        path = tmp_path / folder / "personal.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_personal(path, {"unet.a": torch.ones(1)}, metadata(token))
        os.utime(path, (1000 + i, 1000 + i))
    os.utime(tmp_path / "sks/third/personal.safetensors", (999, 999))
    newest = tmp_path / "sks/second/personal.safetensors"
    assert find_weights("sks man on a beach", tmp_path) == (newest, "sks")
    assert find_weights("zwx and a dog", tmp_path) == (tmp_path / "zwx/personal.safetensors", "zwx")
    assert find_weights("a man on a beach", tmp_path) is None
    demo = tmp_path / "demo/personal.safetensors"  # not the user's own, though newer
    demo.parent.mkdir()
    save_personal(demo, {"unet.a": torch.ones(1)}, metadata("sks"))
    assert find_weights("sks man on a beach", tmp_path) == (newest, "sks")
    assert find_weights("sks man", tmp_path / "none") is None
    newest.write_bytes(b"cut")
    assert find_weights("sks", tmp_path) == (tmp_path / "sks/personal.safetensors", "sks")
    assert "skipped" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    create_base(load_recipe("tiny").model, folder, ["a man on a beach"])
    write_base_toml(folder, {"name": "tiny", "size": 64, "frames": 4, "fps": 8})
    return folder


def learned(base):
    """Changed copies of one tensor of each part, named as in the running video model."""
    video = dict(motion_unet(base.denoiser, base.parts["motion_adapter"]).named_parameters())
    spatial = next(n for n in video if "attentions" in n and "attn2.to_k" in n)
    temporal = next(n for n in video if "motion_modules" in n and "to_k" in n)
    text = next(n for n, _ in base.text_encoder.named_parameters() if "q_proj.weight" in n)
    vae = next(n for n, _ in base.vae.named_parameters() if n.startswith("decoder"))
    return {
        f"unet.{spatial}": video[spatial].detach() + 1,
        f"unet.{temporal}": video[temporal].detach() + 2,
        f"text_encoder.{text}": base.text_encoder.get_parameter(text).detach() + 3,
        f"vae.{vae}": base.vae.get_parameter(vae).detach() + 4,
        EMBEDDING: torch.full((1, 32), 0.5),
    }


def test_weights_reach_the_base_and_nothing_else_changes(folder, tmp_path):
    path = tmp_path / "personal.safetensors"
    before = load_base(folder)
    tensors = learned(before)
    save_personal(path, tensors, metadata(base_hash=before.hash))
    base = load_base(folder)
    assert load_personal(path, base)["token"] == "sks"
    ids = base.tokenizer("a sks man, he asks").input_ids
    index = base.tokenizer.convert_tokens_to_ids("sks")
    assert ids.count(index) == 1  # a word of its own, not a part of others
    table = base.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[index], tensors[EMBEDDING][0])
    video = {
        f"unet.{n}": p
        for n, p in motion_unet(base.denoiser, base.parts["motion_adapter"]).named_parameters()
    }
    old = {
        f"unet.{n}": p
        for n, p in motion_unet(before.denoiser, before.parts["motion_adapter"]).named_parameters()
    }
    for part in ("text_encoder", "vae"):
        video |= {f"{part}.{n}": p for n, p in getattr(base, part).named_parameters()}
        old |= {f"{part}.{n}": p for n, p in getattr(before, part).named_parameters()}
    changed = {
        n for n in old if old[n].shape != video[n].shape or not torch.equal(old[n], video[n])
    }
    table_name = next(n for n in old if n.endswith("token_embedding.weight"))
    assert changed == set(tensors) - {EMBEDDING} | {table_name}
    assert all(torch.equal(video[n], tensors[n]) for n in tensors if n != EMBEDDING)
    load_personal(path, base)  # again changes nothing
    assert base.tokenizer("a sks man, he asks").input_ids == ids


def test_a_token_grows_a_full_embedding(folder):
    base = load_base(folder)
    words = base.text_encoder.get_input_embeddings().num_embeddings
    base.text_encoder.resize_token_embeddings(len(base.tokenizer), mean_resizing=False)
    assert len(base.tokenizer) < words
    old = encode_text(base, ["a man on a beach"])
    index = add_token(base, "sks")
    assert index == base.text_encoder.get_input_embeddings().num_embeddings - 1
    assert torch.equal(encode_text(base, ["a man on a beach"]), old)
    assert add_token(base, "sks") == index


def test_weights_of_an_earlier_version_know_the_base_by_its_earlier_hash(folder, tmp_path):
    base = load_base(folder)
    path = tmp_path / "personal.safetensors"
    assert base.earlier_hash != base.hash
    save_personal(path, learned(base), metadata(base_hash=base.earlier_hash))
    assert load_personal(path, base)["token"] == "sks"


def test_weights_of_another_base_are_refused_and_nothing_is_touched(folder, tmp_path):
    base = load_base(folder)
    tensors = learned(base)
    path = tmp_path / "personal.safetensors"
    save_personal(path, tensors, metadata(base_hash="f" * 64))
    with pytest.raises(UsageError, match=r"learned on base tiny \(ffffffff\).*personalize again"):
        load_personal(path, base)
    name = next(iter(tensors))
    before = base.denoiser.get_parameter(name.removeprefix("unet.")).clone()
    odd = {**tensors, "unet.conv_in.weight": torch.zeros(1)}
    wrong = {**tensors, "unet.no.such.weight": torch.zeros(1)}
    wide = {**tensors, EMBEDDING: torch.zeros(1, 31)}
    for bad in (odd, wrong, wide):
        save_personal(path, bad, metadata(base_hash=base.hash))
        with pytest.raises(UsageError, match="does not fit"):
            load_personal(path, base)
        assert torch.equal(base.denoiser.get_parameter(name.removeprefix("unet.")), before)
        assert base.tokenizer.tokenize("sks") != ["sks"]
    save_personal(path, tensors, metadata(base_hash=base.hash))
    poison = path.read_bytes()
    path.write_bytes(poison[:-4] + b"\xff\xff\xff\xff")
    with pytest.raises(UsageError, match="damaged: its values do not match its checksum"):
        load_personal(path, base)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token", "../../outside"),
        ("token", ""),
        ("class_word", "a/b"),
        ("keypoints", "[[[1, 2]]]"),
        ("keypoints", '[[1, "x"]]'),
        ("keypoints", "[" * 3000),
        ("frame", "0x0"),
        ("selected_steps", "[1]"),
    ],
)
def test_metadata_that_lead_elsewhere_or_cannot_be_read_are_refused(key, value, tmp_path):
    """They come with a right checksum: the token is a folder's name in `aa generate`."""
    path = tmp_path / "personal.safetensors"
    save_personal(path, {"unet.a": torch.ones(1)}, metadata() | {key: value})
    with pytest.raises(UsageError, match="copy it again") as caught:
        read_metadata(path)
    assert "\n" not in str(caught.value)
