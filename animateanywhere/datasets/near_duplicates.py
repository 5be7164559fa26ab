"""Near-duplicates among pictures and clips, by a perceptual hash.

The hash is the usual one over the discrete cosine transform (Zauner 2010, Implementation and
benchmarking of perceptual image hash functions): whether each of the lowest frequencies of a small
gray picture is above their median. Scaling, coding and slight changes of color flip few bits.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.fft import dctn

SIDE, LOWEST = 32, 8  # pixels of the small picture; frequencies of each axis: 64 bits
MOMENTS = 3  # frames of a clip: the first, the middle and the last
# Of 192 bits. Of 12 groups of 16 bits one is equal in any two hashes that differ by 11 bits
MOST_BITS, GROUP_BITS = 11, 16
PLAIN = 2.0  # standard deviation of gray levels: plain pictures resemble each other


def perceptual_hash(frames: np.ndarray) -> np.ndarray:
    """Hash, uint16 (12,), of a picture or clip, uint8 (F, H, W, 3); of the first, the middle and
    the last frame."""
    moments = np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)
    bits = np.concatenate([_bits(frames[index]) for index in moments])
    return np.packbits(bits).view(np.uint16)


def is_plain(frames: np.ndarray) -> bool:
    """Whether frames, uint8 (F, H, W, 3), show too little for their hash to mean anything."""
    return float(frames[len(frames) // 2].std()) < PLAIN


def _bits(frame: np.ndarray) -> np.ndarray:
    gray = Image.fromarray(frame).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    low = dctn(np.asarray(gray, np.float64))[:LOWEST, :LOWEST].ravel()
    return low > np.median(low[1:])  # the first is the brightness alone


def near_duplicates(hashes: np.ndarray, sources: np.ndarray | None = None) -> list[list[int]]:
    """Groups of rows whose hashes (N, 12) differ by at most MOST_BITS, in order.

    sources: (N,), rows of one source are no duplicates of each other: parts of one shot.

    The work grows with the pairs that agree in one of the twelve groups of bits, not with all.
    """
    parent = np.arange(len(hashes))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return int(row)

    for column in range(hashes.shape[1]):
        order = np.argsort(hashes[:, column], kind="stable")
        edges = np.flatnonzero(np.diff(hashes[order, column])) + 1
        for rows in np.split(order, edges):
            for a, b in _pairs(rows, hashes, sources) if len(rows) > 1 else ():
                first, second = sorted((root(a), root(b)))
                parent[second] = first
    groups: dict[int, list[int]] = {}
    for row in range(len(hashes)):
        groups.setdefault(root(row), []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _pairs(
    rows: np.ndarray, hashes: np.ndarray, sources: np.ndarray | None
) -> list[tuple[int, int]]:
    """The pairs among some rows that are near-duplicates."""
    found = []
    for place, row in enumerate(rows[:-1].tolist()):
        others = rows[place + 1 :]
        near = np.bitwise_count(hashes[others] ^ hashes[row]).sum(1) <= MOST_BITS
        if sources is not None:
            near &= sources[others] != sources[row]
        found += [(row, int(other)) for other in others[near]]
    return found
