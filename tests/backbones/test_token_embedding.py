from pathlib import Path

import pytest
import torch
from torch import Tensor

from animateanywhere.backbones.base import Base, load_base, token_ids
from animateanywhere.backbones.personal_weights import add_token
from animateanywhere.backbones.token_embedding import TokenEmbedding

PROMPTS = ["a sks man and a sks dog", "a man in a room"]


@pytest.fixture
def base(tiny_base: Path) -> Base:
    return load_base(tiny_base)


def read(base: Base, prompts: list[str] = PROMPTS) -> Tensor:
    return base.text_encoder(token_ids(base.tokenizer, prompts)).last_hidden_state


def test_spliced_it_is_the_row_bit_for_bit(base: Base) -> None:
    token = TokenEmbedding(base.text_encoder, add_token(base, "sks"))
    before = read(base)
    with token.spliced():
        assert torch.equal(read(base), before)


def test_its_gradient_is_that_of_the_row_bit_for_bit(base: Base) -> None:
    index = add_token(base, "sks")
    table = base.text_encoder.get_input_embeddings().weight
    table.requires_grad_(True)
    read(base).square().sum().backward()
    whole = table.grad[index : index + 1]
    table.requires_grad_(False)
    token = TokenEmbedding(base.text_encoder, index)
    with token.spliced():
        read(base).square().sum().backward()
    assert token.weight.shape == whole.shape and whole.abs().max() > 0
    assert torch.equal(token.weight.grad, whole)


def test_what_it_learned_is_in_the_table_afterwards(base: Base) -> None:
    index = add_token(base, "sks")
    token = TokenEmbedding(base.text_encoder, index)
    before = read(base)
    with token.spliced(), torch.no_grad():
        token.weight += 1
        changed = read(base)
    assert not torch.equal(changed[0], before[0]) and torch.equal(changed[1], before[1])
    assert torch.equal(read(base), changed)
    with torch.no_grad():  # and is its own no more
        token.weight += 1
    assert torch.equal(read(base), changed)


def test_one_row_is_all_that_it_is(base: Base) -> None:
    token = TokenEmbedding(base.text_encoder, add_token(base, "sks"))
    assert [name for name, _ in token.named_parameters()] == ["weight"]
    assert set(token.state_dict()) == {"weight"}


def test_it_follows_its_encoder_to_another_device(base: Base) -> None:
    token = TokenEmbedding(base.text_encoder, add_token(base, "sks"))
    base.text_encoder.to("meta")
    with token.spliced():
        ids = token_ids(base.tokenizer, PROMPTS).to("meta")
        assert base.text_encoder(ids).last_hidden_state.is_meta
