"""One-shot learning for real, on the tiny base."""

import inspect
import itertools
import json
import shutil
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from animateanywhere import puppets
from animateanywhere.backbones.base import encode_text, load_base
from animateanywhere.backbones.personal_weights import (
    EMBEDDING,
    load_personal,
    read_metadata,
)
from animateanywhere.commands import collage_choice
from animateanywhere.commands import generate as generate_command
from animateanywhere.commands import personalize as command
from animateanywhere.commands.collage_choice import warn_of_clothes
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.commands.personalize import PersonalizeOptions, personalize
from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import UsageError
from animateanywhere.core.estimate import Estimate
from animateanywhere.core.frame_size import square
from animateanywhere.core.paths import EXAMPLES, recipes_folder
from animateanywhere.datasets.subject import Subject, read_subject
from animateanywhere.media import provenance, video
from animateanywhere.media.source import Part
from animateanywhere.methods.animate_anywhere import (
    background_augmentation,
    personal_stages,
    stage_data,
)
from animateanywhere.methods.animate_anywhere.background_augmentation import augment_backgrounds
from animateanywhere.methods.animate_anywhere.prior_preservation import (
    PriorData,
    cache_file,
    prior_data,
    sample_people,
)
from animateanywhere.methods.animate_anywhere.settings import (
    NO_EXTRAS,
    Extras,
    Loss,
    Recipe,
    Stage,
    load_recipe,
)
from animateanywhere.methods.animate_anywhere.stage_data import StageData
from animateanywhere.methods.animate_anywhere.subject_data import (
    Clips,
    SubjectData,
    batches,
    encode_subject,
    new_token,
    placed,
    token_regions,
)
from animateanywhere.pose.skeleton import read_poses, write_poses
from animateanywhere.preprocessing.captions.template import SCENES

CLIP, POSE = EXAMPLES / "reference.mp4", EXAMPLES / "driving.mp4"
MADE = Path("made.mp4")
WEIGHTS = Path("runs/sks/personal.safetensors")
TINY = load_recipe("personalize-tiny")
BARE = replace(TINY, extras=NO_EXTRAS)  # a quarter of the time


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


