"""Fixtures: small real models, saved to a folder and loaded from it as users' bases are."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small tensors: more threads only wait for each other


@pytest.fixture(autouse=True)
def own_memory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test knows what another has seen, and none writes beside the sources."""
    from animateanywhere.extraction import memory

    folder = tmp_path_factory.mktemp("memory")
    monkeypatch.setattr(memory, "CACHE", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of recipes/tiny.toml, untrained."""
    from animateanywhere.models.base import hash_of, write_base_toml
    from animateanywhere.models.fresh import create_base
    from animateanywhere.recipe import load_recipe

    folder = tmp_path_factory.mktemp("tiny")
    recipe = load_recipe("tiny")
    captions = ["a man in a room walks", "a woman on a beach is dancing with a red ball"]
    create_base(recipe.model, folder, captions)
    model = recipe.model
    write_base_toml(folder, {
        "name": "tiny", "size": model.size, "frames": model.frames, "fps": model.fps,
        "personalize": recipe.personalize, "hash": hash_of(folder),
    })  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that `aa base-train tiny` trained, in seconds, from nothing."""
    from animateanywhere.base_train import base_train

    return base_train("tiny", tmp_path_factory.mktemp("trained") / "base")
