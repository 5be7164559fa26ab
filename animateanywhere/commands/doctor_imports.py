"""Imports modules and reports of each whether that worked: run as a process of its own by `aa
doctor`, since a broken binary may end the process.

Takes module names as arguments; prints a JSON line before and after each. The word `torch` also
reports what torch says of this machine.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from typing import Any


def main(names: list[str]) -> None:
    for name in names:
        print(json.dumps({"begin": name}), flush=True)
        error = ""
        facts: dict[str, Any] = {}
        try:
            importlib.import_module(name)
            if name == "torch":
                facts = torch_facts()
        except BaseException as why:  # also SystemExit, which some packages raise
            error = f"{type(why).__name__}: {' '.join(str(why).split())[:300]}"
        print(json.dumps({"end": name, "error": error, "facts": facts}), flush=True)


def torch_facts() -> dict[str, Any]:
    """Version, processor and GPUs as torch sees them; memory in GB."""
    import torch

    from animateanywhere.core.device import best_device
    from animateanywhere.core.errors import UsageError

    cpu = {
        "AMX": getattr(torch.cpu, "_is_amx_tile_supported", bool)(),
        "bfloat16": getattr(torch.cpu, "_is_avx512_bf16_supported", bool)(),
    }
    gpus = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            free = torch.cuda.mem_get_info(number)[0]
            gpus.append([about.name, about.total_memory / 1e9, free / 1e9])
    elif torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory() / 1e9
        gpus.append(["Apple GPU (MPS)", total, total])
    try:
        device, fault = str(best_device()), ""
    except UsageError as error:
        device, fault = "", str(error)
    return {
        "version": torch.__version__, "cuda": torch.version.cuda,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cpu": [name for name, there in cpu.items() if there], "threads": torch.get_num_threads(),
        "gpus": gpus, "device": device, "fault": fault,
    }  # fmt: skip


if __name__ == "__main__":
    gc.disable()  # to look for garbage among what is imported takes a fifth of the time
    main(sys.argv[1:])
    os._exit(0)  # all is printed; to take down what was imported takes seconds
