"""Near-duplicates by perceptual hash."""

import numpy as np
from PIL import Image

from animateanywhere import puppets
from animateanywhere.datasets.near_duplicates import (
    MOST_BITS,
    is_plain,
    near_duplicates,
    perceptual_hash,
)


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.bitwise_count(a ^ b).sum())


def resized(frames: np.ndarray, side: int) -> np.ndarray:
    return np.stack([np.array(Image.fromarray(one).resize((side, side))) for one in frames])


def test_copies_are_found_and_others_are_not() -> None:
    clips = [puppets.render(puppets.sample_spec(seed), 4, 64).frames for seed in range(12)]
    hashes = [perceptual_hash(clip) for clip in clips]
    copies = [
        resized(clips[3], 96),
        (clips[5] * 0.9 + 8).astype(np.uint8),
    ]
    noise = np.random.default_rng(0).normal(0, 6, clips[7].shape)
    copies.append((clips[7] + noise).clip(0, 255).astype(np.uint8))
    hashes += [perceptual_hash(copy) for copy in copies]
    assert near_duplicates(np.stack(hashes)) == [[3, 12], [5, 13], [7, 14]]
    same_source = np.array([*range(12), 3, 20, 21])
    assert near_duplicates(np.stack(hashes), same_source) == [[5, 13], [7, 14]]


def test_no_pair_is_missed_by_the_groups_of_bits() -> None:
    generator = np.random.default_rng(1)
    hashes = generator.integers(0, 2**16, (40, 12), dtype=np.uint16)
    copies = hashes.copy()
    for row in range(
        40
    ):  # as many flipped bits as allowed, each in another group as far as it goes
        for column in generator.permutation(12)[:MOST_BITS]:
            copies[row, column] ^= np.uint16(1) << np.uint16(generator.integers(16))
    found = near_duplicates(np.concatenate([hashes, copies]))
    assert found == [[row, row + 40] for row in range(40)]


def test_a_plain_picture_is_known() -> None:
    assert is_plain(np.full((1, 32, 32, 3), 200, np.uint8))
    assert not is_plain(np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), np.uint8))
