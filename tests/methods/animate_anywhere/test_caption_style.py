"""Caption styles of a recipe: the content of the clip's captions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from animateanywhere.backbones.base import load_base, token_ids
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.settings import Extras, Personal, Recipe
from animateanywhere.methods.animate_anywhere.subject_data import encode_subject

MAN = Subject(
    Path(), np.zeros((2, 64, 64, 3), np.uint8), np.ones((2, 64, 64), np.float32),
    np.ones((2, 18, 3), np.float32), ["a <token> man walking in a room"] * 2, 8.0, "man",
    "in a room",
)  # fmt: skip
RED = "in a red shirt"


def recipe(captions: Any, appearance: str) -> Recipe:
    extras = Extras(appearance=appearance, placements=1)
    return Recipe("short", personal=Personal(captions=captions), extras=extras)


@pytest.mark.parametrize(
    ("style", "appearance", "says"),
    [
        ("scene", "", "a sks man walking in a room"),
        ("plain", "", "a sks man"),
        ("scene", RED, "a sks man in a red shirt walking in a room"),
        ("plain", RED, "a sks man in a red shirt"),
    ],
)
def test_a_recipe_says_what_captions_name(
    tiny_base: Path, style: Any, appearance: str, says: str
) -> None:
    base = load_base(tiny_base)
    rows = encode_subject(base, MAN, "sks", recipe(style, appearance))
    assert rows.captions == [says] * 2
    words = base.tokenizer.convert_ids_to_tokens(token_ids(base.tokenizer, [says])[0])
    region = dict(zip(words, rows.tokens[0].tolist(), strict=True))
    assert region["sks"] == region["man</w>"] == 1
    assert region.get("room</w>", -1) == -1
    assert region.get("red</w>", 1) == 1
    assert region.get("walk", 0) == 0
    assert len(rows.latents) == 1


def test_the_appearance_is_named_where_the_person_is_written_otherwise(tiny_base: Path) -> None:
    strange = replace(MAN, captions=["<token>, dancing"] * 2)
    rows = encode_subject(load_base(tiny_base), strange, "sks", recipe("scene", RED))
    assert rows.captions == ["sks in a red shirt, dancing"] * 2


def test_a_caption_style_changes_words_only(tiny_base: Path) -> None:
    first, second = (
        encode_subject(load_base(tiny_base), MAN, "sks", recipe(style, ""))
        for style in ("scene", "plain")
    )
    assert torch.equal(first.latents, second.latents) and torch.equal(first.masks, second.masks)
