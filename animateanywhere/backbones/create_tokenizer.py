"""Text encoders and tokenizers of a new base that takes them from nowhere."""

from __future__ import annotations

import json
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextModel, CLIPTokenizer, T5Tokenizer

START, END = "<|startoftext|>", "<|endoftext|>"


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


def clip_tokenizer(captions: list[str], vocab_size: int, length: int) -> CLIPTokenizer:
    """One of CLIP's kind, trained on captions; prompts are cut after `length` tokens."""
    bpe = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
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
        model_max_length=length,
    )  # fmt: skip


def t5_tokenizer(captions: list[str], vocab_size: int, length: int) -> T5Tokenizer:
    """One of T5's kind, likewise: pieces of words, each with how likely it is."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    special = ["<pad>", "</s>", "<unk>"]
    letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=special, unk_token="<unk>", initial_alphabet=letters,
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(captions, trainer)
    pieces = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["vocab"]]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=length)
