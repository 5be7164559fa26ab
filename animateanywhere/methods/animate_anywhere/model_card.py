"""Model cards: the README.md that tells what a file of weights, or a base, is and how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from animateanywhere.backbones.personal_weights import read_metadata
from animateanywhere.core.files import write_aside
from animateanywhere.methods.animate_anywhere import checkpoint_selection

NAME = "README.md"
CODE = "AnimateAnywhere"


def write_personal_card(weights: Path, license: str = "") -> Path:
    """Write the card of personal weights beside them; returns its path.

    license: of the base, which holds for what was learned on it. What the weights' own metadata
    and the `scores.json` beside them say is in it, and nothing of the clip. Raises UsageError as
    `read_metadata` does.
    """
    about = read_metadata(weights)
    who = f"{about['token']} {about['class_word']}"
    recipe = json.loads(about["recipe"])
    losses = ", ".join(f"{name} {value}" for name, value in recipe.get("loss", {}).items())
    rows = {
        "says": f"`{who}`" + (f", {about['appearance']}" if about.get("appearance") else ""),
        "base": f"{about['base']}, `{about['base_hash'][:16]}`",
        "recipe": f"{recipe.get('name', '')} ({losses})" if losses else recipe.get("name", ""),
        "stages": ", ".join(_stage(stage) for stage in recipe.get("stage", [])),
        "chosen steps": about.get("chosen", ""),
        "scores": _scores(weights.parent, about.get("chosen", "")),
        "seed": about.get("seed", ""),
        "made with": f"{CODE} {about['version']}",
        "license": license or "that of the base",
    }
    text = f"""# {who}

One person, learned from one short video. Use it with the consent of that person only, and say of
what you publish that it was generated.

    aa generate "{who} on a beach" --pose dance.mp4 --weights {weights.name}

For other tools: `aa export {weights.name} --format diffusers`, `kohya` or `comfyui`.

{_table(rows)}"""
    tags = ["text-to-video", "personalization", "animateanywhere"]
    return _write(weights.with_name(NAME), text, tags, license)


def write_base_card(folder: Path, config: Mapping[str, object], hash: str) -> Path:
    """Write the card of a base that `aa base-train` made; returns its path.

    config: its base.toml. Scores are those that its stages left.
    """
    license = str(config.get("license") or "")
    scores = {}
    for done in sorted((folder / "training").glob("*/done.json")):
        found = json.loads(done.read_text(encoding="utf-8"))
        numbers = {n: v for n, v in found.items() if isinstance(v, int | float)}
        scores[done.parent.name] = ", ".join(f"{n} {v:.3g}" for n, v in numbers.items())
    rows = {
        "size": f"{config['size']} pixels, {config['frames']} frames at {config['fps']} a second",
        "hash": f"`{hash[:16]}`",
        "license": license or "not told",
        **{f"stage {name}": text for name, text in scores.items()},
    }
    text = f"""# {config["name"]}

A base of {CODE}: text and a skeleton video in, a video out. Folders are those of diffusers.

    aa personalize my_video.mp4 --token sks --base {folder.name}

{_table(rows)}"""
    tags = ["text-to-video", "pose", "animateanywhere"]
    return _write(folder / NAME, text, tags, license)


def _stage(stage: Mapping[str, object]) -> str:
    lora = f", LoRA of rank {stage['lora_rank']}" if stage.get("lora_rank") else ""
    return f"{stage['name']} {stage['steps']} x {stage['batch']}{lora}"


def _scores(run: Path, chosen: str) -> str:
    """What the chosen steps of a run scored; lower is better."""
    steps = json.loads(chosen or "{}")
    rows = [row for row in checkpoint_selection.read(run) if steps.get(row["stage"]) == row["step"]]
    return "; ".join(f"{row['stage']} {checkpoint_selection.in_words(row)}" for row in rows)


def _table(rows: Mapping[str, object]) -> str:
    lines = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |"
             for name, value in rows.items() if value]  # fmt: skip
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def _write(path: Path, text: str, tags: list[str], license: str) -> Path:
    from huggingface_hub import ModelCardData

    head = ModelCardData(license=license or None, tags=tags, library_name="animateanywhere")
    with write_aside(path) as aside:
        aside.write_text(f"---\n{head.to_yaml()}\n---\n{text}", encoding="utf-8")
    return path
