"""The specification of a base: table `[model]` of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from animateanywhere.core.errors import UsageError


@dataclass(frozen=True)
class Model:
    """The parts and defaults of a base. The table of a part contains its diffusers or transformers
    config, or `from = "folder or hub repository"` (`subfolder` names the folder inside)."""

    size: int = 128  # pixels a side
    frames: int = 16  # frames of a clip that the network is trained with
    fps: float = 8.0  # frames per second
    guidance_scale: float = 4.0  # default of `aa generate`
    steps: int = 25  # default number of denoising steps of `aa generate`
    sampler: Literal["dpm++", "ddim", "unipc", "lcm"] = "dpm++"  # default of `aa generate`
    needs: str = ""  # hardware to learn a person and generate ("a GPU of 8 GB"), for `aa bases`
    license: str = ""  # of the weights, by its hub identifier ("apache-2.0"); "" if unknown
    noise_share: float = 0.0  # share of the noise's variance, 0..1, common to all frames of a clip
    # Whether `aa generate` lays the learned person's own limbs over what the network draws
    collage: bool = False
    vae: dict[str, Any] = field(default_factory=dict)
    text_encoder: dict[str, Any] = field(default_factory=dict)
    unet: dict[str, Any] = field(default_factory=dict)
    motion_adapter: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    # In place of UNet and temporal layers: Wan 2.1 VACE, with its own VAE and text encoder
    transformer: dict[str, Any] = field(default_factory=dict)
    # A ControlNet for skeletons; the UNet's input is not widened then, and needs no base training
    controlnet: dict[str, Any] = field(default_factory=dict)

    def base_toml(self) -> dict[str, Any]:
        """The entries of base.toml that come from this table."""
        names = ("size", "frames", "fps", "guidance_scale", "steps", "sampler", "noise_share",
                 "license")  # fmt: skip
        found = {name: getattr(self, name) for name in names}
        return found | ({"collage": True} if self.collage else {})

    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables of all parts that the recipe gives, by the parts' names."""
        found = {own.name: getattr(self, own.name) for own in fields(self)}
        return {name: table for name, table in found.items() if isinstance(table, dict) and table}

    def require_tables(self, known: Sequence[str], where: str) -> None:
        """Raise UsageError unless there are tables of exactly these parts. where: the file."""
        found = self.tables()
        if wrong := [*(name for name in known if name not in found),
                     *(name for name in found if name not in known)]:  # fmt: skip
            raise UsageError(f"{where}: [model] has the tables {', '.join(known)}; see {wrong[0]}")
