"""The ways to put a person into a scene that `aa evaluate --bench swap` compares: each returns the
frames of a case and what it laid over the scene."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from animateanywhere.backbones.base import (
    Base,
    encode_text,
    find_base,
    guidance_rescale,
    hash_of,
    load_base,
)
from animateanywhere.backbones.loading import load_with_weights
from animateanywhere.backbones.personal_weights import read_metadata
from animateanywhere.backbones.vae import decode_latents, encode_frames
from animateanywhere.collage.limb_collage import Collage, Cutout
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.frame_size import Size
from animateanywhere.core.json_file import read_json
from animateanywhere.diffusion.losses import level
from animateanywhere.diffusion.sampling import Denoiser
from animateanywhere.evaluation.truth import write_reference
from animateanywhere.methods.animate_anywhere import method as animate
from animateanywhere.methods.animate_anywhere.batch import Conditions
from animateanywhere.methods.animate_anywhere.generation import steps_of
from animateanywhere.methods.animate_anywhere.prompt import full_prompt
from animateanywhere.methods.animate_anywhere.settings import load_recipe, scaled
from animateanywhere.methods.anycharv import generation, method, stitch
from animateanywhere.methods.anycharv.ablations import ABLATIONS
from animateanywhere.methods.anycharv.generation import Options, encode_skeletons
from animateanywhere.methods.anycharv.geometry import person_boxes, regions
from animateanywhere.methods.anycharv.held_out import Case, Guest
from animateanywhere.methods.anycharv.limb_paste import paste_limbs
from animateanywhere.methods.anycharv.masks import box_masks, regions_of, to_latents
from animateanywhere.methods.anycharv.settings import GROW, Mask
from animateanywhere.methods.anycharv.swap_base import load_swap_base
from animateanywhere.puppets import caption, describe_identity
from animateanywhere.puppets.caption import SCENE_WORDS
from animateanywhere.training.checkpoint import load_averaged
from animateanywhere.training.checkpoint_files import CHECKPOINT

TOKEN = "sks"
FASTER = 4  # with `fast`, a person is learned in a quarter of the steps


class Made(NamedTuple):
    """A result: frames uint8 (F, H, W, 3), and what was laid over the scene, (F, H, W) in 0..1."""

    frames: np.ndarray
    matte: np.ndarray


@dataclass(frozen=True)
class Bases:
    """What the methods share, each loaded when it is first needed."""

    folder: Path  # of the swap base
    fast: bool
    ablations: dict[str, Path] = field(default_factory=dict)  # swap bases by name of the ablation
    # Frames uint8 (F, H, W, 3) that several rows need, of the person at hand, by kind and seed
    kept: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """That of the swap base, by which results are known again."""
        return hash_of(self.folder)

    @cached_property
    def ours(self) -> Base:
        """The swap base."""
        return load_swap_base(self.folder)

    @cached_property
    def lender(self) -> Base:
        """The base that the swap base was trained from."""
        return load_base(find_base(str(self.ours.config["parts"])))

    @cached_property
    def first_stage(self) -> Base:
        """The swap base as stage 1 left it. Only if there is a `first_checkpoint`."""
        checkpoint = first_checkpoint(self.folder)
        assert checkpoint is not None
        base = load_swap_base(self.folder)
        load_trained(base, checkpoint)
        return base

    @cached_property
    def ablated(self) -> dict[str, Base]:
        """The swap bases of the ablations."""
        return {name: load_swap_base(folder) for name, folder in self.ablations.items()}

    def once(self, kind: str, seed: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What `make` makes, by the first row that needs it."""
        if (kind, seed) not in self.kept:
            self.kept[kind, seed] = make()
        return self.kept[kind, seed]


