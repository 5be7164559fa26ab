from dataclasses import replace
from pathlib import Path

import pytest
import torch

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.personal_weights import add_token
from animateanywhere.backbones.token_embedding import TokenEmbedding
from animateanywhere.methods.animate_anywhere.personal_stages import TOKEN, networks
from animateanywhere.methods.animate_anywhere.settings import Stage, by_lora, load_recipe
from animateanywhere.training.optimizer import make_optimizer
from animateanywhere.training.state import select


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize(
    ("patterns", "token_trains", "encoder_trains"),
    [
        ((r"^unet\.", "token_embedding"), True, False),
        ((r"^unet\.", r"text_encoder\..*token_embedding"), True, False),  # as in version 0.1
        ((r"^unet\.", r"^text_encoder\."), True, True),
        ((r"^unet\.", r"^text_encoder\..*self_attn"), False, True),
        ((r"^unet\.",), False, False),
        ((".*",), False, False),
    ],
)
def test_token_and_text_encoder_are_trained_if_a_pattern_names_them(
    tiny_base: Path, patterns: tuple[str, ...], token_trains: bool, encoder_trains: bool, rank: int
) -> None:
    base, recipe = load_base(tiny_base), load_recipe("personalize-tiny")
    token = TokenEmbedding(base.text_encoder, add_token(base, "sks"))
    stage = replace(recipe.stages("appearance")[0], train=patterns, lora_rank=rank)
    parts, stage = networks(base, stage, recipe, 0, token)
    names = [pattern.strip("^$").replace("\\", "") for pattern in stage.train]
    assert (TOKEN in names) == token_trains == ("token_embedding" in parts)
    assert any(name.startswith("text_encoder.") for name in names) == encoder_trains
    assert any(name.startswith("unet.") for name in names)
    assert not any(name.startswith("text_encoder") and "token_embedding" in name for name in names)


def learning_rates(tiny_base: Path, stage: Stage) -> tuple[set[float], set[float]]:
    """Of the UNet's parameters, and of the token's embedding."""
    base, recipe = load_base(tiny_base), load_recipe("personalize-tiny")
    token = TokenEmbedding(base.text_encoder, add_token(base, "sks"))
    parts, stage = networks(base, stage, recipe, 0, token)
    parameters = select(parts, stage.train)
    groups = make_optimizer(parameters, stage).param_groups
    rates = {
        id(p): group["rate"] * stage.learning_rate for group in groups for p in group["params"]
    }
    return (
        {round(rates[id(p)], 9) for name, p in parameters.items() if name != TOKEN},
        {round(rates[id(p)], 9) for name, p in parameters.items() if name == TOKEN},
    )


@pytest.mark.parametrize(
    ("name", "unet", "factors", "token"),
    [("personalize-sd15", 5e-6, 1e-4, 5e-6), ("personalize", 5e-4, 3e-3, 5e-3)],
)
def test_with_lora_the_token_keeps_its_learning_rate(
    tiny_base: Path, name: str, unet: float, factors: float, token: float
) -> None:
    recipe = load_recipe(name)
    assert learning_rates(tiny_base, recipe.stage[0]) == ({unet}, {token})
    assert learning_rates(tiny_base, by_lora(recipe).stage[0]) == ({factors}, {token})


def test_the_tokens_embedding_is_not_decayed(tiny_base: Path) -> None:
    """Not even by a recipe that says nothing of weight decay."""
    base, recipe = load_base(tiny_base), load_recipe("personalize-tiny")
    token = TokenEmbedding(base.text_encoder, add_token(base, "sks"))
    stage = Stage("some", "appearance", 1, train=(r"conv_in", "token_embedding"), learning_rate=0.1)
    parts, stage = networks(base, stage, recipe, 0, token)
    parameters = select(parts, stage.train)
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(parameters, stage).step()
    assert torch.equal(token.weight, before[TOKEN])
    assert not torch.equal(parameters["unet.conv_in.weight"], before["unet.conv_in.weight"])
