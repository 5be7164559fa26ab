"""Reference pictures by an editing model: InstructPix2Pix's real classes, tiny, from a folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from animateanywhere import puppets
from animateanywhere.backbones.create_tokenizer import clip_tokenizer
from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import vlm
from animateanywhere.preprocessing.character import Character
from animateanywhere.preprocessing.corpus import editing
from animateanywhere.preprocessing.corpus.editing import CRITERIA, Editor, open_editor
from animateanywhere.preprocessing.corpus.portraits import Portrait
from animateanywhere.preprocessing.corpus.source import Unfit
from animateanywhere.preprocessing.weights import HUB
from tests.conftest import needs_blazepose

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


def parts(channels: int) -> dict[str, Any]:
    """The parts of a pipeline whose UNet has so many input channels."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(["keep the person with the same face and hair"] * 20, 400, 77)
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=len(tokenizer),
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=channels, out_channels=4, block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1,
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, latent_channels=4, norm_num_groups=4,
    )  # fmt: skip
    return {
        "vae": vae, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer, "unet": unet,
        "scheduler": DDIMScheduler(), "safety_checker": None, "feature_extractor": None,
        "image_encoder": None, "requires_safety_checker": False,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "STEPS", 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edit") / "tiny-pix2pix"
    StableDiffusionInstructPix2PixPipeline(**parts(8)).save_pretrained(folder)
    return folder


def test_a_picture_is_edited_by_an_instruction_and_a_seed(model: Path) -> None:
    edit = open_editor(str(model), HUB)
    one = edit(PICTURE, "the person walks", 0)
    assert one.shape == PICTURE.shape and one.dtype == np.uint8
    assert np.array_equal(edit(PICTURE, "the person walks", 0), one)
    for other in (edit(PICTURE, "the person walks", 1), edit(255 - PICTURE, "the person walks", 0)):
        assert (other != one).any()


@pytest.mark.parametrize("kind", [StableDiffusionPipeline, StableDiffusionImg2ImgPipeline])
def test_a_pipeline_that_does_not_edit_is_refused_by_its_name(tmp_path: Path, kind: Any) -> None:
    kind(**parts(4)).save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match=f"{kind.__name__} does not edit a picture"):
        open_editor(str(tmp_path / "other"), HUB)


def test_weights_that_are_missing_or_pickled_are_a_line(model: Path, tmp_path: Path) -> None:
    pipeline = StableDiffusionInstructPix2PixPipeline(**parts(8))
    pipeline.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    (tmp_path / "empty").mkdir()
    for name in ("pickled", "empty"):
        with pytest.raises(UsageError, match=f"{name}: the model cannot be loaded"):
            open_editor(str(tmp_path / name), HUB)


@pytest.fixture
def editor(model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Editor]:
    """An editor whose judge answers as told."""

    def made(answer: dict[str, Any]) -> Editor:
        monkeypatch.setattr(vlm, "answering", lambda *_: lambda pictures, _: json.dumps(answer))
        return Editor(str(model), Backends(), 0)

    return made


def portrait(frame: np.ndarray) -> Portrait:
    nobody = np.zeros((18, 3), np.float32)
    person = Character(Path("a"), "", frame, np.ones(frame.shape[:2]), nobody, 0.0, [])
    return Portrait(frame[None], person, 0)


def test_an_edit_that_the_judge_does_not_confirm_is_left_out(editor) -> None:
    good = dict.fromkeys(CRITERIA, True)
    with pytest.raises(Unfit, match="the judge does not confirm: same clothes, whole"):
        wrong = good | {"same clothes": False, "whole": "no"}
        editor(wrong).reference(portrait(PICTURE), 0)
    with pytest.raises(Unfit, match=r"the judge's answer cannot be used"):
        editor({}).reference(portrait(PICTURE), 0)
    needs_blazepose()
    with pytest.raises(Unfit, match="0 persons in the edited picture"):  # noise
        editor(good).reference(portrait(PICTURE), 0)


def test_a_good_edit_is_cut_out(editor, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_blazepose()
    spec = puppets.sample_spec(1002, "held-out")
    shown = puppets.render(spec, 1, 256).frames[0]
    made = editor(dict.fromkeys(CRITERIA, "true"))
    said: list[str] = []
    made.edit = lambda picture, instruction, seed: said.append(instruction) or shown
    monkeypatch.setattr(editing, "TRIES", 1)
    found = made.reference(portrait(PICTURE), 3)
    assert found.origin == f"edited: {said[0]}" and "Keep the person" in said[0]
    assert found.picture.shape[2] == 4
    assert 0.02 < (found.picture[..., 3] > 127).mean() < 0.7
    Image.fromarray(found.picture)  # RGBA
    again = made.reference(portrait(PICTURE), 3)
    assert again.origin == found.origin and (again.picture == found.picture).all()
    assert made.reference(portrait(PICTURE), 4).origin != found.origin
