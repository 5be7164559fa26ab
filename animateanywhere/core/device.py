"""Where networks run: CUDA, MPS or the CPU, and the memory held there.

torch is never imported for a look at memory: it takes seconds.
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
VARIABLE = "AA_DEVICE"  # of the environment: a device to take in place of the best


def best_device() -> Device:
    """The device that networks run on: that of AA_DEVICE, else a CUDA GPU, Apple's GPU (MPS), or
    the CPU. Raises UsageError where AA_DEVICE names what is not here."""
    import torch

    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    asked = os.environ.get(VARIABLE)
    if not asked:
        return next(device for device, here in there.items() if here)
    for device, here in there.items():
        if device == asked and here:
            return device
    known = ", ".join(device for device, here in there.items() if here)
    raise UsageError(f"{VARIABLE}={asked}: there is no such device here; this machine has {known}")


def is_gpu(device: "torch.device | str") -> bool:
    """Whether a device has memory of its own kind, for which networks take turns."""
    return str(device).partition(":")[0] != "cpu"


def synchronize(device: "torch.device | str") -> None:
    """Wait until a GPU has done what it was given; before reading a clock."""
    import torch

    kind = str(device).partition(":")[0]
    if kind == "cuda":
        torch.cuda.synchronize()
    elif kind == "mps":
        torch.mps.synchronize()


def gpu_name() -> str | None:
    """The name of the GPU in use, if any."""
    import torch

    match best_device():
        case "cuda":
            return torch.cuda.get_device_name()
        case "mps":
            return "Apple GPU (MPS)"
    return None


def gpu_memory() -> float | None:
    """GiB that the GPU in use has; None without one."""
    import torch

    match best_device():
        case "cuda":
            return torch.cuda.get_device_properties(0).total_memory / 2**30
        case "mps":
            return torch.mps.recommended_max_memory() / 2**30
    return None


def memory_now() -> float:
    """GB that this process holds; of a CUDA GPU where one is in use. (MPS shares the machine's.)"""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.memory_allocated()) / 1e9
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e9


def peak_memory() -> float:
    """Largest memory this process has held so far, in GB; of a CUDA GPU where one is in use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    if sys.platform == "linux":  # where getrusage begins with the peak of the process before
        with open("/proc/self/status") as status:
            peaks = [line.split()[1] for line in status if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0]) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def free_memory() -> float:
    """GB that this process may hold: what it has, and what nobody has."""
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
    """What time and memory depend on beside base and recipe."""
    import torch

    return [platform.processor(), os.cpu_count(), torch.get_num_threads(), gpu_name(),
            torch.__version__]  # fmt: skip
