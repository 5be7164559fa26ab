"""CLIP and DINO of their real classes, tiny and random, saved to a folder and loaded from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEImageProcessorPil,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from animateanywhere import metrics
from animateanywhere.core import hub
from animateanywhere.core.errors import UsageError
from animateanywhere.evaluation import embed, faces
from animateanywhere.media import video
from animateanywhere.preprocessing.weights import (
    CLIP,
    DINO,
    VIDEOMAE,
    WeightsLocation,
    fetch,
    find_local,
)
from animateanywhere.puppets import render, sample_spec

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32}  # fmt: skip
PICTURE = {"image_size": 32, "patch_size": 8}


def write_models(folder: Path) -> Path:
    """`clip` and `dino` in a folder, as --models takes them."""
    torch.manual_seed(0)
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    config = CLIPConfig(
        text_config={**SMALL, "vocab_size": len(vocabulary), "max_position_embeddings": 16,
                     "bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1},
        vision_config={**SMALL, **PICTURE}, projection_dim=16,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder / "clip")
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessorPil(**sizes).save_pretrained(folder / "clip")
    index = {token: number for number, token in enumerate(vocabulary)}
    CLIPTokenizer(vocab=index, merges=[]).save_pretrained(folder / "clip")
    ViTModel(ViTConfig(**SMALL, **PICTURE)).save_pretrained(folder / "dino")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "dino")
    seen = VideoMAEConfig(
        **SMALL, **PICTURE, num_frames=4, decoder_num_hidden_layers=1, decoder_hidden_size=32,
        decoder_num_attention_heads=2, decoder_intermediate_size=32,
    )  # fmt: skip
    VideoMAEForPreTraining(seen).save_pretrained(folder / "videomae")
    VideoMAEImageProcessorPil(**sizes).save_pretrained(folder / "videomae")
    return folder


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> WeightsLocation:
    return WeightsLocation(write_models(tmp_path_factory.mktemp("models")), offline=True)


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    made = render(sample_spec(3, "held-out"), frames=3, size=96)
    return made.frames, made.masks.astype(np.float32) / 255


def test_equal_images_have_equal_embeddings(location: WeightsLocation, clip: tuple) -> None:
    frames, _ = clip
    other = 255 - frames
    for pictures in (embed.clip_embedders(location)[0], embed.dino_embedder(location)):
        found = pictures(frames)
        assert found.shape[0] == 3 and found.dtype == np.float32
        assert metrics.similarity(found[:1], pictures(frames[:1])) == pytest.approx(1, abs=1e-5)
        assert metrics.similarity(found[:1], pictures(other[:1])) < 0.9999
        assert np.array_equal(found, pictures(frames))


def test_batches_change_nothing(
    location: WeightsLocation, monkeypatch: pytest.MonkeyPatch, clip: tuple
) -> None:
    pictures = embed.dino_embedder(location)
    whole = pictures(clip[0])
    monkeypatch.setattr(embed, "BATCH", 2)
    assert np.allclose(whole, pictures(clip[0]), atol=1e-5)


def test_texts_and_images_share_a_space(location: WeightsLocation, clip: tuple) -> None:
    pictures, words = embed.clip_embedders(location)
    a, b = words("a man on a beach"), words("snow")
    assert a.shape == b.shape == (1, pictures(clip[0][:1]).shape[1])
    assert -1 <= metrics.similarity(pictures(clip[0]), a) <= 1
    assert not np.allclose(a, b)
    long = "a man " * 40  # of which the tokenizer keeps its end
    assert np.isfinite(words(long)).all()


def test_clip_embeddings_equal_those_of_transformers(
    location: WeightsLocation, clip: tuple
) -> None:
    """The logits of CLIPModel over its temperature are the cosines we take."""
    folder = fetch(CLIP, location)
    model = CLIPModel.from_pretrained(folder).eval()
    text = CLIPTokenizer.from_pretrained(folder)(["a man"], return_tensors="pt")
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(list(clip[0]), return_tensors="pt")
    with torch.no_grad():
        logits = model(**text, **pixels).logits_per_image / model.logit_scale.exp()
    pictures, words = embed.clip_embedders(location)
    own = metrics.similarity(pictures(clip[0]), words("a man"))
    assert own == pytest.approx(float(logits.mean()), abs=1e-5)


def test_dinov2_in_the_folder_works_as_well(tmp_path: Path, clip: tuple) -> None:
    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, **PICTURE)
    Dinov2Model(config).save_pretrained(tmp_path / "dino")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "dino")
    assert embed.dino_embedder(WeightsLocation(tmp_path, offline=True))(clip[0]).shape == (3, 32)


def test_videomae_depends_on_the_order_of_frames(location: WeightsLocation) -> None:
    embed_video = embed.videomae_embedder(location)
    frames = render(sample_spec(3, "held-out"), frames=6, size=64).frames
    found = embed_video(frames)
    assert found.shape == (1, 32) and found.dtype == np.float32
    assert np.array_equal(found, embed_video(frames))
    assert not np.allclose(found, embed_video(frames[::-1]), atol=1e-5)
    assert embed_video(frames[:3]).shape == (1, 32)


def test_cutouts_show_the_person_and_nothing_of_the_scene(clip: tuple) -> None:
    frames, masks = clip
    masks = (masks > 0.5).astype(np.float32)
    cut = embed.cutouts(frames, masks)
    assert cut.shape == (3, embed.SIDE, embed.SIDE, 3) and cut.dtype == np.uint8
    assert (cut[:, :4] == embed.GRAY).all() and (cut[:, -4:] == embed.GRAY).all()
    elsewhere = np.where(masks[..., None] > 0, frames, 255 - frames)
    assert np.abs(embed.cutouts(elsewhere, masks).astype(int) - cut).mean() < 2
    # a person cut off by the frame's edge is not repeated beyond it
    edge = np.zeros((1, 40, 40), np.float32)
    edge[:, 10:30, :8] = 1
    white = np.full((1, 40, 40, 3), 255, np.uint8)
    shown = embed.cutouts(white, edge)[0, :, :, 0] > 200
    assert shown.mean() == pytest.approx(20 * 8 / (1.2 * 20) ** 2, rel=0.1)


def test_scenes_do_not_show_the_person(clip: tuple) -> None:
    frames, masks = clip
    masks = (masks > 0.5).astype(np.float32)
    painted = np.where(masks[..., None] > 0, 255 - frames, frames)
    assert np.array_equal(embed.backgrounds(frames, masks), embed.backgrounds(painted, masks))
    free = masks == 0
    assert np.array_equal(embed.backgrounds(frames, masks)[free], frames[free])


def test_missing_weights_are_named_with_their_command_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "look_up", asked)
    nowhere = WeightsLocation(tmp_path)  # downloads are not off
    for load, source in (
        (embed.clip_embedders, CLIP), (embed.dino_embedder, DINO),
        (embed.videomae_embedder, VIDEOMAE),
    ):  # fmt: skip
        assert find_local(source, nowhere) is None
        words = f"{source.repo} is not on this machine: run `aa models fetch {source.name}`"
        with pytest.raises(UsageError, match=words):
            load(nowhere)
    (tmp_path / "clip").mkdir()
    with pytest.raises(UsageError, match="pickled weights"):
        embed.clip_embedders(nowhere)
    (tmp_path / "dino").mkdir()
    (tmp_path / "dino" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UsageError) as error:
        embed.dino_embedder(nowhere)
    assert "\n" not in str(error.value) and str(tmp_path / "dino") in str(error.value)


def test_faces_need_the_package_and_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "WEIGHTS", "no_such_package")
    with pytest.raises(UsageError, match=r"not installed; run: .*\[faces\]"):
        faces.face_embedder()


def test_faces_of_one_person_are_nearer_than_the_threshold() -> None:
    pytest.importorskip("dlib", reason="the faces extra is not installed")
    embedder = faces.face_embedder()
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert embedder(noise).shape == (0, faces.LENGTH)
    rows = {}
    for name in ("AnyCharV/dance1.mp4", "ControlVideo/moonwalk.mp4"):
        path = Path(__file__).parents[3] / "shared" / "real" / name
        if not path.is_file():
            pytest.skip(f"{path} is not there: real clips are not part of the project")
        rows[name] = embedder(video.read(path, max_frames=24, fps=8).frames[::6])
    one, other = rows.values()
    assert len(one) >= 2 and len(other) >= 2
    assert metrics.distance(one, one[::-1]) < 0.6 < metrics.distance(one, other)
