"""Steps per second of a training stage, from the times in its TensorBoard events."""

from __future__ import annotations

from pathlib import Path

TAG = "loss"


def steps_per_second(folder: Path) -> tuple[list[tuple[int, float]], list[str]]:
    """For steps in their order the rate at which they came, and the names of damaged files. Pauses
    between two starts of the command are left out; events after a resume replace earlier ones."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    rates: dict[int, float] = {}
    damaged = []
    files = sorted(folder.glob("events.out.tfevents.*"), key=lambda file: file.stat().st_mtime_ns)
    for file in files:
        before: tuple[int, float] | None = None
        try:
            for event in LegacyEventFileLoader(str(file)).Load():
                if not any(value.tag == TAG for value in event.summary.value):
                    continue
                now = int(event.step), float(event.wall_time)
                if before is None:
                    rates = {step: rate for step, rate in rates.items() if step < now[0]}
                elif now[0] > before[0] and now[1] > before[1]:
                    rates[now[0]] = (now[0] - before[0]) / (now[1] - before[1])
                before = now
        except Exception:  # of protobuf or the library's own reader, which name no common class
            damaged.append(str(file))
    return sorted(rates.items()), damaged
