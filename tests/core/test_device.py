import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from animateanywhere.core.device import (
    best_device,
    gpu_memory,
    gpu_name,
    is_gpu,
    memory_now,
    peak_memory,
    resolve_precision,
    synchronize,
)
from animateanywhere.core.errors import UsageError


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool) -> None:
    monkeypatch.delenv("AA_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    pretend(monkeypatch, cuda, mps)
    assert best_device() == expected


@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("by", ["amx_tile", "avx512_bf16"])
def test_auto_is_bf16_where_the_device_computes_it_in_hardware(
    monkeypatch: pytest.MonkeyPatch, device: str, native: bool, by: str
) -> None:
    pretend(monkeypatch, device == "cuda", device == "mps")
    answers = {"cuda": not native, "cpu": not native} | {device: native}  # only its own counts
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: answers["cuda"])
    for name in ("amx_tile", "avx512_bf16"):
        has = name == by and answers["cpu"]
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda has=has: has)
    assert resolve_precision("auto") == ("bf16" if native and device != "mps" else "no")
    assert [resolve_precision(name) for name in ("no", "bf16", "fp16")] == ["no", "bf16", "fp16"]


def test_the_environment_names_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, True, False)
    monkeypatch.setenv("AA_DEVICE", "cpu")
    assert best_device() == "cpu"
    for name in ("mps", "gpu"):
        monkeypatch.setenv("AA_DEVICE", name)
        with pytest.raises(UsageError, match=f"AA_DEVICE={name}: .* has cuda, cpu"):
            best_device()


def test_what_is_known_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, True, False)
    card = SimpleNamespace(total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert (gpu_memory(), gpu_name()) == (24, "a card")
    pretend(monkeypatch, False, True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 16 * 2**30)
    assert (gpu_memory(), gpu_name()) == (16, "Apple GPU (MPS)")
    pretend(monkeypatch, False, False)
    assert (gpu_memory(), gpu_name()) == (None, None)


def test_which_devices_are_gpus() -> None:
    assert is_gpu("cuda:1") and is_gpu(torch.device("mps")) and not is_gpu("cpu")


def test_each_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("cuda"))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for device in ("cuda:0", "mps", "cpu"):
        synchronize(device)
    assert waited == ["cuda", "mps"]


def test_memory_now_is_below_the_peak() -> None:
    assert 0.01 < memory_now() <= peak_memory() + 0.05


def test_peak_memory_grows_with_an_allocation() -> None:
    before = peak_memory()
    held = b"x" * (300 * 1024 * 1024)
    assert peak_memory() >= min(before + 0.2, len(held) / 1e9)
    assert 0.01 < before < 1000


def test_peak_memory_is_not_that_of_the_process_before() -> None:
    held = b"x" * (300 * 1024 * 1024)
    code = "from animateanywhere.core.device import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < len(held) / 2e9
