"""Pictures and captions of people, and those who are left out to measure with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from animateanywhere.datasets.described import Described
from animateanywhere.datasets.rendered import array_sample, cached_shards
from animateanywhere.training.loop import pass_number
from animateanywhere.training.picture_encoder import PictureEncoder, learn_words
from animateanywhere.training.stage import Stage

PEOPLE, PICTURES = 18, 3


def person(number: int) -> np.ndarray:
    """Latents (K, 2, 4, 4) of pictures that say whose and which they are."""
    shown = np.full((PICTURES, 2, 4, 4), number, np.float16)
    shown[:, 1] = np.arange(PICTURES)[:, None, None]
    return shown


@pytest.fixture
def known(tmp_path: Path) -> Described:
    people = cached_shards(
        tmp_path, PEOPLE, 5, {}, lambda numbers: [
            array_sample(f"{n:07d}", {"pictures": person(n)}, f"person {n}") for n in numbers
        ], "people",
    )  # fmt: skip

    def caption(row: int) -> str:
        return people.read(row, ["caption.txt"]).files["caption.txt"].decode().strip()

    return Described(people, caption, PICTURES, 1)


def test_each_picture_has_the_caption_of_its_person(known: Described) -> None:
    shown = set()
    for number in range(8):
        texts, pictures = known.batch(number, 4)
        assert texts == [f"person {int(one[0, 0, 0])}" for one in pictures]
        shown |= {int(one[1, 0, 0]) for one in pictures}
    assert shown == {*range(PICTURES)}
    again, first = known.batch(3, 4), known.batch(0, 4)
    assert again[0] == known.batch(3, 4)[0] != first[0]
    assert len(known.batch(0, 99)[0]) == PEOPLE - 2


def test_the_last_people_are_never_drawn(known: Described) -> None:
    drawn = {text for number in range(40) for text in known.batch(number, 8)[0]}
    assert drawn == {f"person {n}" for n in range(PEOPLE - 2)}
    left = known.held_out()
    assert left is not None and left[0] == ["person 16", "person 17"]
    assert (left[1][:, 1] == 0).all() and left[1].shape == (2, 2, 4, 4)


def test_the_accuracy_is_also_measured_on_people_who_are_left_out(
    known: Described, tmp_path: Path
) -> None:
    """Where they have each other's words, it is 0."""

    def read(texts: list[str]) -> Tensor:
        return torch.eye(8)[[int(text.split()[1]) % 2 for text in texts]]

    def draw(generator: torch.Generator) -> tuple[list[str], Tensor]:
        texts, pictures = known.batch(pass_number(generator, 1), 16)
        return texts, seen(pictures)

    def seen(pictures: Tensor) -> Tensor:
        return (pictures % 2) * 2 - 1

    left = known.held_out()
    assert left is not None
    stage = Stage("tower", "tower", steps=12, batch=16, learning_rate=1e-2, log_every=1)
    for texts, accuracy in ((left[0], 1.0), (left[0][::-1], 0.0)):
        found = learn_words(
            PictureEncoder(2, 8, width=8), 8, draw, read, stage, tmp_path / texts[0], 1,
            held_out=(texts, seen(left[1])),
        )  # fmt: skip
        assert found["retrieval_held_out"] == accuracy
        assert 0 < found["retrieval"] < 1