def first_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the images of stage 1 in a base's folder, which `aa base-train` leaves
    there and no package contains; None without one."""
    for path in sorted((folder / "training").glob(f"*/{CHECKPOINT}")):
        settings = path.with_name("stage.json")
        if settings.is_file():
            stage = read_json(settings)
            if stage.get("kind") == "compose" and stage.get("frames", 1) == 1:
                return path
    return None


def load_trained(base: Base, checkpoint: Path) -> None:
    """Load the averaged weights of a checkpoint of `anycharv.stages.swap` into a base, in place."""
    parts = {name: base.parts[name] for name in ("unet", "image_encoder")}
    if "reference_unet" in base.parts:
        parts["reference_unet"] = base.parts["reference_unet"]
    load_averaged(checkpoint, dict(nn.ModuleDict(parts).named_parameters()))


def region_of(case: Case) -> np.ndarray:
    """The box of the old person as `aa swap` grows it, float32 (F, H, W) in 0..1; empty if nobody
    was found."""
    masks, (height, width) = case.scene.masks, case.scene.masks.shape[1:]
    whole = np.tile([0, 0, width], (len(masks), 1))
    found = person_boxes(masks / np.float32(255), whole, case.scene.keypoints)
    if not np.isfinite(found).any():
        return np.zeros(masks.shape, np.float32)
    return box_masks(regions(found, GROW), height, width)


def scene(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """The scene as it is."""
    return Made(case.scene.frames, region_of(case))


def paste(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """Limbs of the picture on the scene's bones."""
    picture, old = one.picture, case.scene
    frames, touched = paste_limbs(
        picture.frames[0], picture.masks[0], picture.keypoints[0], old.frames, old.masks,
        old.keypoints,
    )  # fmt: skip
    return Made(frames, touched.astype(np.float32))


