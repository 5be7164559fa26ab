import threading
from contextlib import contextmanager

import numpy as np
import pytest

from animateanywhere.core.messages import reporting_to, say
from animateanywhere.core.reporter import Events
from animateanywhere.preprocessing.frame_cache import KeptOpen, cached_results

FRAMES = np.random.default_rng(0).integers(0, 255, (6, 8, 9, 3), np.uint8)


def counting_backend(analyzed, stop_at=None):
    @contextmanager
    def open_backend():
        def analyze(frame, hint=None):
            if stop_at is not None and len(analyzed) == stop_at:
                raise KeyboardInterrupt
            analyzed.append(frame)
            return {"mean": np.float32(frame.mean() + (0 if hint is None else hint))}

        yield analyze

    return open_backend


def test_the_same_pixels_are_analyzed_once():
    analyzed = []
    first = cached_results(FRAMES, "a-1", counting_backend(analyzed), "analyzing", workers=2)
    assert [found["mean"] for found in first] == pytest.approx(FRAMES.mean((1, 2, 3)))
    changed = FRAMES.copy()
    changed[4, 0, 0] ^= 1
    again = cached_results(changed[::-1], "a-1", counting_backend(analyzed), "analyzing")
    assert len(analyzed) == 7 and again[1]["mean"] == changed[4].mean(dtype=np.float64).astype("f4")
    cached_results(FRAMES, "a-2", counting_backend(analyzed), "analyzing")  # another version
    assert len(analyzed) == 13


def test_hints_are_part_of_the_key():
    analyzed = []
    for hint in (0.0, 0.0, 1.0):
        cached_results(
            FRAMES, "a-1", counting_backend(analyzed), "analyzing", hints=np.full((6, 1), hint)
        )
    assert len(analyzed) == 12


def test_results_before_an_interruption_stay_cached():
    analyzed = []
    with pytest.raises(KeyboardInterrupt):
        cached_results(FRAMES, "a-1", counting_backend(analyzed, stop_at=4), "analyzing")
    cached_results(FRAMES, "a-1", counting_backend(analyzed), "analyzing")
    assert len(analyzed) == 6


def test_a_damaged_cache_entry_is_computed_again(empty_cache):
    analyzed = []
    cached_results(FRAMES, "a-1", counting_backend(analyzed), "analyzing")
    files = sorted(empty_cache.rglob("*.npz"))
    files[0].write_bytes(b"PK")
    files[1].write_bytes(b"")
    cached_results(FRAMES, "a-1", counting_backend(analyzed), "analyzing")
    assert len(files) == 6 and len(analyzed) == 8


def test_an_unwritable_cache_costs_time_only(empty_cache):
    (empty_cache / "a-1").write_text("in the way")
    analyzed = []
    assert len(cached_results(FRAMES, "a-1", counting_backend(analyzed), "analyzing")) == 6


def test_messages_of_a_detector_reach_the_reporter_from_its_threads():
    @contextmanager
    def open_backend():
        say("downloading")
        yield lambda frame: {"mean": np.float32(0)}

    reporter = Events()
    with reporting_to(reporter):
        cached_results(FRAMES, "a-1", open_backend, "analyzing", workers=2)
    said = [event["text"] for event in reporter.events if event["kind"] == "message"]
    assert said == ["downloading"] * 2


def test_backends_that_are_kept_open_are_opened_once_and_write_nothing(empty_cache):
    opened, closed, threads, analyzed = [], [], set(), []

    @contextmanager
    def open_backend():
        opened.append(threading.get_ident())

        def analyze(frame):
            threads.add(threading.get_ident())
            analyzed.append(frame)
            return {"mean": np.float32(frame.mean())}

        yield analyze
        closed.append(threading.get_ident())

    kept = KeptOpen()
    for _ in range(3):
        with kept.one_clip():
            for _ in range(2):
                found = cached_results(FRAMES, "a-1", open_backend, "analyzing", workers=2)
                assert [one["mean"] for one in found] == pytest.approx(FRAMES.mean((1, 2, 3)))
    assert len(analyzed) == 3 * len(FRAMES)  # once for each clip
    assert len(opened) == 2 and set(opened) == threads and not closed
    kept.close()
    assert sorted(closed) == sorted(opened)
    assert not list(empty_cache.rglob("*.npz"))
    cached_results(FRAMES, "a-1", open_backend, "analyzing")
    assert len(opened) == 3
