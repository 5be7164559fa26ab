"""Weights of words in prompts."""

from pathlib import Path

import pytest
import torch

from animateanywhere.backbones.base import encode_prompts, encode_text, load_base
from animateanywhere.backbones.family import token_ids
from animateanywhere.backbones.prompt_weights import (
    is_weighted,
    parse,
    plain,
    unsupported,
    weighted_ids,
)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a man", [("a man", 1)]),
        ("a (red) hat", [("a ", 1), ("red", 1.1), (" hat", 1)]),
        ("((red)) hat", [("red", 1.21), (" hat", 1)]),
        ("a (red hat:1.3)", [("a ", 1), ("red hat", 1.3)]),
        ("(red (hat:2):1.5)", [("red ", 1.5), ("hat", 3)]),
        ("[red] hat", [("red", 1 / 1.1), (" hat", 1)]),
        (r"a \(real\) man", [("a (real) man", 1)]),
        ("at 10:30 (night", [("at 10:30 ", 1), ("night", 1.1)]),
        ("a :) man]", [("a :) man]", 1)]),
        ("(x: .5)", [("x", 0.5)]),
        ("", []),
    ],
)
def test_the_syntax_of_web_uis(prompt: str, expected: list[tuple[str, float]]) -> None:
    found = parse(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])
    assert is_weighted(prompt) == any(weight != 1 for _, weight in expected)
    assert plain(prompt) == "".join(text for text, _ in expected)


def test_what_is_not_understood_is_named() -> None:
    found = unsupported("a <lora:style:0.8> man [cat:dog:0.5] BREAK on a beach")
    assert [message.split('"')[1] for message in found] == [
        "<lora:style:0.8>", "[cat:dog:0.5]", "BREAK"
    ]  # fmt: skip
    assert unsupported("a man (in (red):1.2) [hat], and so on") == []


def test_weights_scale_the_difference_to_the_empty_prompt(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    (alone, empty) = encode_text(base, ["a man on a beach", ""])
    assert torch.equal(encode_prompts(base, ["a man on a beach"])[0], alone)
    doubled = encode_prompts(base, ["a man on (a beach:2)"])[0]
    ids, weights = weighted_ids(base.tokenizer, parse("a man on (a beach:2)"))
    assert torch.equal(ids, token_ids(base.tokenizer, ["a man on a beach"]))
    assert (weights[0, :, 0] == 2).sum() == len(base.tokenizer("a beach").input_ids) - 2
    torch.testing.assert_close(doubled, empty + weights[0] * (alone - empty), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(doubled, alone)
    # A weight of 0 is the state of no word
    none = encode_prompts(base, ["(a man on a beach:0)"])[0]
    words = len(base.tokenizer("a man on a beach").input_ids) - 2
    torch.testing.assert_close(none[1 : words + 1], empty[1 : words + 1])


def test_long_prompts_are_cut_and_end_as_others(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    words = "a man on a beach with a red ball " * 20
    ids, weights = weighted_ids(base.tokenizer, parse(f"({words}:1.5)"))
    assert torch.equal(ids, token_ids(base.tokenizer, [words]))
    assert weights[0, 0] == weights[0, -1] == 1 and (weights[0, 1:-1] == 1.5).all()
