import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from animateanywhere.backbones import loading
from animateanywhere.backbones.base import encode_poses, load_base, write_base_toml
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.loading import choose_weights
from animateanywhere.backbones.personal_weights import EMBEDDING, load_personal, save_personal
from animateanywhere.backbones.vae import decode_latents
from animateanywhere.cli.main import main
from animateanywhere.commands.generate import GenerateOptions, generate
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.frame_size import square
from animateanywhere.media import provenance
from animateanywhere.media.video import read
from animateanywhere.methods.animate_anywhere import method
from animateanywhere.methods.animate_anywhere.generation import Sampling, render
from animateanywhere.methods.animate_anywhere.settings import Loss, load_recipe
from animateanywhere.pose.retarget import letterbox
from animateanywhere.pose.skeleton import Poses, draw, write_poses
from tests.backbones.test_personal_weights import metadata
from tests.commands.renames import put_back, states_of

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    create_base(load_recipe("tiny").model, folder, ["a man on a beach"])
    write_base_toml(folder, {"name": "tiny", "size": SIZE, "frames": 4, "fps": 8})
    return folder


@pytest.fixture
def pose(tmp_path, monkeypatch):
    """A driving poses.json of ten frames, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "dance.json"
    write_poses(path, Poses(walker(10), 100, 100, 8.0))
    return path


def walker(frames):
    """A stick person upright in a 100 x 100 picture who moves to the right and lifts an arm."""
    x = [50, 50, 42, 40, 39, 58, 60, 61, 45, 45, 45, 55, 55, 55, 48, 52, 46, 54]
    y = [20, 30, 30, 42, 54, 30, 42, 54, 55, 70, 85, 55, 70, 85, 18, 18, 19, 19]
    keypoints = np.repeat(np.stack([x, y, np.ones(18)], -1)[None], frames, axis=0)
    keypoints[:, :, 0] += np.arange(frames)[:, None]
    keypoints[:, 4, 1] -= 3 * np.arange(frames)
    return keypoints.astype(np.float32)


def learn(folder, path, token="sks"):
    base = load_base(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "unet.conv_out.bias": base.denoiser.conv_out.bias + 0.5,
        EMBEDDING: torch.ones(1, 32),
    }
    keypoints = json.dumps(letterbox(walker(1), square(100), square(SIZE)).tolist())
    more = {"base_folder": str(folder), "base_hash": base.hash, "keypoints": keypoints}
    save_personal(path, tensors, metadata(token) | more)
    return path


def test_the_same_seed_gives_the_same_bytes(folder, pose, tmp_path):
    def make(name, seed):
        out = generate(
            "a man",
            pose,
            GenerateOptions(base=folder, out=tmp_path / name, seed=seed, steps=2, frames=4),
        )
        return out.read_bytes(), out.with_suffix(".json").read_text()

    first, again, other = make("a.mp4", 1), make("b.mp4", 1), make("c.mp4", 2)
    assert first == again
    assert first[0] != other[0]
    video = read(tmp_path / "a.mp4")
    assert video.frames.shape == (4, SIZE, SIZE, 3) and video.fps == 8


def test_the_learned_person_is_found_by_the_prompt(folder, pose, capsys):
    weights = learn(folder, pose.parent / "runs/sks/personal.safetensors")
    sheet = pose.parent / "sheet.png"
    out = generate(
        "sks man on a beach", pose, GenerateOptions(steps=1, contact_sheet=sheet, sampler="ddim")
    )
    assert str(out) == "runs/sks/sks-man-on-a-beach-0.mp4"
    said = " ".join(capsys.readouterr().err.split())
    assert f"sks: {weights.relative_to(pose.parent)}" in said
    with Image.open(sheet) as picture:  # as it was, as fitted, the video
        assert picture.height == 3 * 186
    sidecar = json.loads(out.with_suffix(".json").read_text())
    assert sidecar["prompt"] == "sks man on a beach" and sidecar["token"] == "sks"
    assert sidecar["fit"] == "bones" and "no keypoints" not in said
    assert sidecar["sampler"] == "ddim" and sidecar["steps"] == 1 and sidecar["seed"] == 0
    assert sidecar["frames"] == 10 and sidecar["base"]["hash"] == load_base(folder).hash
    for file in (out, sheet):
        origin = provenance.read(file)
        assert origin is not None and origin.source == "trainedAlgorithmicMedia"
        assert not any(word in file.read_bytes() for word in (b"sks man", b"on a beach"))
    made = sidecar["provenance"]
    assert made["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert tuple(made["metadata"]) == provenance.read(out).places


def test_a_prompt_without_the_token_is_warned_of(folder, pose, capsys):
    weights = learn(folder, pose.parent / "elsewhere/personal.safetensors")
    out = generate("a man on a beach", pose, GenerateOptions(weights=weights, steps=1, frames=4))
    assert 'use "sks man"' in capsys.readouterr().err
    assert out.parent.name == "sks"


def test_a_token_without_weights_is_refused_before_anything_is_loaded(folder, pose, capsys):
    assert main(["generate", "sks man on a beach", "--pose", str(pose)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert '"sks" was not learned' in said and "`aa personalize my_video.mp4 --token sks`" in said
    assert not (pose.parent / "runs").exists()
    weights = learn(folder, pose.parent / "runs/mia/personal.safetensors", "mia")
    weights.with_name("run.json").write_text('{"token": "mia", "base_hash": "0"}')
    assert choose_weights("mia woman", None)[0] == weights.relative_to(pose.parent)
    for damage in (lambda: weights.write_bytes(b"cut"), weights.unlink):
        damage()
        with pytest.raises(UsageError, match="run its `aa personalize` again"):
            choose_weights("mia woman", None)
    assert choose_weights("mia woman", None, folder) == (None, {})
    assert choose_weights("a woman named Mira", None) == (None, {})


def test_other_settings_get_another_name(folder, pose):
    def make(**settings):
        return generate("a man", pose, GenerateOptions(base=folder, frames=4, **settings)).name

    assert make(steps=1) == "a-man-0.mp4"
    assert make(steps=1) == "a-man-0.mp4"  # the very same video
    assert make(steps=2) == "a-man-0-2.mp4"
    assert make(steps=1, seed=3) == "a-man-3.mp4"
    assert make(steps=2) == "a-man-0-2.mp4"


def test_personal_weights_change_the_video(folder, pose, tmp_path):
    weights = learn(folder, tmp_path / "personal.safetensors")
    kwargs = {"base": folder, "steps": 2, "frames": 4}
    alone = generate("a man", pose, GenerateOptions(out=tmp_path / "a.mp4", **kwargs))
    personal = generate(
        "a man", pose, GenerateOptions(weights=weights, out=tmp_path / "b.mp4", **kwargs)
    )
    assert alone.read_bytes() != personal.read_bytes()


def test_weights_of_another_base_are_refused(folder, pose, tmp_path):
    weights = learn(folder, tmp_path / "personal.safetensors")
    other = tmp_path / "other"
    create_base(load_recipe("tiny").model, other, ["a man on a beach"], seed=5)
    write_base_toml(other, {"name": "other", "size": SIZE, "frames": 4, "fps": 8})
    with pytest.raises(UsageError, match="learned on base"):
        generate("sks man", pose, GenerateOptions(weights=weights, base=other))
    assert not (tmp_path / "runs").exists()


def test_the_video_follows_the_poses_beyond_the_training_length(folder):
    """Windows of 4 over 10 frames: all are generated, and each follows its own pose."""
    base = load_base(folder)
    unet = method.build(base, Loss(guide=False), video=True).eval()
    unet.conv_in.weight.data[:, 4:] = unet.conv_in.weight.data[:, :4]  # let poses be seen
    poses = letterbox(walker(10), square(100), square(SIZE))
    still = np.repeat(poses[:1], 10, axis=0)
    mixed = np.concatenate([still[:9], poses[9:]])
    drawn = (draw(k, SIZE, SIZE) for k in (still, mixed))
    poses, twice = [encode_poses(base, pictures) for pictures in drawn], Sampling(steps=2)
    a, b = (np.stack([*render(base, unet, "a man", some, 0, twice)]) for some in poses)
    assert a.shape == (10, SIZE, SIZE, 3) and a.dtype == np.uint8
    differs = [bool((x != y).any()) for x, y in zip(a, b, strict=True)]
    assert differs[9] and not any(differs[:3])  # only the last window saw the last pose


def test_the_fit_of_the_skeleton_is_chosen_and_reported(folder, pose, tmp_path, capsys):
    weights = learn(folder, tmp_path / "personal.safetensors")
    drawn = {}
    for fit in ("none", "frame", "bones"):
        for own in (None, weights):
            out = generate(
                "sks man",
                pose,
                GenerateOptions(weights=own, base=folder, steps=1, frames=4, fit=fit),
            )
            sidecar = json.loads(out.with_suffix(".json").read_text())
            assert sidecar["fit"] == fit
            drawn[fit, own is not None] = sidecar["pose"]["sha256"]
            said = " ".join(capsys.readouterr().err.split())
            assert ("no keypoints of a learned person" in said) == (own is None and fit != "none")
    assert drawn["none", True] == drawn["none", False] != drawn["bones", False]
    assert drawn["frame", False] == drawn["bones", False]


def test_weights_count_by_their_scale_and_add_up(folder, pose, tmp_path):
    one = learn(folder, tmp_path / "one.safetensors")
    two = learn(folder, tmp_path / "two.safetensors", "xyz")
    bias = load_base(folder).denoiser.conv_out.bias

    def moved(*files):
        base, first = load_base(folder), {}
        for file, scale in files:
            load_personal(file, base, scale, first)
        return base.denoiser.conv_out.bias - bias

    assert torch.allclose(moved((one, 1.0)), torch.full_like(bias, 0.5))
    assert torch.allclose(moved((one, 0.4)), torch.full_like(bias, 0.2))
    assert torch.allclose(moved((one, 1.0), (two, 0.6)), torch.full_like(bias, 0.8))

    def make(name, *flags):
        out = tmp_path / f"{name}.mp4"
        flags = ["--out", str(out), "--base", str(folder), "--steps", "4", "--frames", "4", *flags]
        assert main(["generate", "a man", "--pose", str(pose), *flags]) == 0
        return out.read_bytes()

    alone = make("alone")
    assert make("none", "--weights", f"{one}:0", "--weights", f"{two}:0.0") == alone
    whole = make("whole", "--weights", str(one))
    assert whole != alone
    assert make("late", "--weights", str(one), "--late-only") not in (alone, whole)
    assert make("late none", "--weights", f"{one}:0", "--late-only") == alone
    record = json.loads((tmp_path / "none.json").read_text())
    assert (record["scale"], [share for _, share in record["others"]]) == (0, [0])


@pytest.mark.parametrize("text", ["{}:much", "{}:3", "{}:-1", "{}:nan", "{}.no", "{}.no:1"])
def test_invalid_scales_and_files(folder, pose, tmp_path, capsys, text):
    file = text.format(learn(folder, tmp_path / "own.safetensors"))
    assert main(["generate", "sks", "--pose", str(pose), "--weights", file]) == 2
    assert "own.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("more", [{}, {"fps": 4.0}, {"loop": True}])
def test_no_video_is_left_without_its_sidecar(folder, pose, monkeypatch, more):
    """Out of memory after the last frame is decoded: when the denoiser returns to the GPU."""
    real, rooms = loading.room_for_vae, 0

    @contextmanager
    def room(*given):
        nonlocal rooms
        rooms += 1
        with real(*given):
            yield
        if rooms == 2:  # the first is for the skeletons
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loading, "room_for_vae", room)
    out = pose.with_name("a.mp4")
    with pytest.raises(torch.OutOfMemoryError):
        generate("a man", pose, GenerateOptions(base=folder, frames=3, steps=1, out=out, **more))
    assert rooms == 2 and list(pose.parent.iterdir()) == [pose]


def test_files_of_others_are_not_overwritten(folder, pose, tmp_path, capsys):
    video, record, sheet = (tmp_path / name for name in ("x.mp4", "x.json", "sheet.png"))
    command = ["generate", "a man", "--pose", str(pose), "--base", str(folder), "--steps", "1",
               "--frames", "2", "--out", str(video)]  # fmt: skip
    for file, more in ((video, []), (record, []), (sheet, ["--contact-sheet", str(sheet)])):
        file.write_text('{"mine": 1}')
        assert main([*command, *more]) == 2
        assert f"{file.name} exists and was not written by" in " ".join(
            capsys.readouterr().err.split()
        )
        assert file.read_text() == '{"mine": 1}'
        file.unlink()
    video.write_text("mine")
    assert main([*command, "--overwrite"]) == 0
    made = video.read_bytes()
    assert main(command) == 0 and video.read_bytes() == made  # its own result is replaced
    sheet.write_text("mine")  # beside its own result, too
    assert main([*command, "--contact-sheet", str(sheet)]) == 2
    assert sheet.read_text() == "mine"
    sheet.unlink()
    for _ in range(2):
        assert main([*command, "--contact-sheet", str(sheet)]) == 0


def test_whenever_it_is_killed_the_same_command_takes_the_name_again(
    folder, pose, tmp_path, monkeypatch
):
    command = ["generate", "a man", "--pose", str(pose), "--base", str(folder), "--steps", "1",
               "--frames", "2", "--out", str(tmp_path / "x.mp4")]  # fmt: skip
    with monkeypatch.context() as watched:
        states = states_of(watched, tmp_path)
        assert main(command) == 0
    seen = {("x.mp4" in state, "x.json" in state): state for state in states}
    assert seen.keys() == {(False, False), (False, True), (True, True)}  # no video without settings
    put_back(tmp_path, seen[False, True])
    assert main(command) == 0
    assert (tmp_path / "x.mp4").read_bytes() == seen[True, True]["x.mp4"]


def test_values_that_are_not_finite_are_an_error(folder, pose, tmp_path):
    """And no black video."""
    base = load_base(folder)
    with pytest.raises(Failure, match=r"not finite numbers \(NaN\)"):
        decode_latents(base.vae, torch.full((1, 4, 8, 8), 3e38))
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    file = broken / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.startswith("decoder"))
    save_file(weights | {name: weights[name] * float("nan")}, file, {"format": "pt"})
    with pytest.raises(UsageError, match=f"damaged: {name} of vae is not finite"):
        generate("a man", pose, GenerateOptions(base=broken, out=tmp_path / "x.mp4"))
    assert not (tmp_path / "x.mp4").exists()
