"""New bases."""

import shutil
from pathlib import Path

import pytest

from animateanywhere.backbones.base import hash_of
from animateanywhere.backbones.create import create_base
from animateanywhere.methods.animate_anywhere.settings import load_recipe


@pytest.mark.parametrize("lost", [["motion_adapter"], ["unet", "motion_adapter"]])
def test_a_base_whose_creation_was_killed_gets_the_same_weights(
    lost: list[str], tmp_path: Path
) -> None:
    model = load_recipe("tiny").model
    create_base(model, tmp_path, ["a man on a beach"], seed=3)
    whole = hash_of(tmp_path)
    for name in lost:  # as if the process had ended before these were written
        shutil.rmtree(tmp_path / name)
    create_base(model, tmp_path, ["a man on a beach"], seed=3)
    assert hash_of(tmp_path) == whole
    create_base(model, tmp_path / "other", ["a man on a beach"], seed=4)
    assert hash_of(tmp_path / "other") != whole
