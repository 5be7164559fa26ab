"""Fixtures: small real models, saved to a folder and loaded from it as users' bases are."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

# Small tensors: more threads only wait for each other, here and in processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from filelock import FileLock

torch.set_num_threads(1)


def needs_blazepose() -> None:
    """Skip the test where LiteRT or BlazePose's model files are missing."""
    from animateanywhere.core.errors import UsageError
    from animateanywhere.preprocessing import model_files

    try:
        model_files.require()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty frame cache, and an empty cache of the user, for each test."""
    from animateanywhere.core import files
    from animateanywhere.preprocessing import frame_cache

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(frame_cache, "CACHE", folder)
    monkeypatch.setattr(files, "cache_folder", lambda: folder / "user")
    return folder


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that show people need not say that they agreed, also at a terminal (pytest -s)."""
    monkeypatch.setenv("AA_CONSENT", "yes")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of a run of tests makes, and the others wait for."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            made.touch()
    return folder


def forks() -> Any:
    """Processes that begin with what base training loads, which takes seconds, already loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["animateanywhere.commands.base_train"])
    return context


def joining(environment: dict[str, str], function: Callable[..., None], given: Any) -> None:
    """Run a function in a process of several that train together."""
    os.environ |= environment
    torch.set_num_threads(1)
    function(*given)


@pytest.fixture(scope="session")
def together() -> Callable[..., list[int]]:
    """Calls a function in so many processes that train together, as a launcher starts them; returns
    their exit codes."""

    def run(count: int, function: Callable[..., None], *given: Any) -> list[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                  "ACCELERATE_USE_CPU": "1"}  # fmt: skip
        ranks = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
        processes = [forks().Process(target=joining, args=(one, function, given)) for one in ranks]
        for process in processes:
            process.start()
        try:
            for process in processes:
                process.join(300)
            return [process.exitcode for process in processes]
        finally:
            for process in processes:
                process.kill()

    return run


@pytest.fixture(scope="session")
def pictures() -> Callable[[int], np.ndarray]:
    """So many skeletons of the bundled driving clip, (F, 64, 64, 3) uint8."""
    from animateanywhere.core.paths import EXAMPLES
    from animateanywhere.pose import skeleton

    def drawn(frames: int) -> np.ndarray:
        found = skeleton.read_poses(EXAMPLES / "driving.poses.json").keypoints[:frames] / 2
        return skeleton.draw(found.astype(np.float32), 64, 64)

    return drawn


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of recipes/tiny.toml, untrained."""
    from animateanywhere.backbones.base import hash_of, write_base_toml
    from animateanywhere.backbones.create import create_base
    from animateanywhere.methods.animate_anywhere.settings import load_recipe

    def make(folder: Path) -> None:
        recipe = load_recipe("tiny")
        captions = ["a man in a room walks", "a woman on a beach is dancing with a red ball"]
        create_base(recipe.model, folder, captions)
        model = recipe.model
        write_base_toml(folder, {
            "name": "tiny", "size": model.size, "frames": model.frames, "fps": model.fps,
            "personalize": recipe.personalize, "hash": hash_of(folder),
        })  # fmt: skip

    return once(tmp_path_factory, "tiny", make)


