"""New tokenizers, trained on captions, and the initialization of a new text encoder."""

from __future__ import annotations

import json
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextModel, CLIPTokenizer, T5Tokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
METASPACE = "▁"  # before each word of a unigram tokenizer
DIGITS = 6  # of the scores of its pieces: the order of a sum changes those beyond


@torch.no_grad()
def init_text_encoder(text_encoder: CLIPTextModel) -> None:
    """Initialize a new text encoder so that each state encodes a word and the word before it.

    In place. Trained by the diffusion loss alone from CLIP's own initialization (embeddings of
    standard deviation 0.02), the states of all words became similar, and a base learned scenes but
    no clothes. Here word embeddings have unit variance, positions are sinusoids in dimensions of
    their own, and the first head of the first layer attends to exactly the previous word and
    writes a projection of it into a third group of dimensions: the state of "jacket" contains
    "blue". All weights are trained further. Ours, not the paper's.
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
    # Sinusoids of all frequencies up to half a turn a word: dot products are 0 except where
    # positions are equal.
    turn = torch.pi * (torch.arange(part // 2) + 0.5) / (part // 2)
    angle = torch.arange(len(places))[:, None] * turn  # (T, part / 2)
    places.zero_()
    places[:, place] = 2**0.5 * torch.cat([angle.cos(), angle.sin()], 1)
    for layer in (attention.q_proj, attention.k_proj, attention.v_proj):
        layer.weight[: attention.head_dim] = 0
    attention.out_proj.weight[:, : attention.head_dim] = 0
    cos, sin = turn.cos().diag(), turn.sin().diag()
    attention.q_proj.weight[:part, place] = torch.cat(  # rotated back by one word
        [torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)]
    )
    # The logit of the previous word exceeds all others by 9; the layer norm before has scaled by s.
    s = (width / (width - part)) ** 0.5
    gain = 9 * attention.head_dim**0.5 / (s**2 * part)
    attention.k_proj.weight[:part, place] = gain * torch.eye(part)
    torch.nn.init.orthogonal_(projection := torch.empty(part, width - 2 * part))
    attention.v_proj.weight[:part, own] = projection
    attention.out_proj.weight[before, :part] = torch.eye(part)


def clip_tokenizer(captions: list[str], vocab_size: int, length: int) -> CLIPTokenizer:
    """A BPE tokenizer with CLIP's rules, trained on captions; prompts are cut after `length`
    tokens."""
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
        # All bytes, within and at the end of a word, so that any word can be encoded. As special
        # tokens they are numbered in this order; the trainer's own order is random.
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
    """A unigram tokenizer with T5's rules, trained on captions; prompts are cut after `length`
    tokens."""
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
    vocab = pieces[: len(special)] + _in_order(pieces[len(special) :], set("".join(captions)))
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=length)


def _in_order(pieces: list[tuple[str, float]], seen: set[str]) -> list[tuple[str, float]]:
    """Pieces and their scores in an order that is the same each time: the trainer draws that of
    equal scores, and of letters that no caption has, which come last, their scores as well. seen:
    letters of the captions."""

    def place(pair: tuple[str, float]) -> tuple[bool, float, str]:
        piece, score = pair
        never = len(piece) == 1 and piece not in seen and piece != METASPACE
        return never, 0.0 if never else -round(score, DIGITS), piece

    names = [piece for piece, _ in sorted(pieces, key=place)]
    scores = sorted((round(score, DIGITS) for _, score in pieces), reverse=True)
    return list(zip(names, scores, strict=True))
