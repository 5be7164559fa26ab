from dataclasses import replace
from pathlib import Path

import pytest

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.personal_weights import add_token
from animateanywhere.backbones.token_embedding import TokenEmbedding
from animateanywhere.methods.animate_anywhere.personal_stages import TOKEN, networks
from animateanywhere.methods.animate_anywhere.settings import load_recipe


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
