"""A new base's parts: built from a recipe, or taken from folders and hubs and widened for poses."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, DDPMScheduler, MotionAdapter, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from animateanywhere.console import say
from animateanywhere.errors import UsageError
from animateanywhere.files import folder_aside
from animateanywhere.models.base import (
    NETWORKS,
    VAES,
    load_base,
    load_config,
    widen_conv_in,
    write_base_toml,
)  # fmt: skip
from animateanywhere.recipe import Model

# What a fresh ControlNet takes from its UNet's config
LED_BY = (
    "in_channels", "block_out_channels", "down_block_types", "layers_per_block", "norm_num_groups",
    "cross_attention_dim", "attention_head_dim",
)  # fmt: skip
WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
# What tells a checkpoint with UNet, VAE and text encoder of Stable Diffusion 1.5's kind
CHECKPOINT = {
    "model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight",
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
}  # fmt: skip
START, END = "<|startoftext|>", "<|endoftext|>"


def create_base(model: Model, out: Path, captions: list[str], seed: int = 0) -> None:
    """Make the parts of a base that `out` lacks, in diffusers layout.

    A part with `from` comes from that folder or hub name (`subfolder` names the part in it);
    otherwise it is built from its config with fresh weights. The UNet's conv_in is widened for the
    pose latents here, so that an untrained base equals the model it came from; not where a
    ControlNet brings the pose.
    """
    torch.manual_seed(seed)  # diffusers initializes from the global generator
    if not (out / "tokenizer").is_dir():
        save_part(_tokenizer(model.text_encoder, captions), out / "tokenizer")
    if not (out / "text_encoder").is_dir():
        text_encoder = _part(CLIPTextModel, model.text_encoder, "text_encoder")
        if "from" not in model.text_encoder:
            prime(text_encoder)
        save_part(text_encoder, out / "text_encoder")
    if not (out / "vae").is_dir():
        kind = VAES.get(model.vae.get("_class_name", "AutoencoderKL"))
        if kind is None:
            raise UsageError(f"model.vae: _class_name must be one of {', '.join(VAES)}")
        save_part(_part(kind, model.vae, "vae"), out / "vae")
    if not (out / "scheduler").is_dir():
        save_part(_part(DDPMScheduler, model.scheduler, "scheduler"), out / "scheduler")
    if not (out / "unet").is_dir():
        channels = load_config(out / "vae")["latent_channels"]
        config = {"in_channels": channels, "out_channels": channels, **model.unet}
        unet = _part(UNet2DConditionModel, model.unet if "from" in model.unet else config, "unet")
        if not model.controlnet:
            widen_conv_in(unet, channels)
        save_part(unet, out / "unet")
    if model.controlnet and not (out / "controlnet").is_dir():
        shapes = load_config(out / "unet")
        config = {name: shapes[name] for name in LED_BY if name in shapes}
        save_part(_part(ControlNetModel, config | model.controlnet, ""), out / "controlnet")
    if not (out / "motion_adapter").is_dir():
        adapter = _part(MotionAdapter, model.motion_adapter, "")
        if "from" not in model.motion_adapter:
            silence(adapter)
        save_part(adapter, out / "motion_adapter")


def tell_fetched(model: Model, out: Path) -> None:
    """Say which files of a hub `create_base` will fetch, and how large they are; nothing where the
    hub cannot be asked (what is kept from before needs none)."""
    from huggingface_hub import HfApi

    for part in NETWORKS:
        table = getattr(model, part)
        source = table.get("from")
        if "config" in table:
            say(f"{part}: {source}; its shapes and words as {table['config']}")
        if not source or Path(source).exists() or (out / part).is_dir():
            continue
        folder = table.get("subfolder", "" if part in ("motion_adapter", "controlnet") else part)
        with suppress(Exception):  # the fetching itself says what is wrong
            files = HfApi().list_repo_tree(source, folder or None)
            sizes = {f.path: getattr(f, "size", 0) for f in files}
            name = next(n for n in WEIGHTS if f"{folder}/{n}".lstrip("/") in sizes)
            path = f"{folder}/{name}".lstrip("/")
            say(f"{part}: {source}/{path}, {sizes[path] / 1e9:.2f} GB")


def save_part(part: Any, folder: Path, half: bool = False) -> None:
    """Save one part whole or not at all; `half` stores float16."""
    with folder_aside(folder) as aside:
        if half:
            part = part.half()
        part.save_pretrained(aside)
        if half:
            part.float()


@torch.no_grad()
def prime(text_encoder: CLIPTextModel) -> None:
    """Start fresh text states from "this word, after that word", in place.

    Trained through a diffusion loss alone from CLIP's own initialization (words of standard
    deviation 0.02), the states of all words grew alike, and a base learned scenes but no looks.
    Here words have unit variance, positions are waves in dimensions of their own, and the first
    head of the first layer looks exactly one word back and writes what it finds into a third part:
    "blue" is there to be read at "jacket". All of it goes on learning. Ours.
    """
    model: Any = text_encoder
    words = model.embeddings.token_embedding.weight  # (V, D)
    places = model.embeddings.position_embedding.weight  # (T, D)
    attention = model.encoder.layers[0].self_attn
    width = words.shape[1]
    part = min(width // 4, attention.head_dim) // 2 * 2
    own, before, place = slice(0, -2 * part), slice(-2 * part, -part), slice(-part, None)
    words.normal_()
    words[:, -2 * part :] = 0
    # Waves of all frequencies up to one turn in two words: a product is 0 but where places agree.
    turn = torch.pi * (torch.arange(part // 2) + 0.5) / (part // 2)
    angle = torch.arange(len(places))[:, None] * turn  # (T, part / 2)
    places.zero_()
    places[:, place] = 2**0.5 * torch.cat([angle.cos(), angle.sin()], 1)
    for layer in (attention.q_proj, attention.k_proj, attention.v_proj):
        layer.weight[: attention.head_dim] = 0
    attention.out_proj.weight[:, : attention.head_dim] = 0
    cos, sin = turn.cos().diag(), turn.sin().diag()
    attention.q_proj.weight[:part, place] = torch.cat(  # turned back by one word
        [torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)]
    )
    # The right place comes out of the softmax e^9 ahead; the layer norm before it has scaled by s.
    s = (width / (width - part)) ** 0.5
    gain = 9 * attention.head_dim**0.5 / (s**2 * part)
    attention.k_proj.weight[:part, place] = gain * torch.eye(part)
    torch.nn.init.orthogonal_(look := torch.empty(part, width - 2 * part))
    attention.v_proj.weight[:part, own] = look
    attention.out_proj.weight[before, :part] = torch.eye(part)


def silence(adapter: MotionAdapter) -> None:
    """Zero the last layer of each fresh motion module, as AnimateDiff does and diffusers does not:
    put into an image UNet, it changes nothing at first."""
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            torch.nn.init.zeros_(parameter)


def bundle(base: Path, out: Path) -> None:
    """Copy a finished base in half precision; of its training, only logs and scores come along."""
    parts = load_base(base)
    for name in NETWORKS:
        if getattr(parts, name) is None:
            continue
        save_part(getattr(parts, name), out / name, half=True)
        about = out / name / "config.json"
        settings = json.loads(about.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)  # a folder of the machine it was trained on
        about.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer", "scheduler", "perception"):
        shutil.copytree(base / name, out / name, dirs_exist_ok=True)
    for record in (*base.glob("training/*/log.jsonl"), *base.glob("training/*/done.json")):
        target = out / record.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(record, target)
    write_base_toml(out, {key: value for key, value in parts.config.items() if key != "hash"})


def of_checkpoint(model: Model, file: Path) -> Model:
    """The same base with UNet, text encoder and VAE of one file, as Stable Diffusion's fine-tunes
    are passed on; shapes and tokenizer are those of what the recipe takes them from.

    Raises UsageError for a file that is none, and for a recipe that takes them from nowhere.
    """
    if file.suffix != ".safetensors":
        raise UsageError(f"{file} is no .safetensors: other files can run code, and are not read")
    try:
        with safe_open(file, "pt") as opened:
            names = set(opened.keys())
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read {file}: {str(error).splitlines()[0]}") from None
    if not names >= CHECKPOINT:
        raise UsageError(f"{file} is no whole checkpoint of Stable Diffusion 1.5 or a fine-tune")
    tables = {part: getattr(model, part) for part in ("unet", "text_encoder", "vae")}
    if not all("from" in table for table in tables.values()):
        raise UsageError("--checkpoint goes with recipes that take their parts from elsewhere")
    tables = {
        part: {**table, "from": str(file), "config": table["from"]}
        for part, table in tables.items()
    }
    return replace(model, license="", **tables)  # of the file, which does not say


def _of_checkpoint(kind: Any, table: dict[str, Any], part: str) -> Any:
    file, config = table["from"], table["config"]
    if kind is CLIPTextModel:
        return create_diffusers_clip_model_from_ldm(kind, load_file(file), part, config)
    made = kind.from_single_file(file, config=config, subfolder=part)
    made.register_to_config(_name_or_path=None)  # a folder of this machine
    return made


def _part(kind: Any, table: dict[str, Any], subfolder: str) -> Any:
    if "config" in table:
        try:
            return _of_checkpoint(kind, table, subfolder)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(f"no {subfolder} in {table['from']}: {first}") from None
    if "from" in table:
        # Only safetensors: pickle can run code.
        options = {} if kind in (DDPMScheduler, CLIPTokenizer) else {"use_safetensors": True}
        place = table.get("subfolder", subfolder)
        try:
            return kind.from_pretrained(table["from"], subfolder=place, **options)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise UsageError(
                f"cannot load {place or 'the part'} of {table['from']}: {first}"
            ) from None
    config = {key: value for key, value in table.items() if key != "_class_name"}
    try:
        if kind is CLIPTextModel:
            return CLIPTextModel(CLIPTextConfig(**config, bos_token_id=0, eos_token_id=1))
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"model.{subfolder or 'motion_adapter'}: {error}") from None


def _tokenizer(table: dict[str, Any], captions: list[str]) -> CLIPTokenizer:
    """CLIP's own tokenizer, or one of its kind trained on the captions."""
    if "from" in table:
        return _part(CLIPTokenizer, {"from": table.get("config", table["from"])}, "tokenizer")
    bpe = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=table.get("vocab_size", 1200),
        # Every byte, and every byte that ends a word: any word can be spelled. As special tokens
        # they are numbered in this order; the trainer's own order is random.
        special_tokens=[START, END, *letters, *(letter + "</w>" for letter in letters)],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    state = json.loads(bpe.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    return CLIPTokenizer(
        vocab=state["vocab"], merges=merges,
        model_max_length=table.get("max_position_embeddings", 77),
    )  # fmt: skip
