"""Workflows of the examples for ComfyUI, with a learned person filled in."""

from __future__ import annotations

import json
from pathlib import Path

from rich.markup import escape

from animateanywhere.core.files import write_aside
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import say
from animateanywhere.core.paths import EXAMPLES

LEARNED = "The learned person"  # title of a node in the workflows written here
# By the denoiser: what is generated, and the workflow of the examples that does it
WORKFLOWS = {
    "unet": {"picture": "comfyui_workflow.json", "animatediff": "comfyui_animatediff.json"},
    "transformer": {"vace": "comfyui_wan_vace.json"},
}


def write_workflows(out: Path, denoiser: str, name: str, phrase: str, frame: Size) -> None:
    """Write the workflows for a denoiser, "unet" or "transformer", to `out/workflows`.

    name: of the person's file in `out/loras`. phrase: of the person in prompts. frame: that was
    learned.
    """
    for kind, example in WORKFLOWS[denoiser].items():
        _write(_place(out, name, kind), example, name, phrase, frame)


def workflow_files(out: Path, name: str) -> list[Path]:
    """All files that `write_workflows` may write."""
    return [_place(out, name, kind) for kinds in WORKFLOWS.values() for kind in kinds]


def is_workflow(path: Path) -> bool:
    """Whether a file was written here. Raises OSError and ValueError where it cannot be read."""
    return LEARNED in path.read_text(encoding="utf-8")


def _place(out: Path, name: str, kind: str) -> Path:
    return out / "workflows" / f"{name}-{kind}.json"


def _write(path: Path, example: str, name: str, phrase: str, frame: Size) -> None:
    """Write a workflow of the examples with the person's file, words and frames filled in."""
    nodes = json.loads((EXAMPLES / example).read_text(encoding="utf-8"))
    for node in nodes.values():
        inputs = node["inputs"]
        if "lora_name" in inputs:
            inputs["lora_name"] = f"{name}.safetensors"
            node["_meta"]["title"] = LEARNED
        if inputs.get("text"):
            inputs["text"] = f"{phrase} on a beach"
        if "filename_prefix" in inputs:
            inputs["filename_prefix"] = name
        title = node["_meta"]["title"].replace("sks", name)
        if "width" in inputs:
            title = title.replace(
                f"{inputs['width']} x {inputs['height']}", f"{frame.width} x {frame.height}"
            )
            inputs |= frame._asdict()
        node["_meta"]["title"] = title
    with write_aside(path) as aside:
        aside.write_text(json.dumps(nodes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(escape(f"wrote a workflow, to open in ComfyUI: {path}"))
