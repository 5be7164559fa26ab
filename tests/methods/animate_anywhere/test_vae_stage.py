"""The sources of the VAE's pictures, the weights of pixels, and the loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from animateanywhere import puppets
from animateanywhere.backbones.vae import VAES
from animateanywhere.core.frame_size import square
from animateanywhere.datasets.clips import ClipRow, open_corpus
from animateanywhere.methods.animate_anywhere.settings import Autoencoder, Recipe, load_recipe
from animateanywhere.methods.animate_anywhere.vae_pictures import RenderedPictures, vae_sources
from animateanywhere.methods.animate_anywhere.vae_stage import (
    Source,
    autoencoder_loss,
    draw_pictures,
    pixel_weights,
)


@pytest.fixture
def recipe() -> Recipe:
    tiny = load_recipe("tiny")
    return replace(tiny, corpus=replace(tiny.corpus, images=4, pictures=6, portraits=5))


@pytest.fixture
def sources(recipe: Recipe, tmp_path: Path) -> list[Source]:
    nobody = np.zeros((1, 18, 3), np.float32)
    rows = (ClipRow(np.full((1, 64, 64, 3), n, np.uint8), nobody, [""]) for n in range(4))
    images = open_corpus(tmp_path / "images", lambda numbers: rows, 4, 1, square(64))
    return vae_sources(recipe, tmp_path, RenderedPictures([images]))


def test_half_of_the_rows_are_procedural(sources: list[Source]) -> None:
    assert [len(source.pictures) for source in sources] == [4, 5, 6]
    shares = np.array([source.share for source in sources])
    assert shares[2] == shares.sum() / 2
    assert [source.upright for source in sources] == [True, True, False]
    portraits, nobody = (source.pictures.take(np.arange(5))[1] for source in sources[1:])
    assert portraits[..., 2].any() and not nobody.any()


def test_a_seed_gives_the_same_batch_again(sources: list[Source]) -> None:
    def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        return draw_pictures(sources, 16, 3.0, 4.0, torch.Generator().manual_seed(seed))

    x, weight = batch(0)
    assert x.shape == (16, 3, 64, 64) and weight.shape == (16, 1, 64, 64)
    assert x.min() >= -1 and x.max() <= 1 and weight.min() == 1
    assert torch.equal(x, batch(0)[0]) and not torch.equal(x, batch(1)[0])


def test_faces_weigh_more_than_bodies_and_bodies_more_than_scenes() -> None:
    specs = [puppets.sample_portrait(n) for n in range(12)]
    clips = puppets.render_batch(specs, [0.5] * 12, size=64)
    keypoints = np.concatenate([clip.keypoints for clip in clips])
    weight = pixel_weights(keypoints, 64, 3.0, 4.0)[:, 0].numpy()
    parts = np.concatenate([clip.parts for clip in clips])
    face, scene = (weight[parts == puppets.PARTS.index(n)].mean() for n in ("face", "background"))
    top = weight[parts == puppets.PARTS.index("top")].mean()
    assert face > top + 1 > scene + 2
    nobody = pixel_weights(np.zeros((1, 18, 3), np.float32), 64, 3.0, 4.0)
    assert (nobody == 1).all()


def tiny_vae() -> tuple[Any, torch.Tensor, torch.Tensor]:
    """An untrained VAE, pictures (4, 3, 64, 64) and weights of their pixels."""
    table = dict(load_recipe("tiny").model.vae)
    torch.manual_seed(0)
    vae = VAES[table.pop("_class_name")].from_config(table)
    return vae, torch.rand(4, 3, 64, 64) * 2 - 1, torch.ones(4, 1, 64, 64)


def test_downsampled_latents_must_decode_to_downsampled_pictures() -> None:
    vae, x, weight = tiny_vae()
    found = [
        autoencoder_loss(vae, x, weight, Autoencoder(equivariance=e), torch.Generator())
        for e in (0.0, 0.5)
    ]
    (plain, logs), (both, more) = found
    assert "downsampled" not in logs and more["downsampled"] > 0
    assert float((both - plain).detach()) == pytest.approx(0.5 * more["downsampled"], rel=1e-3)
    both.backward()
    assert all(p.grad is not None for p in vae.parameters())


def test_latents_that_depart_from_unit_variance_cost_more() -> None:
    """Otherwise the encoder could evade a fixed noise by larger latents."""
    vae, x, weight = tiny_vae()
    rule = Autoencoder(noise=0.0)
    costs = {}
    for scale in (1.0, 30.0):
        with torch.no_grad():
            vae.encoder.conv_out.weight.mul_(scale)
        loss, logs = autoencoder_loss(vae, x, weight, rule, torch.Generator())
        costs[scale] = float(loss.detach()) - logs["reconstruction"]
    assert costs[30.0] > costs[1.0]
