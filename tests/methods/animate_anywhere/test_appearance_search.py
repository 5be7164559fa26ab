"""What a person looks like, in the base's own words."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from animateanywhere import puppets
from animateanywhere.backbones.base import load_base
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere import appearance_search
from animateanywhere.preprocessing.captions.template import with_appearance

RED = "in a red shirt"


PLACES = {
    "top": "shirt t-shirt jacket sweater vest dress", "bottom": "trousers jeans shorts skirt",
    "hair": "hair ponytail head", "shoes": "shoes", "hat": "cap hat beanie", "bag": "backpack bag",
    "beard": "beard", "glasses": "glasses",
}  # fmt: skip


def said(truth: str) -> appearance_search.Error:
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
def test_what_lessens_the_error_is_said(truth: str) -> None:
    assert appearance_search.search(said(truth)) == truth


def test_nothing_is_said_that_does_not_help() -> None:
    assert appearance_search.search(lambda phrase: 1.0) == ""


def test_about_as_many_are_tried_as_foretold() -> None:
    phrases = set()

    def error(phrase: str) -> float:
        phrases.add(phrase)
        return said("with short blond hair in a red jacket, blue jeans and white shoes")(phrase)

    appearance_search.search(error)
    assert len(phrases) == pytest.approx(appearance_search.TRIES, rel=0.2)


def test_the_bundled_base_says_what_a_person_wears() -> None:
    spec = puppets.sample_spec(1002, "held-out")  # a black pullover and a pink skirt
    clip = puppets.render(replace(spec, object=replace(spec.object, name="none")), frames=8)
    masks = clip.masks.astype(np.float32) / 255
    subject = Subject(Path(), clip.frames, masks, clip.keypoints, [""] * 8, 8.0, "woman", None)
    found = appearance_search.find_appearance(load_base(), subject)
    assert "black" in found.partition(" in ")[2]
    assert "pink" in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sks man on a beach", "sks man in a red shirt on a beach"),
        ("a beach, SKS  Man dancing", "a beach, SKS  Man in a red shirt dancing"),
        ("sks on a beach", "sks in a red shirt on a beach"),
        ("a sks manner", "a sks in a red shirt manner"),
        ("sks man in a red shirt runs", "sks man in a red shirt runs"),
        ("somebody", "somebody in a red shirt"),
    ],
)
def test_looks_stand_behind_the_person(text: str, says: str) -> None:
    assert with_appearance(text, "sks", "man", RED) == says
    assert with_appearance(text, "sks", "man", "") == text
