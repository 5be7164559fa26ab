"""The kinds of files that `benchmarks/fuzz.py` damages: a valid one, and what reads it."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from animateanywhere.backbones import personal_weights
from animateanywhere.backbones.base import base_config, load_base, write_base_toml
from animateanywhere.backbones.create import create_base
from animateanywhere.backbones.external_lora import add_lora
from animateanywhere.commands.prepare import prepare
from animateanywhere.commands.run_page import show
from animateanywhere.commands.runs import list_runs
from animateanywhere.core.findings import read_findings
from animateanywhere.core.frame_size import square
from animateanywhere.core.messages import quietly
from animateanywhere.core.paths import EXAMPLES, recipes_folder
from animateanywhere.core.run_folder import MARK, owned, require_own
from animateanywhere.core.tensor_file import read_tensors, write_tensors
from animateanywhere.datasets.corrections import find_corrections
from animateanywhere.datasets.subject import read_subject, write_subject
from animateanywhere.evaluation.sidecar import earlier_settings, write_sidecar
from animateanywhere.evaluation.targets import find_targets
from animateanywhere.media import output, video
from animateanywhere.media.sound import Sound, read_sound
from animateanywhere.methods.animate_anywhere.scores import read as read_scores
from animateanywhere.methods.animate_anywhere.settings import load_recipe
from animateanywhere.pose.skeleton import read_all_poses
from animateanywhere.preprocessing.driving import read_driving
from animateanywhere.training.loop import fit
from animateanywhere.training.stage import Stage
from benchmarks import mutations as m

Read = Callable[[Path], object]
FRAMES, SIDE = 16, 64


@dataclass(frozen=True)
class Target:
    """A valid file, what reads it, and a command that does, if a cheap one does."""

    file: Path
    read: Read
    mutate: m.Mutation
    command: Callable[[Path], list[str]] | None = None


def poses(folder: Path) -> Iterator[Target]:
    file = folder / "clip.poses.json"
    one = np.random.default_rng(0).uniform(5, 60, (4, 2, 18, 3)).round(1).tolist()
    head = {"format": "openpose18", "width": 64, "height": 64, "fps": 8.0, "keypoints": one}
    file.write_text(json.dumps(head))

    def read(path: Path) -> None:
        read_all_poses(path)
        read_driving(path, 8.0)

    def command(path: Path) -> list[str]:
        return ["pose", str(path), "--out", str(folder / "drawn.mp4"), "--frames", "2"]

    yield Target(file, read, m.one_of(m.damaged, m.changed_json), command)


def subjects(folder: Path) -> Iterator[Target]:
    """The files of a subject folder, its manual corrections among them."""
    whole = folder / "whole"
    subject = prepare(EXAMPLES / "reference.mp4", whole, scene="in a room", size=square(32))
    few = {"frames": subject.frames[:2], "masks": subject.masks[:2]}
    few |= {"keypoints": subject.keypoints[:2], "captions": subject.captions[:2]}
    small = folder / "subject"
    small.mkdir()
    write_subject(replace(subject, **few), small, {"size": "32x32"})
    texts = m.one_of(m.damaged, m.changed_json)

    def read(path: Path) -> None:
        read_findings(path.parent)
        read_subject(path.parent)

    yield Target(small / "subject.toml", read, m.one_of(m.damaged, m.changed_toml))
    for name in ("poses.json", "captions.jsonl"):
        yield Target(small / name, read, texts)
    yield Target(small / "frames" / "0001.png", lambda _: read_subject(small), m.damaged)
    for name in ("made.json", "poses.json", "captions.jsonl"):
        yield Target(whole / name, lambda _: find_corrections(whole), texts)
    yield Target(whole / "masks" / "0001.png", lambda _: find_corrections(whole), m.damaged)
    yield Target(whole / "findings.json", read, texts)


def recipes(folder: Path) -> Iterator[Target]:
    for name in ("mini", "sd15", "personalize", "personalize-wan", "wan-vace-1.3b"):
        file = folder / f"{name}.toml"
        file.write_bytes((recipes_folder() / file.name).read_bytes())
        yield Target(file, load_recipe, m.one_of(m.damaged, m.changed_toml, m.changed_toml))
    base = _base(folder)

    def read(path: Path) -> None:
        base_config(path.parent)
        load_base(path.parent)

    yield Target(base / "base.toml", read, m.one_of(m.damaged, m.changed_toml))


def tensors(folder: Path) -> Iterator[Target]:
    """Personal weights, also such with a right checksum over wrong content; LoRA; checkpoints."""
    base = load_base(_base(folder))
    file = folder / "personal.safetensors"
    name, parameter = next((n, p) for n, p in base.denoiser.named_parameters() if p.dim() == 1)
    about = dict.fromkeys(personal_weights.METADATA, "x") | {
        "token": "sks", "class_word": "man", "base": "tiny", "base_hash": base.hash,
        "keypoints": json.dumps([[[1.0, 2.0, 0.9]] * 18] * 2), "frame": "64x64", "seed": "0",
        "recipe": json.dumps({"name": "x"}), "appearance": "", "selected_steps": "{}",
    }  # fmt: skip
    width = base.text_encoder.get_input_embeddings().weight.shape[1]
    values = {f"unet.{name}": parameter.detach().clone(), "token_embedding": torch.zeros(1, width)}
    personal_weights.save_personal(file, values, about)

    def read(path: Path) -> None:
        personal_weights.read_metadata(path)
        fitting = personal_weights.read_fitting(path, base)
        personal_weights.learned_keypoints(fitting.metadata)
        personal_weights.learned_frame(fitting.metadata)
        personal_weights.base_of(fitting.metadata, path)

    def resealed(data: bytes, rng: np.random.Generator) -> bytes:
        """Other metadata or tensors with a checksum that fits."""
        path, new, kept = folder / "resealed.safetensors", dict(values), dict(about)
        for _ in range(int(rng.integers(1, 3))):
            key = list(kept)[int(rng.integers(len(kept)))]
            raw = kept.pop(key).encode()
            if rng.random() < 0.85:
                way = m.changed_json if raw[:1] in b"[{" and rng.random() < 0.7 else m.damaged
                kept[key] = way(raw or b"x", rng).decode(errors="replace")
        if rng.random() < 0.3:
            key = list(new)[int(rng.integers(len(new)))]
            shape = rng.integers(0, 5, int(rng.integers(0, 4))).tolist()
            kinds = (torch.float32, torch.int64, torch.bfloat16, torch.bool, torch.float8_e4m3fn)
            new[key] = torch.zeros(shape, dtype=kinds[int(rng.integers(len(kinds)))])
        write_tensors(path, new, kept | {"format": personal_weights.FORMAT})
        return path.read_bytes()

    def export(path: Path) -> list[str]:
        out = folder / "out.safetensors"
        return ["export", str(path), "--format", "kohya", "--base", str(base.folder),
                "--out", str(out), "--overwrite"]  # fmt: skip

    ways = m.one_of(m.damaged, m.changed_safetensors, resealed, resealed)
    yield Target(file, read, ways, export)
    linear = next(n for n, _ in base.denoiser.named_modules() if n.endswith("to_q"))
    size = base.denoiser.get_submodule(linear).weight.shape
    lora = folder / "lora.safetensors"
    write_tensors(lora, {f"unet.{linear}.lora_A.weight": torch.zeros(2, size[1]),
                         f"unet.{linear}.lora_B.weight": torch.zeros(size[0], 2)})  # fmt: skip

    def merge(path: Path) -> None:
        with quietly():
            add_lora(base, path)

    yield Target(lora, merge, m.one_of(m.damaged, m.changed_safetensors))
    generic = folder / "some.safetensors"
    write_tensors(generic, {"x": torch.arange(6.0).reshape(2, 3)}, {"step": "3"})
    yield Target(generic, read_tensors, m.one_of(m.damaged, m.changed_safetensors))


def runs(folder: Path) -> Iterator[Target]:
    """Marks, logs, records and checkpoints of a run, and sidecars."""
    place = folder / "runs"
    run, stage = place / "sks", Stage("motion", "motion", 4, log_every=1, save_every=2)
    record = {"token": "sks", "recipe": json.dumps({"stage": [vars(stage)]}), "base_folder": "x"}
    score = {"stage": "motion", "score": 1.0, "identity": 0.5, "scene": 0.2, "leak": 0.3}

    def loss(net: Any, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        return net(torch.randn(2, 3, generator=generator)).square().mean(), {}

    with owned(run, "personalize"):
        (run / "run.json").write_text(json.dumps(record))
        (run / "scores.json").write_text(json.dumps([score | {"step": 2}, score | {"step": 4}]))
        (run / "estimate.json").write_text(json.dumps({"seconds": 3.0, "memory": 1.0}))
        fit(torch.nn.Linear(3, 3), stage, loss, run / "training" / "motion", 0)
        (run / "training" / "motion" / "stage.json").write_text(json.dumps(vars(stage)))
        personal_weights.save_personal(
            run / "personal.safetensors", {"unet.x": torch.ones(3)},
            dict.fromkeys(personal_weights.METADATA, "x"),
        )  # fmt: skip
    texts, ways = m.one_of(m.damaged, m.changed_json), m.one_of(m.damaged, m.changed_safetensors)

    def read(_: Path) -> None:
        list_runs(place)
        read_scores(run)

    def shown(_: Path) -> None:
        with quietly():
            show("sks", place)

    def command(_: Path) -> list[str]:
        return ["runs", "list", "--json", "--runs", str(place)]

    def mark(_: Path) -> None:
        list_runs(place)
        require_own(run, "personalize")

    stages = run / "training" / "motion"
    yield Target(run / MARK, mark, texts, command)
    for file in (run / "run.json", stages / "log.jsonl", stages / "stage.json"):
        yield Target(file, shown, texts, command)
    yield Target(run / "scores.json", shown, texts, command)
    yield Target(run / "estimate.json", shown, texts)
    yield Target(stages / "checkpoint.safetensors", read, ways, command)
    yield Target(run / "personal.safetensors", read, ways, command)
    yield Target(next((stages / "tensorboard").iterdir()), shown, m.damaged)
    clip = place / "beach.mp4"
    clip.write_bytes(b"frames")
    write_sidecar(clip, {
        "prompt": "sks man", "full_prompt": "x", "negative": "", "fit": "bones", "token": "sks",
        "pose": {"file": "dance.mp4", "kind": "person", "sha256": "0", "start": 0, "fps": None},
        "base": {"name": "mini", "hash": "0"}, "frames": 16, "fps": 8.0, "size": [64, 64],
        "output": {"format": ".mp4", "fps": 8.0, "loop": None, "sound": False},
    })  # fmt: skip

    def sidecar(path: Path) -> None:
        earlier_settings(clip)
        list_runs(place)
        for target in find_targets(clip):
            target.prompt(None)
        with quietly():
            show("beach.mp4", place)

    yield Target(clip.with_suffix(".json"), sidecar, texts, command)


def containers(folder: Path) -> Iterator[Target]:
    """MP4 (H.264, AAC), fragmented MP4, WebM (VP9, Opus), MOV (MJPEG), AVI, and animations."""
    y, x = np.mgrid[:SIDE, :SIDE]
    ground = np.stack([x * 3, y * 3, 255 - x * 3], -1).clip(0, 255).astype(np.uint8)
    frames = np.stack([np.roll(ground, 2 * index, 1) for index in range(FRAMES)])
    wave = np.sin(np.arange(2 * 48000, dtype=np.float32) / 20)[None] / 2

    def read(path: Path) -> None:
        with quietly():
            clip = video.read(path, max_frames=2 * FRAMES, fps=8)
            video.frame_times(clip)
        read_sound(path, 2.0)

    def command(path: Path) -> list[str]:
        return ["pose", str(path), "--out", str(folder / "drawn.mp4"), "--frames", "2"]

    for name, ways in (("clip.mp4", m.changed_boxes), ("clip.webm", m.changed_elements)):
        output.write(folder / name, iter(frames), FRAMES, 8.0, Sound(wave))
        yield Target(folder / name, read, m.one_of(m.damaged, ways), command)
    options = {"movflags": "frag_keyframe+empty_moov"}
    for name, codec, given in (
        ("fragments.mp4", "libx264", options), ("phone.mov", "mjpeg", {}), ("old.avi", "mpeg4", {}),
    ):  # fmt: skip
        with av.open(str(folder / name), "w", options=given) as file:
            stream = file.add_stream(codec, rate=8)
            stream.width = stream.height = SIDE
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for picture in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
        boxes = m.damaged if name.endswith("avi") else m.changed_boxes
        yield Target(folder / name, read, m.one_of(m.damaged, boxes))
    for name in ("clip.gif", "clip.webp"):
        output.write(folder / name, iter(frames[:4]), 4, 8.0, None)
        yield Target(folder / name, read, m.damaged)


def shards(folder: Path) -> Iterator[Target]:
    """A shard, also with a right index over damaged contents, its index, and that of the corpus."""
    from animateanywhere.commands import corpus_report
    from animateanywhere.core.files import sha256
    from animateanywhere.datasets import samples
    from animateanywhere.datasets import shards as of
    from animateanywhere.datasets.arrays import array_files
    from animateanywhere.datasets.corpus_check import check_corpus
    from animateanywhere.datasets.shard_corpus import INDEX, joined, open_shards, write_corpus

    place, file = folder / "corpus", io.BytesIO()
    place.mkdir()
    Image.fromarray(np.full((32, 24, 3), 90, np.uint8)).save(file, "PNG")
    pose = {"format": "openpose18", "width": 24, "height": 32, "fps": 8.0,
            "keypoints": [[[5.0, 6.0, 0.9]] * 18]}  # fmt: skip
    meta = {"width": 24, "height": 32, "frames": 1, "fps": 0.0, "license": "cc0-1.0", "source": "x"}
    files = {
        "image.png": file.getvalue(), "pose.json": json.dumps(pose).encode(),
        "caption.txt": b"a man\nsomebody\n", "meta.json": json.dumps(meta).encode(),
    }  # fmt: skip
    rows = [of.Sample(f"row{number}", files) for number in range(3)]
    write_corpus(place, of.write_shards(place, [lambda: rows], {}))
    tar = of.shard_path(place, 0)
    index, about = of.index_path(tar).read_bytes(), (place / INDEX).read_bytes()

    def read(_: Path) -> None:
        corpus = joined(place, [of.read_shard(tar)])
        for number in range(len(corpus)):
            samples.check_sample(corpus.read(number), str(place))

    def contents(_: Path) -> None:
        """The same with checksums that fit."""
        table, data = json.loads(index), tar.read_bytes()
        for row in table["samples"]:
            for where in row["files"].values():
                where[2] = zlib.crc32(data[where[0] : where[0] + where[1]])
        of.index_path(tar).write_text(json.dumps(table | {"size": len(data)}))
        try:
            read(tar)
        finally:
            of.index_path(tar).write_bytes(index)

    def whole(_: Path) -> None:
        """The corpus as the commands read it, with the index of its shard taken as right."""
        with quietly():
            check_corpus(place)
            corpus_report.show(place, folder / "page")
        open_shards(place)

    def named(path: Path) -> None:
        """The same with an index of the corpus that fits the damaged one of its shard."""
        table = json.loads(about)
        table["shards"][0]["index_sha256"] = sha256(path)
        (place / INDEX).write_text(json.dumps(table))
        try:
            whole(path)
        finally:
            (place / INDEX).write_bytes(about)

    def command(_: Path) -> list[str]:
        return ["corpus", "check", str(place)]

    texts = m.one_of(m.damaged, m.changed_json, m.changed_json)
    yield Target(tar, contents, m.damaged, command)
    yield Target(tar, read, m.damaged)
    yield Target(of.index_path(tar), read, texts)
    yield Target(of.index_path(tar), named, texts, command)
    yield Target(place / INDEX, whole, texts, command)
    array = {"rows.npy": np.arange(12.0).reshape(6, 2)}
    rest = {name: data for name, data in files.items() if name != "image.png"}
    rows_of = folder / "rows"
    write_corpus(rows_of, [of.write_shard(rows_of, 0, [of.Sample("a", rest | array_files(array))])])
    opened = open_shards(rows_of)
    yield Target(of.shard_path(rows_of, 0), lambda _: opened.rows(0, ["rows.npy"], 1, 3), m.damaged)


@cache
def _base(folder: Path) -> Path:
    """A tiny base, untrained."""
    place, model = folder / "base", load_recipe("tiny").model
    create_base(model, place, ["a man in a room", "a woman on a beach"])
    write_base_toml(place, {
        "name": "tiny", "size": model.size, "frames": model.frames, "fps": model.fps,
        "personalize": "personalize-tiny",
    })  # fmt: skip
    return place


KINDS: dict[str, Callable[[Path], Iterator[Target]]] = {
    "containers": containers, "poses": poses, "tensors": tensors, "subjects": subjects,
    "runs": runs, "recipes": recipes, "shards": shards,
}  # fmt: skip
