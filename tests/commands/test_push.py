"""Model cards, and what goes to a hub: a local one that speaks the hub's protocol."""

import base64
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import torch
from huggingface_hub import ModelCard, constants

from animateanywhere.backbones.base import BUNDLED, base_config, hash_of
from animateanywhere.backbones.personal_weights import EMBEDDING, save_personal
from animateanywhere.cli.main import main
from animateanywhere.methods.animate_anywhere.model_card import write_base_card, write_personal_card
from tests.backbones.test_personal_weights import metadata


class Hub(BaseHTTPRequestHandler):
    """Takes repositories and commits, and remembers them."""

    refuses = 0
    repos: ClassVar[list[dict[str, Any]]] = []
    files: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.refuses:
            return self.answer({"error": "no"}, self.refuses)
        if self.path == "/api/repos/create":
            self.repos.append(json.loads(body))
            return self.answer({"url": f"http://{self.headers['Host']}/me/sks"})
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            return self.answer({"files": modes})
        if "/commit/" not in self.path:  # of the card's head
            return self.answer({"errors": [], "warnings": []})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        self.answer(
            {"commitUrl": f"http://{self.headers['Host']}/me/sks/commit/1", "commitOid": "1"}
        )

    def do_GET(self) -> None:
        self.answer({"id": "me/sks", "private": True, "tags": [], "siblings": [], "sha": "1"})

    def answer(self, content: Any, code: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.refuses, Hub.repos, Hub.files = 0, [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with weights, scores, and what is nobody's business."""
    folder = tmp_path / "sks"
    (folder / "subject").mkdir(parents=True)
    (folder / "subject" / "frame.png").write_bytes(b"a face")
    about = metadata() | {
        "class_word": "man", "appearance": "in a red shirt", "selected_steps": '{"appearance": 80}',
        "recipe": json.dumps({"name": "personalize", "loss": {"alpha": 0.001}, "stage": [
            {"name": "appearance", "steps": 240, "batch": 6, "lora_rank": 16}]}),
    }  # fmt: skip
    save_personal(folder / "personal.safetensors", {EMBEDDING: torch.ones(1, 32)}, about)
    scores = [{"stage": "appearance", "step": step, "identity": 0.5 + step / 1000, "scene": 0.2,
               "leak": None, "score": 0.7} for step in (80, 160)]  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def test_a_card_tells_what_the_weights_are(run: Path) -> None:
    card = ModelCard.load(write_personal_card(run / "personal.safetensors", "apache-2.0"))
    assert card.data.license == "apache-2.0"
    assert "animateanywhere" in (card.data.tags or [])
    for words in (
        "sks man on a beach", "in a red shirt", "alpha 0.001", "240 x 6, LoRA of rank 16",
        "identity 0.58, scene 0.20", "consent",
    ):  # fmt: skip
        assert words in card.text
    assert "0.66" not in card.text  # another step's score
    assert "leak" not in card.text.partition("| scores |")[2].partition("\n")[0]


def test_a_base_has_a_card_with_its_scores(tmp_path: Path) -> None:
    done = tmp_path / "training" / "vae"
    done.mkdir(parents=True)
    (done / "done.json").write_text('{"psnr_held_out": 26.9, "note": "x"}')
    card = ModelCard.load(write_base_card(tmp_path, base_config(BUNDLED), hash_of(BUNDLED)))
    assert card.data.license == "apache-2.0"
    assert "psnr_held_out 26.9" in card.text
    assert "128 pixels" in card.text


def test_a_dry_run_sends_nothing(
    run: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run), "--repo", "me/sks", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "personal.safetensors" in said and "README.md" in said and "private" in said
    assert "frame.png" not in said
    assert not hub.repos and not hub.files


def test_weights_and_card_arrive_and_nothing_else(run: Path, hub: type[Hub]) -> None:
    assert main(["push", str(run / "personal.safetensors"), "--repo", "me/sks"]) == 0
    (repo,) = hub.repos
    assert repo["name"] == "sks" and repo["visibility"] == "private"
    assert set(hub.files) == {"personal.safetensors", "README.md", "scores.json"}
    for name, content in hub.files.items():
        assert content == (run / name).read_bytes()


def test_a_base_goes_without_its_training(
    tmp_path: Path, tiny_base: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(tiny_base), "--repo", "me/tiny", "--public", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "unet/diffusion_pytorch_model.safetensors" in said and "base.toml" in said
    assert "public" in said and "agreed" not in said


def test_all_parts_of_a_base_go_whatever_command_it_is_for(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "swaps"
    shutil.copytree(tiny_base, base)
    shutil.copytree(base / "unet", base / "reference_unet")
    (base / "corpus").mkdir()
    (base / "corpus" / "corpus.json").write_text("{}")
    assert main(["push", str(base), "--repo", "me/swaps", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "reference_unet/diffusion_pytorch_model.safetensors" in said and "corpus" not in said


@pytest.mark.parametrize(
    ("code", "words"), [(401, "HF_TOKEN"), (403, "write access"), (500, "was not pushed")]
)
def test_a_hub_that_refuses_is_one_line(
    run: Path, hub: type[Hub], capsys: pytest.CaptureFixture[str], code: int, words: str
) -> None:
    hub.refuses = code
    assert main(["push", str(run), "--repo", "me/sks"]) == 1
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_no_network_and_nothing_to_push(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    assert main(["push", str(run), "--repo", "me/sks"]) == 1
    assert "network" in capsys.readouterr().err.splitlines()[-1]
    assert main(["push", str(run / "subject"), "--repo", "me/sks"]) == 2
    assert "neither" in capsys.readouterr().err
    assert main(["push", str(run), "--repo", "me/../sks"]) == 2
    assert "USER/NAME" in capsys.readouterr().err
