"""What a base is made of, as the table `[model]` of a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal


@dataclass(frozen=True)
class Model:
    """What the base is made of. Each part is a table of its diffusers or transformers config, or
    `from = "folder or hub name"` (then `subfolder` picks the part inside it)."""

    size: int = 128  # pixels, square
    frames: int = 16  # of a clip, at most: what the network was trained with
    fps: float = 8.0
    guidance_scale: float = 4.0  # of `aa generate`, unless told another
    steps: int = 25  # of denoising, likewise
    sampler: Literal["dpm++", "ddim", "unipc", "lcm"] = "dpm++"  # likewise
    needs: str = ""  # to learn a person and generate on it ("a GPU of 8 GB"), for `aa bases`
    license: str = ""  # of the weights, as hubs name it ("apache-2.0"); "": not told
    noise_share: float = 0.0  # of the noise's variance, what all frames of a clip have in common
    vae: dict[str, Any] = field(default_factory=dict)
    text_encoder: dict[str, Any] = field(default_factory=dict)
    unet: dict[str, Any] = field(default_factory=dict)
    motion_adapter: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    # In place of UNet and temporal layers: Wan 2.1 VACE, its VAE and text encoder with it
    transformer: dict[str, Any] = field(default_factory=dict)
    # Led by a ControlNet trained on skeletons, the UNet keeps its input, and needs no base training
    controlnet: dict[str, Any] = field(default_factory=dict)

    def base_toml(self) -> dict[str, Any]:
        """What a base says of itself in its base.toml."""
        names = ("size", "frames", "fps", "guidance_scale", "steps", "sampler", "noise_share",
                 "license")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables of parts that are given, by the parts' names."""
        found = {own.name: getattr(self, own.name) for own in fields(self)}
        return {name: table for name, table in found.items() if isinstance(table, dict) and table}
