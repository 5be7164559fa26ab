from contextlib import contextmanager

import numpy as np
import pytest

from animateanywhere.preprocessing.frame_cache import cached_results

FRAMES = np.random.default_rng(0).integers(0, 255, (6, 8, 9, 3), np.uint8)


def looker(seen, stop_at=None):
    @contextmanager
    def opened():
        def look(frame, hint=None):
            if stop_at is not None and len(seen) == stop_at:
                raise KeyboardInterrupt
            seen.append(frame)
            return {"mean": np.float32(frame.mean() + (0 if hint is None else hint))}

        yield look

    return opened


def test_the_same_pixels_are_looked_at_once():
    seen = []
    first = cached_results(FRAMES, "a-1", looker(seen), "looking", workers=2)
    assert [found["mean"] for found in first] == pytest.approx(FRAMES.mean((1, 2, 3)))
    changed = FRAMES.copy()
    changed[4, 0, 0] ^= 1
    again = cached_results(changed[::-1], "a-1", looker(seen), "looking")
    assert len(seen) == 7 and again[1]["mean"] == changed[4].mean(dtype=np.float64).astype("f4")
    cached_results(FRAMES, "a-2", looker(seen), "looking")  # another version
    assert len(seen) == 13


def test_hints_count_too():
    seen = []
    for hint in (0.0, 0.0, 1.0):
        cached_results(FRAMES, "a-1", looker(seen), "looking", hints=np.full((6, 1), hint))
    assert len(seen) == 12


def test_what_was_found_before_a_stop_stays_known():
    seen = []
    with pytest.raises(KeyboardInterrupt):
        cached_results(FRAMES, "a-1", looker(seen, stop_at=4), "looking")
    cached_results(FRAMES, "a-1", looker(seen), "looking")
    assert len(seen) == 6


def test_a_damaged_memory_is_no_memory(own_memory):
    seen = []
    cached_results(FRAMES, "a-1", looker(seen), "looking")
    kept = sorted(own_memory.rglob("*.npz"))
    kept[0].write_bytes(b"PK")
    kept[1].write_bytes(b"")
    cached_results(FRAMES, "a-1", looker(seen), "looking")
    assert len(kept) == 6 and len(seen) == 8


def test_a_folder_that_cannot_be_written_costs_time_only(own_memory):
    (own_memory / "a-1").write_text("in the way")
    seen = []
    assert len(cached_results(FRAMES, "a-1", looker(seen), "looking")) == 6