@pytest.fixture(scope="module")
def first(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one person was learned, as runs/sks."""
    folder = tmp_path_factory.mktemp("first")
    with chdir(folder):
        assert learn(tiny_base) == WEIGHTS
    return folder


@pytest.fixture
def learned(first: Path, place: Path) -> Path:
    """Runs in a copy of that folder; its weights."""
    shutil.copytree(first, place, dirs_exist_ok=True)
    return WEIGHTS


def test_learn_then_generate(learned: Path) -> None:
    metadata = read_metadata(learned)
    assert (metadata["token"], metadata["class_word"]) == ("sks", "man")
    assert json.loads(metadata["recipe"])["loss"]["alpha"] == 0.001
    made = generate("sks man on a beach", POSE, GenerateOptions(frames=6, steps=2))
    assert made.parent == Path("runs/sks")
    assert json.loads(made.with_suffix(".json").read_text())["token"] == "sks"


@pytest.fixture
def laying(tiny_base: Path, tmp_path: Path) -> str:
    """That base, which lays limbs by default; its folder."""
    folder = tmp_path / "laying"
    shutil.copytree(tiny_base, folder)
    config = folder / "base.toml"
    config.write_text(config.read_text() + "collage = true\n")
    return str(folder)


def made_with(**options: Any) -> tuple[np.ndarray, Any]:
    """The frames of a video of the learned person, and its settings."""
    options = {"frames": 6, "steps": 2, "fit": "none", "overwrite": True} | options
    options.setdefault("out", MADE)
    made = generate(
        options.pop("prompt", "sks man on a beach"),
        EXAMPLES / "driving.poses.json",
        GenerateOptions(**options),
    )
    return video.read(made).frames, json.loads(made.with_suffix(".json").read_text())


def test_the_persons_own_limbs_are_laid_over_what_the_network_draws(
    learned: Path, laying: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, settings = made_with(base=laying, collage=False)
    assert settings["collage"] is False and "limbs" not in capsys.readouterr().err
    assert provenance.read(MADE).source == "trainedAlgorithmicMedia"  # type: ignore[union-attr]
    frames, settings = made_with(base=laying)
    composite = "compositeWithTrainedAlgorithmicMedia"
    assert provenance.read(MADE).source == composite  # type: ignore[union-attr]
    assert settings["provenance"]["digital_source_type"].endswith(composite)
    assert settings["collage"] is True
    (number,) = settings["collage_frames"]
    assert f"limbs, of frame {number} of the clip, are laid over" in capsys.readouterr().err
    again, _ = made_with(base=laying)
    assert (frames == again).all() and (frames != plain).any()
    trembling, told = made_with(base=laying, steady_background=False)
    assert settings["steady_background"] and not told["steady_background"]
    corners = [np.abs(np.diff(some[:, :8, :8].astype(int), axis=0)) for some in (frames, trembling)]
    assert corners[0].mean() < 0.5 * corners[1].mean()
    poses = read_poses(Path("runs/sks/subject/poses.json"))
    poses.keypoints[..., 0] += 1  # corrected: another video
    write_poses(Path("runs/sks/subject/poses.json"), poses)
    assert made_with(base=laying)[1]["collage_poses"] != settings["collage_poses"]
    subject = read_subject("runs/sks/subject")
    own = subject.frames[subject.masks > 0.9].astype(float)
    points = read_poses(EXAMPLES / "driving.poses.json")
    scale = plain.shape[1] / points.height
    trunk = points.keypoints[:6, [1, 8, 11], :2].mean(1) * scale  # (F, 2)

    def apart(video: np.ndarray) -> float:
        some = [frame[int(y), int(x)] for frame, (x, y) in zip(video, trunk, strict=True)]
        return float(np.mean([np.abs(own - color).sum(-1).min() for color in some]))

    assert apart(frames) < 0.5 * apart(plain)  # an untrained network draws noise


def unmasked(subject: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a learned person's clip black masks, as if learned with them."""
    for path in (subject / "masks").glob("*.png"):
        Image.fromarray(0 * np.array(Image.open(path))).save(path)
    digest = read_metadata(WEIGHTS)["subject"]
    monkeypatch.setattr(Subject, "digest", lambda self: digest)


@pytest.mark.parametrize(("change", "why"), [
    ({"appearance": "in a hat"}, "--appearance asks for another one"),
    ({"others": ((WEIGHTS, 0.5),)}, "several weights make another person"),
    ("gone", "subject, the clip that the weights were learned from, is not there"),
    ("damaged", "cannot be used: runs/sks/subject/masks: no PNG files"),
    ("other", "is another clip than the weights were learned from"),
    ("hidden", "shows shoulders and hips"),
    ("black", "no mask of runs/sks/subject holds the trunk"),
    ("nobody", "the prompt does not name sks"),
])  # fmt: skip
def test_why_no_limbs_are_laid_is_said(
    learned: Path, laying: str, change: Any, why: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    subject = Path("runs/sks/subject")
    options = change if isinstance(change, dict) else {}
    if change == "gone":
        shutil.rmtree(subject)
    elif change == "damaged":
        shutil.rmtree(subject / "masks")
    elif change == "other":
        picture = subject / "masks" / "0000.png"
        Image.fromarray(255 - np.array(Image.open(picture))).save(picture)
    elif change == "hidden":
        path = subject / "poses.json"
        poses = read_poses(path)
        poses.keypoints[:, [8, 11]] = 0
        write_poses(path, poses)
    elif change == "black":
        unmasked(subject, monkeypatch)
    elif change == "nobody":
        options = {"weights": WEIGHTS}
        monkeypatch.setattr(collage_choice, "mentions", lambda *given: False)
    _, settings = made_with(base=laying, **options)
    said = " ".join(capsys.readouterr().err.split())
    assert settings["collage"] is False
    assert "no limbs are laid over what the network draws" in said and why in said
    with pytest.raises(UsageError, match="--collage: ") as error:
        made_with(base=laying, collage=True, **options)
    assert why in str(error.value)


def test_limbs_in_other_clothes_than_the_prompt_names_are_said(
    learned: Path, laying: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As words in --appearance they leave the limbs out; blank ones are none."""
    _, settings = made_with(base=laying, appearance=" ")
    assert settings["collage"] and "hair and clothes" not in capsys.readouterr().err
    _, settings = made_with(base=laying, prompt="sks man in a red hat on a beach")
    said = " ".join(capsys.readouterr().err.split())
    assert settings["collage"] and 'the prompt says "red hat": hair and clothes are' in said
    warn_of_clothes("sks man in a red hat", {"appearance": "in a Red Hat and a blue shirt"})
    assert not capsys.readouterr().err
    made_with(base=laying, prompt="sks man in a red hat on a beach", collage=False)
    assert "hair and clothes" not in capsys.readouterr().err


def test_laying_limbs_is_part_of_the_estimate(
    learned: Path, laying: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Estimate(10.0, 1.0, {"steps": 10.0}, (5.0, 1.0))
    monkeypatch.setattr(generate_command, "estimate_generation", lambda *given: (known, []))
    monkeypatch.setattr(generate_command.history, "add", lambda *given: None)
    for laid in (False, True):
        made_with(base=laying, collage=laid)
        told = json.loads(MADE.with_suffix(".estimate.json").read_text())
        assert ("limbs" in told["parts"]) == laid and (told["seconds"] > 10) == laid
        assert told["seconds"] - 10 == pytest.approx(told["parts"].get("limbs", 0))
        assert told["least"][0] - 5 == pytest.approx(told["seconds"] - 10)


def test_limbs_are_laid_with_any_base_where_asked_for_and_need_joints(
    tiny_base: Path, learned: Path
) -> None:
    assert made_with()[1]["collage"] is False
    assert made_with(collage=True)[1]["collage"]
    bars = np.zeros((4, 128, 128, 3), np.uint8)  # of a skeleton in unknown colors
    bars[:, 20:100, 40:44], bars[:, 20:100, 80:84] = (255, 153, 51), (0, 255, 0)
    video.write(Path("bars.mp4"), bars, 8.0)
    with pytest.raises(UsageError, match="--collage: the motion has no joints"):
        generate("sks man", Path("bars.mp4"), GenerateOptions(steps=1, collage=True))
    head = read_poses(EXAMPLES / "driving.poses.json")
    head.keypoints[:, [8, 11]] = 0
    write_poses(Path("head.poses.json"), head)
    with pytest.raises(UsageError, match="--collage: the motion shows no torso"):
        generate("sks man", Path("head.poses.json"), GenerateOptions(steps=1, collage=True))
    with pytest.raises(UsageError, match="--steady-background: it needs the person's limbs"):
        made_with(steady_background=True)
    with pytest.raises(UsageError, match="--collage: no person was learned"):
        generate(
            "a man", POSE, GenerateOptions(frames=4, steps=1, collage=True, base=str(tiny_base))
        )


def test_a_prepared_folder_is_learned_as_it_was_corrected(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = load_base(tiny_base).frame
    folder = prepare(CLIP, "mine", class_word="man", scene="in a room", size=size).folder
    lines = (folder / "captions.jsonl").read_text().splitlines()
    lines[2] = json.dumps({"frame": 2, "caption": "a <token> man corrected"})
    (folder / "captions.jsonl").write_text("\n".join(lines))
    options = PersonalizeOptions(base=str(tiny_base), recipe=BARE)

    def captions() -> list[str]:
        return list(json.loads(read_metadata(personalize(folder, "sks", options))["captions"]))

    first = captions()
    said = " ".join(capsys.readouterr().err.split())
    assert first[2] == "a <token> man corrected" and first[1] == "a <token> man in a room"
    assert "corrected manually: caption 2" in said and "estimating" not in said
    assert (place / "runs/sks/subject/report.html").is_file()  # `aa evaluate` looks there
    assert captions() == first and "already exists" in capsys.readouterr().err
    lines[3] = lines[2].replace("2", "3")  # corrected further: the copy follows
    (folder / "captions.jsonl").write_text("\n".join(lines))
    assert captions()[3] == "a <token> man corrected"
    own = place / "runs/sks/subject/captions.jsonl"  # by the user, in the copy
    own.write_text(own.read_text().replace("corrected", "kept"))
    with pytest.raises(UsageError, match="manual corrections that mine lacks"):
        captions()
    assert "kept" in own.read_text()


def test_what_a_prepared_folder_cannot_be(tiny_base: Path, place: Path) -> None:
    size = load_base(tiny_base).frame
    folder = prepare(CLIP, "mine", class_word="man", scene="in a room", size=size).folder
    options = PersonalizeOptions(base=str(tiny_base), recipe=BARE)
    for other, words in (
        ({"class_word": "woman"}, "--class-word belongs to the preparation"),
        ({"scene": "on a beach"}, "--scene belongs"),
        ({"person": 2}, "--person belongs"),
        ({"part": Part(start=1)}, "--start, --frames or --input-fps belongs"),
    ):
        with pytest.raises(UsageError, match=words):
            personalize(folder, "sks", replace(options, **other))  # type: ignore[arg-type]
    large = prepare(CLIP, "large", size=square(128)).folder
    with pytest.raises(UsageError, match="run `aa prepare` with --size 64x64"):
        personalize(large, "sks", options)
    slow = prepare(CLIP, "slow", size=size, fps=4).folder
    with pytest.raises(UsageError, match="4 frames per second, where base tiny has 8"):
        personalize(slow, "sks", options)
    shutil.rmtree(folder / "masks")
    with pytest.raises(UsageError, match="masks: no PNG files"):
        personalize(folder, "sks", options)
    assert not any(place.rglob("*.safetensors"))


def test_words_for_the_appearance_go_into_prompts(tiny_base: Path, place: Path) -> None:
    path = learn(tiny_base, BARE, appearance="in a red shirt")
    assert read_metadata(path)["appearance"] == "in a red shirt"

    def said(prompt: str, **options: object) -> tuple[str, bytes]:
        made = generate(prompt, POSE, GenerateOptions(frames=2, steps=1, **options))  # type: ignore[arg-type]
        return json.loads(made.with_suffix(".json").read_text())["full_prompt"], made.read_bytes()

    words, video = said("sks man on a beach")
    assert words == "sks man in a red shirt on a beach"
    bare, other = said("sks man on a beach", appearance="", out=place / "bare.mp4")
    assert bare == "sks man on a beach"
    assert video != other
    changed, _ = said("sks man on a beach", appearance="in a blue coat", out=place / "coat.mp4")
    assert changed == "sks man in a blue coat on a beach"
    assert said("a man on a beach", weights=path)[0] == "a man on a beach"


def test_the_appearance_is_searched_if_the_recipe_says_so(
    tiny_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auto = replace(BARE, extras=replace(NO_EXTRAS, appearance="auto"))
    found = read_metadata(learn(tiny_base, auto))["appearance"]
    assert found.startswith(("in ", "with ")) or found == ""
    assert f"sks {found}"[:20] in " ".join(capsys.readouterr().err.split())


def test_regularization_of_rendered_people(tiny_base: Path, place: Path) -> None:
    """Pictures that the base was trained on; drawn anew when they should be other ones."""
    base, recipe = load_base(tiny_base), TINY
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


def test_only_what_changed_is_saved(tiny_base: Path, learned: Path, place: Path) -> None:
    tensors = load_file(learned)
    base = load_base(tiny_base)
    spatial = {f"unet.{name}" for name, _ in base.denoiser.named_parameters()}
    assert set(tensors) == spatial | {EMBEDDING}
    motion_only = replace(BARE, stage=BARE.stages("motion"))
    few = load_file(learn(tiny_base, motion_only, out=place / "few"))
    assert few and all("attn2" in name and "motion" not in name for name in set(few) - {EMBEDDING})


def test_the_file_gives_what_training_had(tiny_base: Path, learned: Path) -> None:
    base = load_base(tiny_base)
    before = base.denoiser.state_dict()["conv_in.weight"].clone()
    load_personal(learned, base)
    after = base.denoiser.state_dict()["conv_in.weight"]
    assert not torch.equal(before, after)
    best = load_file(Path("runs/sks/training/appearance/best.safetensors"))
    torch.testing.assert_close(after, best["unet.conv_in.weight"], atol=1e-3, rtol=1e-3)


def test_of_the_embedding_only_the_token_learns(tiny_base: Path, learned: Path) -> None:
    checkpoint = load_file(Path("runs/sks/training/appearance/checkpoint.safetensors"))
    base = load_base(tiny_base)
    index = new_token(base, "sks", "man")
    table: Any = base.text_encoder.get_input_embeddings().weight
    token = checkpoint["model.token_embedding.weight"]
    assert token.shape == (1, table.shape[1])
    assert not torch.equal(token[0], table[index])
    best = load_file(learned.parent / "training/appearance/best.safetensors")
    kept = best["token_embedding.weight"].flatten()
    torch.testing.assert_close(load_file(learned)[EMBEDDING].flatten().float(), kept, atol=1e-3,
                               rtol=1e-3)  # fmt: skip
    words = len(table)
    assert not [name for name, tensor in checkpoint.items() if words in tensor.shape]


def test_the_text_encoder_is_trained_without_its_known_words(tiny_base: Path, place: Path) -> None:
    both = replace(BARE, personal=replace(BARE.personal, train_text_encoder=True))
    tensors = load_file(learn(tiny_base, both))
    base = load_base(tiny_base)
    own = {f"text_encoder.{name}" for name, _ in base.text_encoder.named_parameters()}
    table = {name for name in own if name.endswith("token_embedding.weight")}
    assert table and own - table <= set(tensors) and not table & set(tensors)
    assert EMBEDDING in tensors


def test_the_same_command_again_does_nothing(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []

    def fit(*given: Any, **options: Any) -> Any:
        fitted.append(given[1].name)
        return real(*given, **options)

    real = personal_stages.fit
    monkeypatch.setattr(personal_stages, "fit", fit)
    path = learn(tiny_base, BARE)
    before = path.read_bytes()
    assert fitted == ["appearance", "motion"]
    learn(tiny_base, BARE)
    assert fitted == ["appearance", "motion"] and path.read_bytes() == before
    learn(tiny_base, BARE, seed=1)  # other settings are another run
    assert fitted == ["appearance", "motion"] * 2 and path.read_bytes() != before


def test_without_extras_nothing_of_ours_runs(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`enabled = false` in a recipe, whatever else its table says."""
    head, table = (recipes_folder() / "personalize-tiny.toml").read_text().split("[extras]\n")
    ours = place / "ours.toml"
    wanted = "background_augmentation = 0.5\nplacements = 3\nfit_vae_steps = 2\n"
    wanted += 'fit_vae_below = 90.0\nappearance = "auto"\ncheckpoint_selection = true\n'
    ours.write_text(f"{head}[extras]\nenabled = false\n{wanted}{table}")
    recipe = load_recipe(ours)
    assert recipe.extras == NO_EXTRAS

    def never(*given: object) -> None:
        raise AssertionError("an extra ran")

    monkeypatch.setattr(stage_data, "augment_backgrounds", never)
    for name in ("find_appearance", "fit_vae", "make_validations"):
        monkeypatch.setattr(command, name, never)
    seen: list[SubjectData] = []
    real = stage_data.encode_subject

    def encode(*given: Any) -> SubjectData:
        seen.append(real(*given))
        return seen[-1]

    monkeypatch.setattr(stage_data, "encode_subject", encode)
    about = read_metadata(learn(tiny_base, recipe, estimate=False))
    assert about["appearance"] == "" and "chosen" not in about
    (rows,) = seen
    assert rows.latents.shape[:2] == (1, len(json.loads(about["captions"])))  # none held out
    assert not (place / "runs/sks/scores.json").exists()


def test_stages_pass_on_what_recipe_and_base_say(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(tiny_base)
    base.config["noise_share"] = 0.4
    base.scheduler.register_to_config(image_beta_schedule="linear")
    recipe = load_recipe("personalize-tiny")
    shifts = {"appearance": (2.0, False), "motion": (3.0, True)}
    stages = [
        replace(stage, timestep_shift=shifts[stage.name][0], row_by_row=shifts[stage.name][1])
        for stage in recipe.stage
    ]
    recipe = replace(recipe, stage=tuple(stages), loss=Loss(alpha=0.5))
    index = new_token(base, "sks", "man")
    shape, captions = (1, 8, 4, 8, 8), ["a sks man"] * 8
    some = SubjectData(torch.zeros(shape), torch.zeros(shape), torch.ones(1, 8, 1, 8, 8), captions,
                       torch.zeros(8, 48), "sks", index)  # fmt: skip
    prior = PriorData(torch.zeros(shape), torch.zeros(shape), ["a man"])
    passed: list[dict[str, Any]] = []
    signature = inspect.signature(personal_stages.method.loss)

    def loss(*given: Any, **options: Any) -> Any:
        bound = signature.bind(*given, **options)
        bound.apply_defaults()
        passed.append(bound.arguments)
        return torch.zeros(()), {}

    def fit(model: Any, stage: Any, loss_fn: Any, *given: Any, **options: Any) -> dict[str, Any]:
        loss_fn(model, torch.Generator())
        return {}

    monkeypatch.setattr(personal_stages.method, "loss", loss)
    monkeypatch.setattr(personal_stages, "fit", fit)
    data = StageData(some, prior)
    personal_stages.learn(
        base, recipe, {"appearance": data, "motion": data}, index, tmp_path, 0, {}
    )
    assert [(row["timestep_shift"], row["row_by_row"]) for row in passed] == list(shifts.values())
    assert [row["noise_share"] for row in passed] == [0.4, 0.4]
    assert all(row["settings"] == recipe.loss for row in passed)
    betas = [row["scheduler"].config.beta_schedule for row in passed]
    assert betas == ["linear", base.scheduler.config.beta_schedule] and len(set(betas)) == 2
    assert [len(row["batch"].latents) for row in passed] == [2 + 2, 1 + 1]


def test_a_stopped_run_goes_on(
    tiny_base: Path, learned: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = personal_stages.method.loss, 0

    def stops(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the motion stage
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(personal_stages.method, "loss", stops)
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_base, out=place / "cut")
    monkeypatch.setattr(personal_stages.method, "loss", real)
    # A GPU may generate other pictures the second time
    monkeypatch.setattr(background_augmentation, "_generate_scenes", None)
    assert not (place / "cut" / "personal.safetensors").exists()
    assert learn(tiny_base, out=place / "cut").read_bytes() == learned.read_bytes()


def test_words_are_searched_once_in_a_run(
    tiny_base: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter(["in a red shirt", "in a blue shirt"])
    monkeypatch.setattr(command, "find_appearance", lambda *given: next(found))

    def stops(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "learn", stops)
    auto = replace(BARE, extras=replace(NO_EXTRAS, appearance="auto"))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learn(tiny_base, auto)
    monkeypatch.setattr(command, "learn", personal_stages.learn)
    assert read_metadata(learn(tiny_base, auto))["appearance"] == "in a red shirt"


def test_no_data_is_made_that_no_stage_uses(
    tiny_base: Path, place: Path, empty_cache: Path
) -> None:
    extras = replace(TINY.extras, checkpoint_selection=False)
    appearance, motion = TINY.stage
    alone = replace(TINY, stage=(replace(appearance, prior_batch=0),), extras=extras)
    learn(tiny_base, alone, out=place / "images")
    assert not (empty_cache / "user/regularization").exists()
    made = place / "images/training"
    assert [file.name for file in made.glob("backgrounds*")] == ["backgrounds_images.safetensors"]
    clips = replace(TINY, stage=(motion,), extras=extras)
    learn(tiny_base, clips, out=place / "clips")
    (regular,) = (empty_cache / "user/regularization").glob("*.safetensors")
    assert not (place / "runs").exists()  # not asked for
    assert load_file(regular)["latents"].shape[1] == motion.frames
    made = place / "clips/training"
    assert [file.name for file in made.glob("backgrounds*")] == ["backgrounds_clips.safetensors"]


def test_each_switch_changes_the_result(tiny_base: Path, place: Path) -> None:
    made = [
        load_file(learn(tiny_base, replace(BARE, loss=loss), out=place / str(number)))
        for number, loss in enumerate((Loss(), Loss(weaken=False), Loss(guide=False)))
    ]
    assert made[0].keys() == made[1].keys() == made[2].keys()
    for a, b in itertools.combinations(made, 2):
        assert any(not torch.equal(a[name], b[name]) for name in a)


def test_placement_augmentation_is_the_same_person_smaller_and_shifted() -> None:
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
    for some in (rows.masks[0], away.masks[:, 0]):  # 1 is the person
        assert (some[..., : some.shape[-1] // 2] == 1).all()
        assert (some[..., some.shape[-1] // 2 :] == 0).all()
    again = augment_backgrounds(base, subject, "sks", recipe, 0, 1, tmp_path)
    assert torch.equal(again.latents, away.latents)
    clips = augment_backgrounds(base, subject, "sks", recipe, 0, 4, tmp_path)
    assert torch.equal(clips.masks[:, 0], away.masks[:4, 0])
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


def test_a_base_of_another_training_is_refused(tiny_base: Path, learned: Path, place: Path) -> None:
    shutil.copytree(tiny_base, place / "other")
    file = place / "other" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file(weights | {"conv_in.bias": weights["conv_in.bias"] + 1}, file, {"format": "pt"})
    options = GenerateOptions(weights=learned, base=str(place / "other"), frames=4, steps=1)
    with pytest.raises(UsageError, match="another one"):
        generate("sks man on a beach", POSE, options)


def test_rows_show_other_places_and_drop_captions_of_others_only(tiny_base: Path) -> None:
    base = load_base(tiny_base)
    here, there, other = "a man in a room", "a man on a beach", "a woman walks"
    states = {text: encode_text(base, [text])[0] for text in (here, there, other, "")}
    maps = {here: torch.zeros(48), there: torch.ones(48)}
    frames, poses = torch.zeros(2, 8, 4, 8, 8), torch.zeros(2, 8, 4, 8, 8)
    masks = {here: torch.full((1, 1, 8, 8), 0.9), there: torch.full((1, 1, 8, 8), 0.2)}
    rows = SubjectData(
        frames, poses, masks[here].expand(2, 8, -1, -1, -1), [here] * 8,
        maps[here].expand(8, -1), "sks", 0,
    )  # fmt: skip
    away = Clips(frames + 1, poses, masks[there].expand(2, 8, -1, -1, -1), [there] * 2,
                 maps[there].expand(2, -1))  # fmt: skip
    prior = PriorData(torch.zeros(1, 4, 4, 8, 8), torch.zeros(1, 4, 4, 8, 8), [other])
    stage = Stage("a", "appearance", 1, batch=40, prior_batch=40, dropout=0.5)
    extras = Extras(background_augmentation=0.5, background_weight=0.3)
    recipe = Recipe("half", loss=Loss(alpha=0.01, prior_weight=2.5), extras=extras)
    made = batches(base, stage, rows, prior, recipe, False, away)(torch.Generator())

    def said(row: int) -> str:
        return next(t for t, s in states.items() if torch.equal(s, made.text_states[row]))

    subject, others = [said(r) for r in range(40)], [said(r) for r in range(40, 80)]
    assert set(subject) == {here, there} and set(others) == {other, ""}
    assert [float(x.mean()) for x in made.latents[:40]] == [text == there for text in subject]
    assert 10 < subject.count(there) < 30 and 10 < others.count("") < 30
    assert made.tokens is not None and made.background is not None and made.mask is not None
    counts = {here: 1e-4, there: 0.3}  # alpha squared, and what synthetic backgrounds count
    assert made.background[:40].tolist() == pytest.approx([counts[text] for text in subject])
    assert (made.background[40:] == 1).all() and (made.mask[40:] == 0.5).all()
    assert made.weight is not None
    assert made.weight.tolist() == [1.0] * 40 + [2.5] * 40
    for row, text in enumerate(subject):
        assert torch.equal(made.tokens[row], maps[text])
        assert torch.equal(made.mask[row], masks[text])
    full = replace(recipe, loss=replace(recipe.loss, weaken=False))
    made = batches(base, stage, rows, prior, full, False, away)(torch.Generator())
    assert (made.background == 1).all()  # those of synthetic backgrounds count no less
