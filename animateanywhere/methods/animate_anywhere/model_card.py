"""Model cards: README.md files that describe personal weights or a base, and how to use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from animateanywhere.backbones.personal_weights import read_metadata
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import parse_json, read_json
from animateanywhere.methods.animate_anywhere import checkpoint_selection

NAME = "README.md"
CODE = "AnimateAnywhere"


def write_personal_card(weights: Path, license: str = "") -> Path:
    """Write the model card of personal weights next to them; returns its path.

    It contains the weights' metadata and the scores in `scores.json` next to them, and nothing from
    the clip. license: of the base, which applies to the weights. Raises UsageError as
    `read_metadata` does.
    """
    about = read_metadata(weights)
    who = f"{about['token']} {about['class_word']}"
    try:
        recipe = parse_json(about["recipe"])
        losses = ", ".join(f"{name} {value}" for name, value in recipe.get("loss", {}).items())
        stages = ", ".join(_stage(stage) for stage in recipe.get("stage", []))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(
            f"{weights}: the recipe in its metadata is damaged; copy it again"
        ) from None
    rows = {
        "prompt": f"`{who}`" + (f", {about['appearance']}" if about.get("appearance") else ""),
        "base": f"{about['base']}, `{about['base_hash'][:16]}`",
        "recipe": f"{recipe.get('name', '')} ({losses})" if losses else recipe.get("name", ""),
        "stages": stages,
        "selected steps": about.get("selected_steps", ""),
        "scores": _scores(weights.parent, about.get("selected_steps", "")),
        "seed": about.get("seed", ""),
        "created with": f"{CODE} {about['version']}",
        "license": license or "that of the base",
    }
    text = f"""# {who}

One person, learned from one short video. Use it only with the consent of that person, and mark what
you publish as generated.

    aa generate "{who} on a beach" --pose dance.mp4 --weights {weights.name}

For other tools: `aa export {weights.name} --format diffusers`, `kohya` or `comfyui`.

{_table(rows)}"""
    tags = ["text-to-video", "personalization", "animateanywhere"]
    return _write(weights.with_name(NAME), text, tags, license)


def write_base_card(folder: Path, config: Mapping[str, object], hash: str) -> Path:
    """Write the model card of a base from `aa base-train`; returns its path.

    config: its base.toml. hash: of its weights. Scores are read from its training stages.
    """
    license = str(config.get("license") or "")
    scores = {}
    for done in sorted((folder / "training").glob("*/done.json")):
        found = read_json(done)
        numbers = {n: v for n, v in found.items() if isinstance(v, int | float)}
        scores[done.parent.name] = ", ".join(f"{n} {v:.3g}" for n, v in numbers.items())
    rows = {
        "size": f"{config['size']} pixels, {config['frames']} frames at {config['fps']} a second",
        "hash": f"`{hash[:16]}`",
        "license": license or "unknown",
        **{f"stage {name}": text for name, text in scores.items()},
    }
    text = f"""# {config["name"]}

A base of {CODE}: it generates a video from a text and a skeleton video. Its folders have diffusers'
layout.

    aa personalize my_video.mp4 --token sks --base {folder.name}

{_table(rows)}"""
    tags = ["text-to-video", "pose", "animateanywhere"]
    return _write(folder / NAME, text, tags, license)


def _stage(stage: Mapping[str, object]) -> str:
    lora = f", LoRA of rank {stage['lora_rank']}" if stage.get("lora_rank") else ""
    return f"{stage['name']} {stage['steps']} x {stage['batch']}{lora}"


def _scores(run: Path, selected: str) -> str:
    """The scores of the selected steps of a run; selected: JSON, steps by stage."""
    steps = parse_json(selected or "{}")
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