@pytest.fixture(scope="session")
def tiny_swap(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A base for `aa swap` made from `tiny_base`, whose new input channels have an effect, unlike
    those of a new one."""
    from animateanywhere.backbones.base import base_config, hash_of, write_base_toml
    from animateanywhere.backbones.create import save_part
    from animateanywhere.methods.anycharv.swap_base import create_swap_base, load_swap_base

    def make(folder: Path) -> None:
        create_swap_base(str(tiny_base), False, folder, seed=0)
        own = {
            "name": "tiny-swap", "command": "swap", "parts": str(tiny_base),
            "parts_hash": hash_of(tiny_base), "reference_width": 32, "reference_height": 64,
            "guidance_scale": 1.0, "steps": 2,
        }  # fmt: skip
        write_base_toml(folder, base_config(tiny_base) | own)
        unet = load_swap_base(folder).denoiser
        weight = unet.conv_in.weight.data
        weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        save_part(unet, folder / "unet")

    return once(tmp_path_factory, "swap", make)


@pytest.fixture(scope="session")
def tiny_cast(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """An untrained base for `aa cast` with parts of `tiny_base`."""
    from animateanywhere.backbones.base import write_base_toml
    from animateanywhere.methods.context_anyone.cast_base import create_cast_base
    from animateanywhere.methods.context_anyone.settings import load_recipe
    from animateanywhere.methods.context_anyone.stages import Run
    from tests.methods.context_anyone.recipe import recipe_of

    def make(folder: Path) -> None:
        recipe = load_recipe(recipe_of(tmp_path_factory.mktemp("recipe"), tiny_base))
        create_cast_base(recipe, folder)
        run = Run(recipe, folder)
        write_base_toml(folder, run.config | {"hash": run.base().hash})

    return once(tmp_path_factory, "cast-base", make)


@pytest.fixture(scope="session")
def controlnet_model() -> Any:
    """Small parts of the classes of recipes/sd15-openpose.toml."""
    from animateanywhere.methods.animate_anywhere.settings import load_recipe

    vae = {
        "_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [8, 8, 8, 8],
        "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
        "norm_num_groups": 4, "layers_per_block": 1,
    }  # fmt: skip
    control = {"conditioning_embedding_out_channels": [8, 8, 16, 16]}
    return replace(load_recipe("tiny").model, vae=vae, controlnet=control)


@pytest.fixture(scope="session")
def tiny_controlnet(tmp_path_factory: pytest.TempPathFactory, controlnet_model: Any) -> Path:
    """An untrained base whose ControlNet has an effect, unlike a new one."""
    from animateanywhere.backbones.base import load_base, write_base_toml
    from animateanywhere.backbones.create import create_base, save_part

    def make(folder: Path) -> None:
        create_base(controlnet_model, folder, ["a man on a beach"])
        own = {"name": "led", "guidance_scale": 2.0}
        write_base_toml(folder, controlnet_model.base_toml() | own)
        control = load_base(folder).parts["controlnet"]
        generator = torch.Generator().manual_seed(1)
        for parameter in control.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
        save_part(control, folder / "controlnet")

    return once(tmp_path_factory, "controlnet", make)


@pytest.fixture(scope="session")
def wan_model() -> Any:
    """The parts of recipes/wan-vace-1.3b.toml, small ones of the same classes."""
    from animateanywhere.methods.animate_anywhere.settings import load_recipe

    vae = {
        "_class_name": "AutoencoderKLWan", "base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 2, 2],
        "num_res_blocks": 1, "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [0.4, 0.5, 0.6, 0.7],
    }  # fmt: skip
    transformer = {
        "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4,
        "text_dim": 32, "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "vace_layers": [0, 1],
        "vace_in_channels": 2 * 4 + 64,
    }  # fmt: skip
    words = {
        "vocab_size": 400, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2
    }  # fmt: skip
    return replace(
        load_recipe("wan-vace-1.3b").model, size=64, frames=9, fps=8.0, steps=2,
        guidance_scale=2.0, vae=vae, transformer=transformer, text_encoder=words,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_wan(tmp_path_factory: pytest.TempPathFactory, wan_model: Any) -> Path:
    """A base of Wan's kind, untrained."""
    from animateanywhere.backbones.base import hash_of, write_base_toml
    from animateanywhere.backbones.create import create_base

    def make(folder: Path) -> None:
        captions = ["a man on a beach", "a woman in a room walks", "a sks man in the snow"]
        create_base(wan_model, folder, captions * 20)
        own = {"name": "wan", "personalize": "personalize-wan", "hash": hash_of(folder)}
        write_base_toml(folder, wan_model.base_toml() | own)

    return once(tmp_path_factory, "wan", make)


@pytest.fixture(scope="module")
def tiny_vace(tiny_wan: Path) -> Any:
    """That base, loaded, with a branch for control and pictures that has an effect, unlike a new
    one's."""
    import torch

    from animateanywhere.backbones.base import load_base

    base = load_base(tiny_wan)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in base.denoiser.named_parameters():
        if name.startswith("vace_"):
            parameter.data += 0.6 * torch.randn(parameter.shape, generator=generator)
    return base


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that `aa base-train tiny` trained, in seconds, from nothing."""
    from animateanywhere.commands.base_train import base_train

    return once(tmp_path_factory, "trained", lambda folder: base_train("tiny", folder))


def draws_past_damage(rows: Callable[[], Any], people: Any, name: str) -> None:
    """Draws with and without damage in this file of one of five people differ where that person
    was, and nowhere else. rows: opens the draws anew; those of the training of a method."""
    from animateanywhere.training.loop import step_generator

    def drawn() -> list[Any]:
        draw = rows()
        return [draw(step_generator(5, number)) for number in range(4)]

    whole, bad = drawn(), 2
    with people.shards[people.shard[bad]].open("r+b") as file:
        file.seek(int(people.places[name][bad, 0]) + 300)
        file.write(b"damaged")
    found = drawn()
    same = [torch.equal(one.latents, two.latents) for one, two in zip(whole, found, strict=True)]
    assert sorted(same) == [False, False, True, True]  # in which that person is not, or is
    assert all(one.latents.isfinite().all() for one in found)
