"""One-shot learning for real, on the tiny base."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from animateanywhere import puppets
from animateanywhere.backbones.base import encode_text, load_base
from animateanywhere.backbones.personal_weights import (
    EMBEDDING,
    load_personal,
    read_metadata,
)
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.datasets.subject import Subject
from animateanywhere.methods.animate_anywhere.background_augmentation import augment_backgrounds
from animateanywhere.methods.animate_anywhere.prior_preservation import (
    PriorData,
    cache_file,
    prior_data,
    sample_people,
)
from animateanywhere.methods.animate_anywhere.settings import Extras, Recipe, load_recipe
from animateanywhere.methods.animate_anywhere.subject_data import (
    Clips,
    SubjectData,
    batches,
    encode_subject,
    new_token,
    placed,
    token_regions,
)
from animateanywhere.preprocessing.captions.template import SCENES
from animateanywhere.training.stage import Stage

CLIP, POSE = EXAMPLES / "reference.mp4", EXAMPLES / "driving.mp4"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def learn(base: Path, recipe: Recipe | None = None, **options: object) -> Path:
    return personalize(
        CLIP,
        "sks",
        PersonalizeOptions(
            class_word="man", base=str(base), scene="in a room", recipe=recipe, **options
        ),  # type: ignore[arg-type]
    )


def test_learn_then_generate(tiny_base: Path, place: Path) -> None:
    path = learn(tiny_base)
    assert path == Path("runs/sks/personal.safetensors")
    metadata = read_metadata(path)
    assert (metadata["token"], metadata["class_word"]) == ("sks", "man")
    assert json.loads(metadata["recipe"])["loss"]["alpha"] == 0.001
    made = generate("sks man on a beach", POSE, GenerateOptions(frames=6, steps=2))
    assert made.parent == Path("runs/sks")
    assert json.loads(made.with_suffix(".json").read_text())["token"] == "sks"


def test_what_is_said_of_the_looks_goes_into_prompts(tiny_base: Path, place: Path) -> None:
    path = learn(tiny_base, appearance="in a red shirt")
    assert read_metadata(path)["appearance"] == "in a red shirt"

    def said(prompt: str, **options: object) -> tuple[str, bytes]:
        made = generate(prompt, POSE, GenerateOptions(frames=2, steps=1, **options))  # type: ignore[arg-type]
        return json.loads(made.with_suffix(".json").read_text())["said"], made.read_bytes()

    words, video = said("sks man on a beach")
    assert words == "sks man in a red shirt on a beach"
    bare, other = said("sks man on a beach", appearance="", out=place / "bare.mp4")
    assert bare == "sks man on a beach"
    assert video != other
    changed, _ = said("sks man on a beach", appearance="in a blue coat", out=place / "coat.mp4")
    assert changed == "sks man in a blue coat on a beach"
    assert said("a man on a beach", weights=path)[0] == "a man on a beach"


def test_looks_are_found_where_the_recipe_says_so(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe("personalize-tiny")
    auto = replace(recipe, extras=replace(recipe.extras, appearance="auto"))
    found = read_metadata(learn(tiny_base, auto))["appearance"]
    assert found.startswith(("in ", "with ")) or found == ""
    assert f"sks {found}"[:20] in " ".join(capsys.readouterr().err.split())


def test_regularization_of_rendered_people(tiny_base: Path, place: Path) -> None:
    """Pictures that the base was trained on; drawn anew when they should be other ones."""
    base, recipe = load_base(tiny_base), load_recipe("personalize-tiny")
    rendered = replace(recipe, personal=replace(recipe.personal, prior="puppets"))
    found = {
        name: prior_data(base, "woman", settings, 0, video=False)
        for name, settings in (("base", recipe), ("puppets", rendered))
    }
    assert found["base"].captions == found["puppets"].captions
    assert found["base"].latents.shape == found["puppets"].latents.shape
    assert not torch.equal(found["base"].latents, found["puppets"].latents)
    specs = [puppets.caption(spec, spec.seed) for spec in sample_people("woman", 2, 1)]
    assert found["puppets"].captions == specs
    files = {cache_file(base, "woman", settings, 0, False) for settings in (recipe, rendered)}
    assert len(files) == 2
    again = prior_data(base, "woman", rendered, 0, video=False)
    assert torch.equal(again.latents, found["puppets"].latents)
    clips = prior_data(base, "woman", rendered, 0, video=True)
    assert clips.latents.shape[:2] == (2, base.config["frames"])


def test_only_what_changed_is_saved(tiny_base: Path, place: Path) -> None:
    tensors = load_file(learn(tiny_base))
    base = load_base(tiny_base)
    spatial = {f"unet.{name}" for name, _ in base.denoiser.named_parameters()}
    assert set(tensors) == spatial | {EMBEDDING}
    recipe = load_recipe("personalize-tiny")
    motion_only = replace(recipe, stage=recipe.stages("motion"))
    few = load_file(learn(tiny_base, motion_only, out=place / "few"))
    assert few and all("attn2" in name and "motion" not in name for name in set(few) - {EMBEDDING})


def test_the_file_gives_what_training_had(tiny_base: Path, place: Path) -> None:
    path = learn(tiny_base)
    base = load_base(tiny_base)
    before = base.denoiser.state_dict()["conv_in.weight"].clone()
    load_personal(path, base)
    after = base.denoiser.state_dict()["conv_in.weight"]
    assert not torch.equal(before, after)
    best = load_file(Path("runs/sks/training/appearance/best.safetensors"))
    torch.testing.assert_close(after, best["unet.conv_in.weight"], atol=1e-3, rtol=1e-3)


def test_of_the_embedding_only_the_token_learns(tiny_base: Path, place: Path) -> None:
    learn(tiny_base)
    checkpoint = load_file(Path("runs/sks/training/appearance/checkpoint.safetensors"))
    base = load_base(tiny_base)
    index = new_token(base, "sks", "man")
    table: Any = base.text_encoder.get_input_embeddings().weight
    learned = checkpoint["model.token_embedding.weight"]
    assert learned.shape == (1, table.shape[1])
    assert not torch.equal(learned[0], table[index])
    words = len(table)
    assert not [name for name, tensor in checkpoint.items() if words in tensor.shape]


def test_the_text_encoder_learns_beside_the_token_but_for_its_words(
    tiny_base: Path, place: Path
) -> None:
    recipe = load_recipe("personalize-tiny")
    both = replace(recipe, personal=replace(recipe.personal, train_text_encoder=True))
    tensors = load_file(learn(tiny_base, both))
    base = load_base(tiny_base)
    own = {f"text_encoder.{name}" for name, _ in base.text_encoder.named_parameters()}
    table = {name for name in own if name.endswith("token_embedding.weight")}
    assert table and own - table <= set(tensors) and not table & set(tensors)
    assert EMBEDDING in tensors


def test_the_same_command_again_does_nothing(tiny_base: Path, place: Path) -> None:
    path = learn(tiny_base)
    before = path.stat().st_mtime_ns
    learn(tiny_base)
    assert path.stat().st_mtime_ns == before
    learn(tiny_base, seed=1)  # other settings are another run
    assert path.stat().st_mtime_ns != before


def test_a_stopped_run_goes_on(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learn(tiny_base, out=place / "whole").read_bytes()

    from animateanywhere.methods.animate_anywhere import personal_stages as module

    real, calls = module.method.loss, 0

    def stops(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the motion stage
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module.method, "loss", stops)
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_base, out=place / "cut")
    monkeypatch.setattr(module.method, "loss", real)
    assert not (place / "cut" / "personal.safetensors").exists()
    assert learn(tiny_base, out=place / "cut").read_bytes() == whole


@pytest.mark.parametrize("switch", ["weaken", "guide"])
def test_each_switch_changes_the_result(tiny_base: Path, place: Path, switch: str) -> None:
    recipe = load_recipe("personalize-tiny")
    off = replace(recipe, loss=replace(recipe.loss, **{switch: False}))
    a = load_file(learn(tiny_base, recipe, out=place / "on"))
    b = load_file(learn(tiny_base, off, out=place / "off"))
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_placement_augmentation_is_the_same_person_smaller_and_elsewhere() -> None:
    clip = puppets.render(puppets.sample_spec(3), frames=3, size=96)
    subject = Subject(Path(), clip.frames, clip.masks / np.float32(255), clip.keypoints,
                      ["a"] * 3, 8.0, "man", None)  # fmt: skip
    for number in (1, 2, 3):
        seen = placed(subject, number)
        assert seen.frames.shape == subject.frames.shape and seen.masks.max() == 1
        assert seen.masks.sum() < 1.05 * subject.masks.sum()
        assert not np.array_equal(seen.frames, subject.frames)
        for before, after in zip(_within(subject), _within(seen), strict=True):
            assert after == pytest.approx(before, abs=8)  # levels: its mean color
        shown = seen.keypoints[..., 2] > 0.5
        assert shown.sum() > 0.6 * (subject.keypoints[..., 2] > 0.5).sum()
        frame, joint = np.nonzero(shown)
        x, y = seen.keypoints[frame, joint, :2].astype(int).clip(0, 95).T
        assert seen.masks[frame, y, x].mean() > 0.85


def test_the_person_is_put_into_other_places(tiny_base: Path, tmp_path: Path) -> None:
    base = load_base(tiny_base)
    size = base.config["size"]
    clip = puppets.render(puppets.sample_spec(3), frames=9, size=size)
    masks = np.zeros(clip.masks.shape, np.float32)
    masks[:, :, : size // 2] = 1
    subject = Subject(Path(), clip.frames, masks, clip.keypoints, ["a"] * 9, 8.0, "man", None)
    extras = Extras(background_images=10, placements=1, appearance="in red")
    recipe = Recipe("short", extras=extras)
    rows = encode_subject(base, subject, "sks", recipe)
    away = augment_backgrounds(base, subject, "sks", recipe, 0, 1, tmp_path)
    assert all(len(part) == 10 for part in (away.latents, away.poses, away.masks, away.tokens))
    assert all("sks man in red" in text and text.endswith(SCENES) for text in away.captions)
    assert len(set(away.captions)) > 5
    assert (tmp_path / "background_augmentation.png").is_file()
    # as filmed within the mask, something else beside it
    poses = rows.poses[0].flatten(1)  # (N, D)
    frames = torch.cdist(away.poses.flatten(1), poses).argmin(1)  # (P,)
    assert torch.allclose(away.poses.flatten(1), poses[frames], atol=1e-4)
    change = (away.latents[:, 0] - rows.latents[0, frames]).abs()
    edge = change.shape[-1] // 4
    assert change[..., -edge:].mean() > 3 * change[..., :edge].mean()
    again = augment_backgrounds(base, subject, "sks", recipe, 0, 1, tmp_path)
    assert torch.equal(again.latents, away.latents)
    clips = augment_backgrounds(base, subject, "sks", recipe, 0, 4, tmp_path)
    length = base.config["frames"]
    assert clips.latents.shape[:2] == clips.masks.shape[:2] == (extras.background_clips, length)
    shown = torch.cdist(clips.poses.flatten(2), poses[None]).argmin(2)  # (P, F)
    assert (shown.diff(dim=1) == 1).all()  # frames in their order


def _within(subject: Subject) -> np.ndarray:
    return (subject.frames * subject.masks[..., None]).sum((0, 1, 2)) / subject.masks.sum()


def test_token_regions(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    captions = ["a man in a room walks", "a woman walks"]
    regions = token_regions(base, captions, ["man"], ["in a room"])
    words = base.tokenizer.convert_ids_to_tokens(base.tokenizer(captions[0]).input_ids)
    named = dict(zip(words, regions[0].tolist(), strict=False))
    assert named["man</w>"] == 1 and named["room</w>"] == -1 and named["walks</w>"] == 0
    assert named["a</w>"] == 0 or words.count("a</w>") > 1
    assert regions[1].abs().sum() == 0


def test_a_base_of_another_training_is_refused(tiny_base: Path, trained: Path, place: Path) -> None:
    path = learn(tiny_base)
    with pytest.raises(UsageError, match="another one"):
        generate(
            "sks man on a beach",
            POSE,
            GenerateOptions(weights=path, base=str(trained), frames=4, steps=1),
        )


def test_rows_show_other_places_and_drop_captions_of_others_only(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    here, there, other = "a man in a room", "a man on a beach", "a woman walks"
    states = {text: encode_text(base, [text])[0] for text in (here, there, other, "")}
    maps = {here: torch.zeros(48), there: torch.ones(48)}
    frames, poses = torch.zeros(2, 8, 4, 8, 8), torch.zeros(2, 8, 4, 8, 8)
    rows = SubjectData(
        frames, poses, frames[:, :, :1], [here] * 8, maps[here].expand(8, -1), "sks", 0
    )
    away = Clips(frames + 1, poses, frames[:, :, :1], [there] * 2, maps[there].expand(2, -1))
    prior = PriorData(torch.zeros(1, 4, 4, 8, 8), torch.zeros(1, 4, 4, 8, 8), [other])
    stage = Stage("a", "appearance", 1, batch=40, prior_batch=40, dropout=0.5)
    recipe = Recipe("half", extras=Extras(background_augmentation=0.5))
    made = batches(base, stage, rows, prior, recipe, False, away)(torch.Generator())

    def said(row: int) -> str:
        return next(t for t, s in states.items() if torch.equal(s, made.text_states[row]))

    subject, others = [said(r) for r in range(40)], [said(r) for r in range(40, 80)]
    assert set(subject) == {here, there} and set(others) == {other, ""}
    assert [float(x.mean()) for x in made.latents[:40]] == [text == there for text in subject]
    assert 10 < subject.count(there) < 30 and 10 < others.count("") < 30
    assert made.tokens is not None and made.background is not None and made.mask is not None
    counts = {here: 1e-6, there: 1.0}  # alpha squared, and synthetic backgrounds in full
    assert made.background[:40].tolist() == pytest.approx([counts[text] for text in subject])
    assert (made.background[40:] == 1).all() and (made.mask[40:] == 0.5).all()
    assert all(torch.equal(made.tokens[r], maps[text]) for r, text in enumerate(subject))
