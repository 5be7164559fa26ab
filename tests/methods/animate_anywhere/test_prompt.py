"""Prompts of generated videos: appearance, length, weights."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.loading import Loaded
from animateanywhere.backbones.prompt_weights import without_token
from animateanywhere.methods.animate_anywhere.prompt import (
    check_prompt,
    full_prompt,
)

LEARNED = {
    "token": "sks",
    "class_word": "man",
    "appearance": "in a red shirt, blue jeans and a hat",
}


def loaded(folder: Path) -> Loaded:
    return Loaded(load_base(folder), None, LEARNED, Path("personal.safetensors"), nullcontext())


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_the_users_words_win_over_the_appearance(
    tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = loaded(tiny_base)
    assert (
        full_prompt("sks man on a beach", one, None)
        == f"sks man {LEARNED['appearance']} on a beach"
    )
    said(capsys)
    base, scene = one.base, "on a beach"
    room = base.tokenizer.model_max_length - len(base.tokenizer("sks man in a red shirt").input_ids)
    while len(base.tokenizer(f"{scene} on a beach", add_special_tokens=False).input_ids) <= room:
        scene += " on a beach"
    assert full_prompt(f"sks man {scene}", one, None) == f"sks man in a red shirt {scene}"
    assert 'left out of the appearance: "blue jeans and a hat"' in said(capsys)


def test_what_is_cut_off_is_quoted(tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = loaded(tiny_base)
    long = "sks man on a beach " * 15 + "with a green umbrella"
    assert full_prompt(long, one, None) == long  # no room for any appearance
    message = said(capsys)
    rest = message.split('ignored from here on: "')[1].split('"')[0]
    assert long.endswith(rest) and rest.endswith("with a green umbrella")
    kept = long.removesuffix(rest)
    most = one.base.tokenizer.model_max_length
    assert len(one.base.tokenizer(kept).input_ids) <= most
    assert len(one.base.tokenizer(f"{kept} {rest.split()[0]}").input_ids) > most


def test_weights_are_named_where_they_are_ignored(
    tiny_base: Path, tiny_wan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_prompt("a (red:1.3) hat", load_base(tiny_base), "prompt")
    assert said(capsys) == ""
    check_prompt("a (red:1.3) hat <lora:style:1>", load_base(tiny_wan), "prompt")
    message = said(capsys)
    assert "weights in the prompt are ignored: Wan 2.1 VACE does not honor them" in message
    assert '"<lora:style:1>" in the prompt is left out' in message


def test_of_very_long_prompts_the_beginning_is_quoted(
    tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_prompt("beach " * 20_000, load_base(tiny_base), "prompt")  # word by word, this is hours
    message = said(capsys)
    assert message.count("beach") == 60 and message.endswith("more words")


@pytest.mark.parametrize(
    ("prompt", "full", "bare"),
    [
        ("(sks:1.2) man walks", "(sks:1.2) man in red walks", "man walks"),
        ("a (sks man:1.2) walks", "a (sks man in red:1.2) walks", "a (man:1.2) walks"),
        ("((sks)) walks", "((sks)) in red walks", "walks"),
        ("[sks] man", "[sks] man in red", "man"),
    ],
)
def test_a_token_with_a_weight_is_found(tiny_base: Path, prompt: str, full: str, bare: str) -> None:
    assert full_prompt(prompt, loaded(tiny_base), "in red") == full
    assert without_token(prompt, "sks") == bare