def words(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """The base alone, with the renderer's description, blended into the box."""
    prompt = caption(case.truth.spec, seed=1, person=describe_identity(one.identity),
                     appearance=False)  # fmt: skip
    return blended(bases.lender, prompt, case, seed)


def personalized(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """The base that learned the person from a clip, blended into the box."""
    weights = place / "run" / "personal.safetensors"
    base, class_word = bases.lender, one.identity.gender
    if not weights.is_file():
        recipe = load_recipe(str(base.config.get("personalize", "personalize")))
        place.mkdir(parents=True, exist_ok=True)
        weights = personalize(
            write_reference(one.clip, place), TOKEN,
            PersonalizeOptions(
                class_word=class_word, base=str(base.folder), out=place / "run",
                recipe=scaled(recipe, 1 / FASTER if bases.fast else 1),
                scene=SCENE_WORDS[one.reference.scene.name][0], estimate=False,
            ),
        )  # fmt: skip
        shutil.rmtree(place / "run" / "training", ignore_errors=True)
    loaded = load_with_weights(base.folder, weights, read_metadata(weights))
    prompt = caption(case.truth.spec, seed=1, person=f"{TOKEN} {class_word}", appearance=False)
    return blended(loaded.base, full_prompt(prompt, loaded, None), case, seed)


def blended(base: Base, prompt: str, case: Case, seed: int) -> Made:
    """A base's video of a prompt, whose latents are the scene's outside of the box at every
    denoising step (as in RePaint, Lugmayr et al. 2022, arXiv 2201.09865, without its resampling).
    """
    old, region = case.scene, region_of(case)
    size = Size(old.frames.shape[2], old.frames.shape[1])
    network = base.family.build(base, len(old.frames) > 1)
    scheduler = base.scheduler_for(network)
    kept = encode_frames(base.vae, old.frames)[None]  # (1, F, C, h, w)
    cells = to_latents(region, *kept.shape[-2:]).to(kept)[None]
    poses = encode_skeletons(base, old.keypoints, size)[None]
    inside = method.Scene(kept, cells, poses, kept)
    with torch.no_grad():
        prompted, empty = encode_text(base, [prompt, ""]).split(1)
    conditions, kind = Conditions(poses, prompted, empty), scheduler.config.prediction_type
    guidance, rescale = float(base.config["guidance_scale"]), guidance_rescale(base)

    def denoiser_of(start: int, stop: int) -> Denoiser:
        window = inside.window(start, stop)
        free = animate.denoiser(
            base.family, network, conditions.window(start, stop), guidance, rescale
        )

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            levels = level(scheduler, t.reshape(1).expand(len(x)).to(x.device))
            return method.put_in_scene(free(x, t), x, window, levels, kind)

        return denoise

    options = Options(seed, steps_of(base))
    latents = generation.sample_windows(base, network, denoiser_of, kept, options)[0]
    return Made(decode_latents(base.vae, latents), region)


def _place(case: Case, mask: Mask, seed: int) -> np.ndarray:
    """The old person's box or augmented outline, float32 (F, H, W) in 0..1."""
    return region_of(case) if mask == "box" else regions_of(case.scene.masks, mask, seed)


def _swapped(
    base: Base, one: Guest, case: Case, seed: int, mask: Mask, hidden: bool | None = None
) -> np.ndarray:
    """What the network makes of a case, decoded, with the person's place as a box or outline.
    hidden: as in `generation.Options`."""
    picture, old = one.picture, case.scene
    character = generation.read_character(
        base, list(picture.frames), list(picture.masks / 255), list(picture.keypoints)
    )
    region = _place(case, mask, seed)
    options = Options(seed=seed, mask=mask, hidden=hidden)
    latents = generation.swap_latents(base, character, old.frames, region, old.keypoints, options)
    return generation.decode(base, latents)


def _made(bases: Bases, one: Guest, case: Case, seed: int) -> np.ndarray:
    """What the swap base makes of a case."""
    mask = generation.mask_of(bases.ours)
    return bases.once("swapped", seed, lambda: _swapped(bases.ours, one, case, seed, mask))


def coded(bases: Bases, case: Case, seed: int) -> np.ndarray:
    """The empty scene through the VAE, uint8 (F, H, W, 3), with which every row is compared."""
    return bases.once("empty", seed, lambda: generation.through_vae(bases.ours, case.empty))


def unstitched(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """Ours, the whole frame as the VAE decodes it, as in the paper."""
    return Made(_made(bases, one, case, seed), region_of(case))


def ours(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """Ours, stitched into the scene, as `aa swap` does without options."""
    shown, limbs = one.picture, None
    if bases.ours.config.get("collage", False):
        limbs = Collage([Cutout(shown.frames[0], shown.masks[0] / 255, shown.keypoints[0])])
    return _stitched(bases.ours, _made(bases, one, case, seed), case, seed, limbs)


def drawn(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """Ours without the picture's limbs: as the network drew it."""
    return _stitched(bases.ours, _made(bases, one, case, seed), case, seed)


def ablation(name: str) -> Callable[[Bases, Guest, Case, Path, int], Made]:
    """The method of a row: ours with a base that was trained otherwise."""

    def make(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
        base = bases.ablated[name]
        made = _swapped(base, one, case, seed, generation.mask_of(base))
        return _stitched(base, made, case, seed)

    return make


def _stitched(
    base: Base, made: np.ndarray, case: Case, seed: int, limbs: Collage | None = None
) -> Made:
    """What a base made, laid into the scene as by `aa swap`."""
    old, region = case.scene, _place(case, generation.mask_of(base), seed)
    plain = generation.through_vae(base, old.frames)
    squares = np.tile([0, 0, made.shape[1]], (len(made), 1))
    patch = stitch.patches(
        made, plain, old.frames, squares, region, old.masks / 255, np.zeros_like(region),
        old.keypoints,
    )  # fmt: skip
    frames = [
        stitch.paste(frame, squares[n], made[n], patch, n, limbs)
        for n, frame in enumerate(old.frames)
    ]
    return Made(np.stack(frames), patch.matte)


def stage1_fine(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """Stage 1 with the mask that it learned with."""
    made = _swapped(bases.first_stage, one, case, seed, "fine", hidden=True)
    return Made(made, region_of(case))


def stage1_box(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """Stage 1 with the box, which it never saw."""
    made = _swapped(bases.first_stage, one, case, seed, "box", hidden=True)
    return Made(made, region_of(case))


def vae(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """The true video through the VAE."""
    return Made(generation.through_vae(bases.ours, case.truth.frames), region_of(case))


def truth(bases: Bases, one: Guest, case: Case, place: Path, seed: int) -> Made:
    """The true video."""
    return Made(case.truth.frames, region_of(case))


@dataclass(frozen=True)
class Method:
    """One row of the table. make: (bases, person, case, folder, seed) -> what it made. looks: at
    poses or masks, so that the row is made with these as found, too."""

    title: str
    make: Callable[[Bases, Guest, Case, Path, int], Made]
    looks: bool = True


METHODS: dict[str, Method] = {
    "ours": Method("ours", ours),
    "drawn": Method("ours without the collage", drawn),
    "unstitched": Method("ours before stitching", unstitched),
    "words": Method("base, person described in words, in the box", words),
    "personalized": Method("person learned from a clip, in the box", personalized),
    "paste": Method("limbs of the picture, pasted", paste),
    "stage1_fine": Method("stage 1, fine mask", stage1_fine),
    "stage1_box": Method("stage 1, box", stage1_box),
    "scene": Method("the scene as it is", scene, looks=False),
    "vae": Method("ground truth through the VAE", vae, looks=False),
    "truth": Method("ground truth", truth, looks=False),
}
# Ours with bases that were trained otherwise; a run has those that it trained
ABLATED = {name: Method(one.title, ablation(name)) for name, one in ABLATIONS.items()}
