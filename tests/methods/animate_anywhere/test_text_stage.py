"""Captions against pictures."""

import math

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from animateanywhere.backbones.create_tokenizer import init_text_encoder
from animateanywhere.methods.animate_anywhere.text_stage import Pairs
from animateanywhere.training.contrastive import contrastive_loss, retrieval_accuracy


def test_the_loss_of_equal_similarities_is_chance() -> None:
    loss, logs = contrastive_loss(torch.zeros(8, 8))
    assert float(loss) == pytest.approx(math.log(8))
    assert 0 < logs["retrieval"] <= 1 / 8


def test_sure_and_right_costs_nothing() -> None:
    loss, logs = contrastive_loss(50 * torch.eye(8))
    assert float(loss) < 1e-6 and logs["retrieval"] == 1
    assert retrieval_accuracy(torch.eye(8).roll(1, 0)) == 0


def test_a_word_is_learned_from_pictures() -> None:
    """16 captions of two words each, eight of each word; what a word names shows in its picture."""
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=10, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=6, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    text_encoder = CLIPTextModel(config)
    init_text_encoder(text_encoder)
    first, second = torch.arange(16) // 4, torch.arange(16) % 4
    end = torch.ones(16, dtype=torch.long)
    ids = torch.stack([0 * end, 2 + first, 6 + second, end, end, end], 1)  # (B, T)
    looks = torch.randn(2, 4, 4, 8, 8)
    model = Pairs(text_encoder, channels=4, size=8, width=8)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        pictures = looks[0, first] + looks[1, second] + 0.3 * torch.randn(16, 4, 8, 8)
        loss, _ = contrastive_loss(model(ids, pictures))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    pictures = looks[0, first] + looks[1, second]
    with torch.no_grad():
        assert retrieval_accuracy(model(ids, pictures)) > 0.8
