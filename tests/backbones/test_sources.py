"""Public bases from a hub on this machine: repositories of the true names with tiny weights."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer, UMT5EncoderModel

from animateanywhere.backbones.base import load_base
from animateanywhere.backbones.create import create_base, save_part
from animateanywhere.backbones.sources import weight_files
from animateanywhere.cli.main import main
from animateanywhere.core.errors import UsageError
from animateanywhere.evaluation.embed import dino_embedder
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.preprocessing.weights import CLIP, DINO, HUB
from tests.evaluation.test_embed import write_models

SD = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CONTROLNET = "lllyasviel/control_v11p_sd15_openpose"
MOTION = "guoyww/animatediff-motion-adapter-v1-5-3"
WAN = "Wan-AI/Wan2.1-VACE-1.3B-diffusers"
COMMIT = "a" * 40
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")
ABOUT = re.compile(r"/api/models/([^/]+/[^/]+)")


@dataclass
class Hub:
    """What a hub has and how it behaves."""

    repositories: dict[str, Path] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)  # status and error code
    torn: dict[str, int] = field(default_factory=dict)  # after so many bytes the network is gone
    gone: bool = False
    wrong: dict[str, bytes] = field(default_factory=dict)  # content that is not what it says
    sent: list[str] = field(default_factory=list)  # paths of files, and bytes of them
    bytes: int = 0


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        resolved, about = RESOLVE.fullmatch(path), ABOUT.match(path)
        name = (resolved or about)[1]  # type: ignore[index]
        if self.hub.gone:
            return self.tear()
        if name in self.hub.refused and (resolved or self.hub.refused[name][0] != 403):
            code, error = self.hub.refused[name]
            return self.send(code, b"{}", {"X-Error-Code": error}, body)
        folder = self.hub.repositories.get(name)
        if folder is None:
            return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        if not resolved:
            files = [str(f.relative_to(folder)) for f in sorted(folder.rglob("*")) if f.is_file()]
            rows = [{"rfilename": f, "size": (folder / f).stat().st_size} for f in files]
            card = {"license": self.hub.licenses.get(name)}
            content = {"id": name, "sha": COMMIT, "siblings": rows, "cardData": card,
                       "private": False, "tags": []}  # fmt: skip
            return self.send(200, json.dumps(content).encode(), {}, body)
        file = folder / resolved[2]
        if not file.is_file():
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)
        content, size = file.read_bytes(), file.stat().st_size
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        content = self.hub.wrong.get(file.name, content).ljust(size)[:size]
        code = 200
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            code, start = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            content = content[start:]
        if body:
            self.hub.sent.append(f"{name}/{resolved[2]}")
        self.send(code, content, headers, body, self.hub.torn.get(file.name, 2**40))

    def send(
        self,
        code: int,
        content: bytes,
        headers: dict[str, str],
        body: bool,
        stop: int = 2**40,
    ) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        if stop < len(content):
            self.wfile.write(content[:stop])
            self.hub.gone = True
            return self.tear()
        self.wfile.write(content)
        self.hub.bytes += len(content)

    def tear(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, tiny_wan: Path) -> Path:
    """Folders of repositories: those of sd15-openpose, and Wan's."""
    root = tmp_path_factory.mktemp("repositories")
    tiny = load_recipe("tiny").model
    vae = {
        "latent_channels": 4, "block_out_channels": [8] * 4, "norm_num_groups": 4,
        "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 1,
    }  # fmt: skip
    led = {"conditioning_embedding_out_channels": [8, 8, 16, 16]}
    made = root / "made"
    model = replace(tiny, vae=vae, controlnet=led)
    create_base(model, made, ["a man on a beach", "a woman in a room walks"])
    for part in ("tokenizer", "text_encoder", "vae", "unet"):
        shutil.copytree(made / part, root / SD / part)
    (root / SD / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another form")
    shutil.copytree(made / "controlnet", root / CONTROLNET)
    shutil.copytree(made / "motion_adapter", root / MOTION)
    for part in ("tokenizer", "vae", "transformer"):
        shutil.copytree(tiny_wan / part, root / WAN / part)
    words = UMT5EncoderModel.from_pretrained(tiny_wan / "text_encoder", dtype=torch.float32)
    words.save_pretrained(root / WAN / "text_encoder", max_shard_size="20KB")
    return root


@pytest.fixture
def hub(
    parts: Path, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> Iterator[Hub]:
    own = Hub({name: parts / name for name in (SD, CONTROLNET, MOTION, WAN)},
              {SD: "creativeml-openrail-m", CONTROLNET: "openrail"})  # fmt: skip
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Answers", (Handler,), {"hub": own, "protocol_version": "HTTP/1.1"})
    )
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield own
    server.shutdown()
    server.server_close()


def gather(recipe: str = "sd15-openpose", out: str = "base") -> int:
    return main(["base-train", recipe, "--out", out])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The error: the last line, and none of a traceback before it."""
    err = capsys.readouterr().err
    assert "Traceback" not in err and "retry" not in err.lower()
    (line,) = [line for line in err.splitlines() if line.startswith("aa: ")]
    assert err.splitlines()[-1] == line
    return line


def test_the_first_download(
    hub: Hub, place: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    assert gather() == 0
    said = " ".join(capfd.readouterr().err.split())
    assert f"{SD}/unet/diffusion_pytorch_model.safetensors, 0.00 GB" in said
    assert f"license of {SD}: creativeml-openrail-m" in said
    assert f"license of {MOTION}: not stated" in said
    assert "to download: 0.00 GB" in said and "base shares the files" in said
    assert "symlinks" not in said + "".join(str(row.message) for row in recwarn)
    assert len(hub.sent) == len(set(hub.sent)) and not any("fp16" in name for name in hub.sent)
    base = load_base("base")
    assert isinstance(base.parts["controlnet"], ControlNetModel)
    assert len(base.tokenizer) > 500
    for name in ("unet", "controlnet", "vae", "motion_adapter"):  # on the disk once
        weights = place / "base" / name / "diffusion_pytorch_model.safetensors"
        assert weights.stat().st_nlink == 2
    shutil.rmtree("base")
    hub.sent.clear()
    assert gather() == 0 and hub.sent == []  # from the cache
    hub.gone = True
    shutil.rmtree("base")
    assert gather() == 0  # without a network too
    shutil.rmtree("cache")
    load_base("base")  # which does not need the cache


def test_published_precision_and_widened_inputs_are_kept_as_they_are_used(
    hub: Hub, place: Path, parts: Path
) -> None:
    """A frozen text encoder in float32 is stored in half; a UNet that gets the pose is its own."""
    assert gather("wan-vace-1.3b", "wan") == 0
    shards = [name for name in hub.sent if "-of-" in name]
    assert len(shards) > 1 and f"{WAN}/text_encoder/model.safetensors.index.json" in hub.sent
    stored = load_file("wan/text_encoder/model.safetensors")
    assert all(tensor.dtype == torch.bfloat16 for tensor in stored.values())
    assert Path("wan/vae/diffusion_pytorch_model.safetensors").stat().st_nlink == 2
    assert load_base("wan").tokenizer.model_max_length == 512
    recipe = load_recipe("sd15")
    create_base(recipe.model, place / "paper", [])
    config = json.loads((place / "paper/unet/config.json").read_text())
    assert config["in_channels"] == 8
    own = place / "paper/unet/diffusion_pytorch_model.safetensors"
    assert own.stat().st_nlink == 1 and load_file(own)["conv_in.weight"].shape[1] == 8
    source = parts / SD / "unet/diffusion_pytorch_model.safetensors"
    assert load_file(source)["conv_in.weight"].shape[1] == 4


@pytest.mark.parametrize("how", ["offline", "refused", "lost"])
def test_without_a_network_nothing_is_written_and_nothing_is_tried_twice(
    how: str, hub: Hub, place: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        if how == "offline":
            patch.setattr(constants, "HF_HUB_OFFLINE", True)
        elif how == "refused":
            patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        hub.gone = how == "lost"
        start = time.monotonic()
        assert gather("wan-vace-1.3b") == 1
        assert f"{WAN} cannot be downloaded" in one_line(capsys)
        assert gather() == 1  # another recipe: nothing of the first is there
        assert time.monotonic() - start < 3
    assert f"{SD} cannot be downloaded" in one_line(capsys)
    assert not list(place.glob("base/*/")) and not Path("base/base.toml").exists()
    hub.gone = False
    if how == "offline":
        assert gather() == 0
        assert len(load_base("base").tokenizer) > 500


def test_a_network_lost_in_the_middle(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.torn["diffusion_pytorch_model.safetensors"] = 20_000
    assert gather() == 1
    assert "cannot be downloaded" in one_line(capsys)
    assert not list(place.glob("base/*/"))
    got = set(hub.sent[:-1])
    assert got and hub.gone
    hub.gone, hub.torn, hub.sent = False, {}, []
    assert gather() == 0
    assert not got & set(hub.sent)  # what is whole is not sent again
    load_base("base")
    assert not list(place.rglob("*.incomplete"))


def test_a_torn_connection_goes_on_where_it_was(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def back(seconds: float) -> None:
        hub.gone, hub.torn = False, {}

    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", back)
    hub.torn["diffusion_pytorch_model.safetensors"] = 20_000
    assert gather() == 0
    load_base("base")


def test_a_file_of_other_content_is_named_and_asked_for_again(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.wrong["model.safetensors"] = b"<html>Please log in</html>"
    assert gather() == 1
    line = one_line(capsys)
    assert f"{SD}/text_encoder/model.safetensors is not the file" in line
    hub.wrong.clear()
    assert gather() == 0
    load_base("base")


@pytest.mark.parametrize("damage", ["page", "lacking", "shape", "no weights", "words", "letters"])
def test_repositories_with_wrong_files(
    damage: str, hub: Hub, place: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which the hub describes rightly."""
    folder = place / "repository"
    shutil.copytree(parts / SD, folder)
    hub.repositories[SD] = folder
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    encoder = folder / "text_encoder" / "model.safetensors"
    if damage == "page":
        unet.write_bytes(b"<html>Please log in</html>")
        wanted = "cannot load unet"
    elif damage == "lacking":
        tensors = load_file(encoder)
        lost = next(name for name in tensors if name.endswith("q_proj.weight"))
        del tensors[lost]
        save_file(tensors, encoder, {"format": "pt"})
        wanted = f"weights of text_encoder are missing: {lost.removeprefix('text_model.')}"
    elif damage == "shape":
        tensors = load_file(unet)
        tensors["conv_in.weight"] = tensors["conv_in.weight"][:, :1].contiguous()
        save_file(tensors, unet, {"format": "pt"})
        wanted = "cannot load unet"
    elif damage == "no weights":
        torch.save({}, unet.with_suffix(".bin"))
        unet.unlink()
        unet.with_name("diffusion_pytorch_model.fp16.safetensors").unlink()
        wanted = f"{SD} has no unet as safetensors in unet"
    elif damage == "words":
        shutil.rmtree(folder / "tokenizer")
        wanted = f"{SD} has no tokenizer"
    else:
        (folder / "tokenizer" / "tokenizer.json").unlink()
        for vocabulary in ("vocab.json", "merges.txt"):
            (folder / "tokenizer" / vocabulary).unlink(missing_ok=True)
        wanted = "it is incomplete"
    assert gather() == 2
    assert wanted in one_line(capsys)
    assert not Path("base/base.toml").exists()
    hub.repositories[SD] = parts / SD


@pytest.mark.parametrize(
    ("name", "code", "error", "wanted"),
    [
        (SD, 401, "GatedRepo", "accept its terms"),
        (MOTION, 403, "GatedRepo", "accept its terms"),
        (CONTROLNET, 401, "RepoNotFound", "does not exist, or is private"),
        (CONTROLNET, 404, "RepoNotFound", "check the name"),
        (SD, 403, "", "no access"),
    ],
)
def test_repositories_that_are_not_open(
    name: str, code: int, error: str, wanted: str, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refused[name] = (code, error)
    assert gather() == 2
    line = one_line(capsys)
    assert name in line and wanted in line


def test_a_disk_that_is_too_small(
    hub: Hub, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr("animateanywhere.core.hub.shutil.disk_usage", lambda _: full)
    assert gather() == 1
    assert "are needed in" in one_line(capsys) and hub.sent == []


def test_a_tokenizer_of_a_few_marks_is_found_and_gathered_again(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What transformers makes of missing files, as earlier versions kept it."""
    assert gather() == 0
    save_part(CLIPTokenizer(), place / "base" / "tokenizer")
    with pytest.raises(UsageError, match="the tokenizer has 2 words"):
        load_base("base")
    capsys.readouterr()
    assert gather() == 0
    assert "gathered again" in capsys.readouterr().err
    assert len(load_base("base").tokenizer) > 500


def test_weights_that_a_base_lacks_are_named(
    tiny_base: Path, tiny_wan: Path, tmp_path: Path
) -> None:
    for source, part in ((tiny_base, "text_encoder"), (tiny_base, "unet"), (tiny_base, "vae"),
                         (tiny_base, "motion_adapter"), (tiny_wan, "transformer"),
                         (tiny_wan, "text_encoder")):  # fmt: skip
        folder = tmp_path / source.name / part
        shutil.copytree(source, folder)
        (file,) = (folder / part).glob("*.safetensors")
        tensors = load_file(file)
        lost = sorted(name for name in tensors if name.endswith(".weight"))[-1]
        del tensors[lost]
        save_file(tensors, file, {"format": "pt"})
        with pytest.raises(UsageError, match=f"weights of {part} are missing.*{re.escape(lost)}"):
            load_base(folder)


def test_one_form_of_the_weights_is_taken() -> None:
    """One file of several precisions, or all pieces of one that is in pieces."""
    half, whole = "a/model.fp16.safetensors", "a/model.safetensors"
    pieces = [f"a/model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "a/model.safetensors.index.json"
    others = ["a/model.fp16-00001-of-00003.safetensors", "a/model.safetensors.index.fp16.json",
              "a/pytorch_model.bin", half]  # fmt: skip
    assert weight_files([half, whole, *others]) == [whole]
    assert weight_files([*others, index, *pieces]) == [index, *pieces]
    assert weight_files([index, pieces[0]]) == []
    assert weight_files(others) == []


def test_networks_of_measures_are_fetched_by_name(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories |= {
        source.repo: write_models(place / "models") / source.name for source in (CLIP, DINO)
    }
    with pytest.raises(UsageError, match="aa models fetch dino"):
        dino_embedder(HUB)
    assert main(["models", "fetch", "clip", "dino"]) == 0
    said = capsys.readouterr()
    folders = said.out.splitlines()
    assert len(folders) == 2 and f"downloading {DINO.repo}: " in said.err
    assert dino_embedder(HUB)(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 32)
    sent = len(hub.sent)
    assert main(["models", "fetch", "clip"]) == 0 and len(hub.sent) == sent
    assert main(["models"]) == 0 and f"dino\t{folders[1]}" in capsys.readouterr().out
    assert main(["models", "fetch", "dinoo"]) == 2
    assert "choose from mediapipe, vitpose" in capsys.readouterr().err
