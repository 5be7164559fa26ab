"""The device that networks run on (CUDA, MPS or CPU), and the memory used there.

Functions that only measure memory do not import torch, which takes seconds.
"""

import os
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from animateanywhere.core.errors import UsageError

if TYPE_CHECKING:
    import torch

Device = Literal["cuda", "mps", "cpu"]
VARIABLE = "AA_DEVICE"  # environment variable that overrides the choice of device


def best_device() -> Device:
    """The device that networks run on: AA_DEVICE if it is set; otherwise the first available of a
    CUDA GPU, Apple's GPU (MPS) and the CPU. Raises UsageError if AA_DEVICE is not available."""
    import torch

    available: list[Device] = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    requested = os.environ.get(VARIABLE)
    if not requested:
        return available[0]
    for device in available:
        if device == requested:
            return device
    raise UsageError(
        f"{VARIABLE}={requested}: no such device; this machine has {', '.join(available)}"
    )


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_precision(precision: str) -> str:
    """The precision of passes, "no", "bf16" or "fp16", that a recipe's `precision` stands for here:
    "auto" is bf16 if the device in use computes it in hardware, otherwise "no"."""
    if precision != "auto":
        return precision
    import torch

    match best_device():
        case "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            cpu = torch.cpu  # AVX512_BF16 alone: 1.6 times as fast as float32, measured on an EPYC
            native = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
        case _:
            native = False
    return "bf16" if native else "no"


def is_gpu(device: "torch.device | str") -> bool:
    """Whether a device is a GPU: networks are moved there and back to save memory."""
    return str(device).partition(":")[0] != "cpu"


def synchronize(device: "torch.device | str") -> None:
    """Wait until a GPU has finished its work, before reading a clock; does nothing on a CPU."""
    import torch

    kind = str(device).partition(":")[0]
    if kind == "cuda":
        torch.cuda.synchronize()
    elif kind == "mps":
        torch.mps.synchronize()


def gpu_name() -> str | None:
    """The name of the GPU in use; None without one."""
    import torch

    match best_device():
        case "cuda":
            return torch.cuda.get_device_name()
        case "mps":
            return "Apple GPU (MPS)"
    return None


def gpu_memory() -> float | None:
    """Total memory of the GPU in use, in GiB; None without one."""
    import torch

    match best_device():
        case "cuda":
            return torch.cuda.get_device_properties(0).total_memory / 2**30
        case "mps":
            return torch.mps.recommended_max_memory() / 2**30
    return None


def memory_now() -> float:
    """Memory this process uses now, in GB: of the CUDA GPU if one is in use, otherwise main memory
    (which MPS shares)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.memory_allocated()) / 1e9
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e9


def peak_memory() -> float:
    """Largest memory this process has used so far, in GB; see `memory_now`."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    if sys.platform == "linux":  # getrusage would include the peak of the parent process
        with open("/proc/self/status") as status:
            peaks = [line.split()[1] for line in status if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0]) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def free_memory() -> float:
    """Memory this process may use, in GB: what it uses already, and what is free."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return float(torch.cuda.mem_get_info()[0] + unused) / 1e9 + memory_now()
    import psutil

    free = psutil.virtual_memory().available
    limit, used = (Path("/sys/fs/cgroup") / f"memory.{name}" for name in ("max", "current"))
    if limit.is_file() and limit.read_text().strip().isdigit():  # of a container
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free / 1e9 + memory_now()


def machine() -> list[str | int | None]:
    """What measured times depend on besides base and recipe: processor, threads, GPU, torch."""
    import torch

    return [platform.processor(), os.cpu_count(), torch.get_num_threads(), gpu_name(),
            torch.__version__]  # fmt: skip
