"""The search for words for a person's appearance."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from animateanywhere import puppets
from animateanywhere.backbones.base import load_base
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.appearance_search import (
    TRIES,
    Error,
    confirmed,
    find_appearance,
    phrase,
    search,
)
from animateanywhere.preprocessing.captions.template import with_appearance

RED = "in a red shirt"


PLACES = {
    "top": "shirt t-shirt jacket sweater vest dress", "bottom": "trousers jeans shorts skirt",
    "hair": "hair ponytail head", "shoes": "shoes", "hat": "cap hat beanie", "bag": "backpack bag",
    "beard": "beard", "glasses": "glasses",
}  # fmt: skip


def said(truth: str) -> Error:
    """An error that counts what is missing, wrong and too much in a phrase, place by place."""

    def places(phrase: str) -> dict[str, set[str]]:
        items = re.split(r", | in | and (?!\w+ (?:striped|checked))", f" {phrase}")
        words = [set(item.split()) - {"a", "an", "with", "in", "and"} for item in items]
        return {p: w for w in words for p, nouns in PLACES.items() if w & set(nouns.split())}

    true = places(truth)

    def error(phrase: str) -> float:
        made = places(phrase)
        wrong = sum(len(true[place] ^ made.get(place, set())) for place in true)
        return 50.0 + wrong + 5 * len(true.keys() - made.keys()) + len(made.keys() - true.keys())

    return error


@pytest.mark.parametrize(
    "truth",
    [
        "with short blond hair in a red jacket, blue jeans and white shoes",
        "with a bald head and glasses in an orange dress and green shoes",
        "with long black hair in a white and teal striped vest, a gray skirt, red shoes, "
        "a pink hat and a brown bag",
    ],
)
def test_words_that_reduce_the_error_are_found(truth: str) -> None:
    assert phrase(search(said(truth))) == truth


def test_words_that_do_not_help_are_left_out() -> None:
    assert search(lambda phrase: 1.0) == {}
    assert confirmed({"top": "a red shirt", "hat": "a red hat"}, lambda phrase: 1.0) == {}


def test_words_are_kept_where_other_frames_confirm_them() -> None:
    """Each word there lowers the error by 10 %, each one that is not by 2 %."""
    words = {"top": "a red shirt", "bottom": "blue jeans", "shoes": "red shoes", "bag": "a bag"}

    def error(phrase: str) -> float:
        there = sum(item in phrase for item in ("red shirt", "blue jeans"))
        return float(0.9**there * 0.98 ** sum(item in phrase for item in ("red shoes", "a bag")))

    assert confirmed(words, error) == {"top": "a red shirt", "bottom": "blue jeans"}


def test_a_description_that_hardly_helps_is_left_out_as_a_whole() -> None:
    words = {"top": "a red shirt", "bottom": "blue jeans"}
    assert confirmed(words, lambda phrase: 0.94 ** sum(w in phrase for w in words.values())) == {}
    assert confirmed(words, lambda phrase: 0.90 ** sum(w in phrase for w in words.values()))


def test_the_number_of_tries_is_about_as_estimated() -> None:
    phrases = set()

    def error(phrase: str) -> float:
        phrases.add(phrase)
        return said("with short blond hair in a red jacket, blue jeans and white shoes")(phrase)

    confirmed(search(error), error)
    assert len(phrases) == pytest.approx(TRIES, rel=0.2)


def test_the_bundled_base_finds_what_a_person_wears() -> None:
    spec = puppets.sample_spec(1002, "held-out")  # a black pullover and a pink skirt
    clip = puppets.render(replace(spec, object=replace(spec.object, name="none")), frames=8)
    masks = clip.masks.astype(np.float32) / 255
    subject = Subject(Path(), clip.frames, masks, clip.keypoints, [""] * 8, 8.0, "woman", None)
    found = find_appearance(load_base(), subject)
    assert "black" in found.partition(" in ")[2]
    assert "pink" in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sks man on a beach", "sks man in a red shirt on a beach"),
        ("a beach, SKS  Man dancing", "a beach, SKS  Man in a red shirt dancing"),
        ("sks on a beach", "sks in a red shirt on a beach"),
        ("sks woman on a beach", "sks woman in a red shirt on a beach"),
        ("a sks young Person, dancing", "a sks young Person in a red shirt, dancing"),
        ("sks dancer in a city", "sks dancer in a red shirt in a city"),
        ("sks young on a beach", "sks in a red shirt young on a beach"),
        ("sks and a man on a beach", "sks in a red shirt and a man on a beach"),
        ("a sks manner", "a sks in a red shirt manner"),
        ("sks man in a red shirt runs", "sks man in a red shirt runs"),
        ("somebody", "somebody in a red shirt"),
    ],
)
def test_the_appearance_follows_the_person(text: str, says: str) -> None:
    assert with_appearance(text, "sks", "man", RED) == says
    assert with_appearance(text, "sks", "man", "") == text
