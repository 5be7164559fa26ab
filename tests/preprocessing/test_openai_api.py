"""Captions from a real server on this machine that speaks the chat-completions protocol."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.datasets.subject import read_settings
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import openai_api
from animateanywhere.preprocessing.captions.appearance import describe_appearance
from animateanywhere.preprocessing.captions.template import Description, parse_answer
from tests.commands.test_prepare import rendered

FRAMES = np.random.default_rng(0).integers(0, 255, (9, 40, 600, 3), dtype=np.uint8)
GOOD = {"scene": "in a kitchen", "action": "dancing", "objects": ["a guitar", "a red hat"],
        "framing": "full body"}  # fmt: skip


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Any] = []  # a status, seconds to stall, or the text of an answer
        self.requests: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(json.loads(body))
        answer = self.server.answers[min(len(self.server.requests), len(self.server.answers)) - 1]
        if isinstance(answer, float):
            time.sleep(answer)
        status = answer if isinstance(answer, int) else 200
        message = {"role": "assistant", "content": answer if isinstance(answer, str) else "{}"}
        reply: dict[str, Any] = {
            "id": "1", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }  # fmt: skip
        if status != 200:
            reply = {"error": {"message": f"told to say {status}", "type": "x", "code": "y"}}
        text = json.dumps(reply).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            if status == 429:
                self.send_header("retry-after-ms", "20")
            self.end_headers()
            self.wfile.write(text)
        except BrokenPipeError:  # the client has given up on us
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{made.server_port}/v1")
    monkeypatch.setattr(openai_api, "RETRIES", 2)
    yield made
    made.shutdown()
    made.server_close()


def test_what_is_sent_is_small_and_reported_first(
    server: Server, capsys: pytest.CaptureFixture
) -> None:
    server.answers = [json.dumps(GOOD)]
    said = openai_api.describe(FRAMES, "some-model")
    assert said == Description("in a kitchen", "dancing", ("a guitar",))  # a hat is worn
    request = server.requests[0]
    assert request["model"] == "some-model"
    assert request["response_format"]["json_schema"]["strict"] is True
    text, *pictures = request["messages"][0]["content"]
    assert "Never mention clothes" in text["text"] and len(pictures) == 4
    head, data = pictures[0]["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (512, 34)
    assert "pictures sent to 127.0.0.1, model" in capsys.readouterr().err


def test_hair_and_clothes_are_asked_for_by_name(server: Server) -> None:
    words = {"hair": "long red hair", "beard": "none", "glasses": "none", "top": "green coat",
             "bottom": "jeans", "shoes": "", "hat": "", "bag": ""}  # fmt: skip
    server.answers = [json.dumps(words)]
    backends = Backends(caption="openai", caption_model="some-model")
    found = describe_appearance(FRAMES[:2], backends)
    assert found == {"hair": "long red hair", "top": "a green coat", "bottom": "jeans"}
    request = server.requests[0]
    schema = request["response_format"]["json_schema"]["schema"]
    assert schema["required"] == list(words)
    text, *pictures = request["messages"][0]["content"]
    assert "Describe hair and clothes" in text["text"] and len(pictures) == 2
    assert describe_appearance(FRAMES[:2], backends) == found  # and is not asked again
    assert len(server.requests) == 1
    server.answers = ["I cannot see."]
    with pytest.raises(Failure, match=r"names no hair and no clothes \(I cannot see"):
        describe_appearance(FRAMES[2:4], backends)


def test_a_busy_server_is_retried(server: Server) -> None:
    server.answers = [429, 500, json.dumps(GOOD)]
    assert openai_api.describe(FRAMES).scene == "in a kitchen"
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "requests"), [(429, 3), (503, 3), (400, 1), (404, 1)])
def test_no_answer_is_a_one_line_error(server: Server, status: int, requests: int) -> None:
    server.answers = [status]
    with pytest.raises(Failure, match="no answer.*--caption template"):
        openai_api.describe(FRAMES)
    assert len(server.requests) == requests


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_is_a_usage_error(server: Server, status: int) -> None:
    server.answers = [status]
    with pytest.raises(UsageError, match="the API key was rejected"):
        openai_api.describe(FRAMES)
    assert len(server.requests) == 1


def test_a_stalling_server_times_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_api, "TIMEOUT", 0.2)
    monkeypatch.setattr(openai_api, "RETRIES", 1)
    server.answers = [2.0]
    with pytest.raises(Failure, match="no answer: Request timed out"):
        openai_api.describe(FRAMES)


def test_an_unreachable_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(openai_api, "RETRIES", 0)
    with pytest.raises(Failure, match="no answer: Connection error"):
        openai_api.describe(FRAMES)


def test_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="set OPENAI_API_KEY"):
        openai_api.describe(FRAMES)


@pytest.mark.parametrize(
    "nonsense",
    ["I cannot help with that.", "", None, "[]", "{}", "null", '{"scene": 1, "action": "a"}',
     '{"scene": "a", "action": ["b"], "objects": []}',
     '{"scene": "a", "action": "b", "objects": 3}'],
)  # fmt: skip
def test_an_unusable_answer_is_reported(nonsense: str | None) -> None:
    with pytest.raises(Failure, match="the model's answer cannot be used"):
        parse_answer(nonsense, "openai")


def test_an_answer_becomes_a_plain_phrase() -> None:
    wordy = {"scene": "In a <token> Room!\n" + "very " * 30, "action": "adjusting his tie",
             "objects": ["A ball.", "blue jeans", "a dog", "a cat"]}  # fmt: skip
    said = parse_answer(json.dumps(wordy), "openai")
    assert said.scene == "in a token room very very very very"
    assert said.action == ""  # a tie is worn
    assert said.objects == ("a ball", "a dog")


def test_prepare_writes_them_or_falls_back(server: Server, tmp_path: Path) -> None:
    clip, out = tmp_path / "a.mp4", tmp_path / "out"
    rendered(clip)
    server.answers = [json.dumps(GOOD)]
    asked = Backends(caption="openai")
    subject = prepare(clip, out, class_word="man", backends=asked)
    assert subject.captions[0] == "a <token> man dancing with a guitar in a kitchen"
    assert subject.scene == "in a kitchen" and read_settings(out)["caption"] == "openai"
    prepare(clip, out, class_word="man", backends=asked)
    prepare(clip, tmp_path / "a", class_word="boy", backends=asked)
    assert len(server.requests) == 1  # the same frames are answered from the cache
    rendered(clip, frames=13)
    server.answers = [503]
    with pytest.raises(Failure, match="no answer"):
        prepare(clip, tmp_path / "b", backends=asked)
    assert not (tmp_path / "b").exists()
    fallback = Backends(caption="openai", caption_fallback="template")
    subject = prepare(clip, tmp_path / "c", scene="on a stage", backends=fallback)
    assert subject.captions[0] == "a <token> person on a stage"
