"""SmolVLM's real classes, tiny, in the files of its repository, taught two answers by heart."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)

from animateanywhere.commands.prepare import prepare
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.captions import vlm
from animateanywhere.preprocessing.captions.appearance import describe_appearance
from animateanywhere.preprocessing.captions.template import (
    Description,
    parse_answer,
    sample_pictures,
)
from animateanywhere.preprocessing.weights import WeightsLocation
from tests.commands.test_prepare import rendered

FRAMES = np.random.default_rng(0).integers(0, 255, (9, 40, 60, 3), dtype=np.uint8)
LOOSE = "A man in a room."
GOOD = 'Sure: {"scene": "in a room", "action": "waving"}'
# Of SmolVLM-500M-Instruct
TEMPLATE = """<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}\
{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}\
{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}\
{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> WeightsLocation:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "vlm"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    special = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<|im_start|>", eos_token="<end_of_utterance>",
        pad_token="<|im_start|>", additional_special_tokens=special,
    )  # fmt: skip
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(**sizes), tokenizer, image_seq_len=1, chat_template=TEMPLATE
    )
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    model = Idefics3ForConditionalGeneration(Idefics3Config(
        vision_config={**small, "image_size": 32, "patch_size": 16},
        text_config={**small, "model_type": "llama", "num_key_value_heads": 2,
                     "vocab_size": len(tokenizer), "max_position_embeddings": 2048,
                     "pad_token_id": tokenizer.pad_token_id},
        scale_factor=2, image_token_id=processor.image_token_id,
    ))  # fmt: skip
    _teach(model, processor)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    # As its repository has them, from before transformers 5
    (folder / "chat_template.jinja").unlink()
    about = {"processor_class": "Idefics3Processor"}
    for name, content in {
        "chat_template": {"chat_template": TEMPLATE},
        "processor_config": {**about, "image_seq_len": 1},
        "preprocessor_config": {**about, **sizes, "image_processor_type": "Idefics3ImageProcessor"},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return WeightsLocation(folder.parent)


def _teach(model: Idefics3ForConditionalGeneration, processor: Idefics3Processor) -> None:
    processor.image_processor.do_image_splitting = False
    rows = []
    for question, answer in ((vlm.QUESTION, LOOSE), (vlm.SIMPLER_QUESTION, GOOD)):
        content = [{"type": "image", "image": picture} for picture in sample_pictures(FRAMES)]
        chat = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        row = processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids = processor.tokenizer(answer + "<end_of_utterance>", return_tensors="pt").input_ids
        given = row["input_ids"].shape[1]
        row["input_ids"] = torch.cat([row["input_ids"], ids], 1)
        row["attention_mask"] = torch.ones_like(row["input_ids"])
        row["labels"] = row["input_ids"].clone()
        row["labels"][:, :given] = -100
        rows.append(row)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for step in range(160):
        loss = model(**rows[step % 2]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_an_unusable_answer_is_followed_by_a_simpler_question(
    location: WeightsLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    monkeypatch.setattr(
        vlm, "parse_answer", lambda text, name: answers.append(text) or parse_answer(text, name)
    )
    assert vlm.describe(FRAMES, location=location) == Description("in a room", "waving")
    assert answers == [LOOSE, GOOD]


def test_the_first_good_answer_is_taken(
    location: WeightsLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vlm, "QUESTION", vlm.SIMPLER_QUESTION)
    monkeypatch.delattr(vlm, "SIMPLER_QUESTION")
    folder = str((location.models or Path()) / "vlm")
    assert vlm.describe(FRAMES, folder).action == "waving"


def test_prepare_writes_them_or_falls_back(
    location: WeightsLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "a.mp4"
    rendered(clip)
    monkeypatch.setattr(vlm, "SIMPLER_QUESTION", vlm.QUESTION)
    with pytest.raises(Failure, match=r"vlm: the model's answer cannot be used \(A man in a"):
        prepare(clip, tmp_path / "b", backends=Backends(caption="vlm", location=location))
    assert not (tmp_path / "b").exists()
    fallback = Backends(caption="vlm", caption_fallback="template", location=location)
    assert prepare(clip, tmp_path / "c", backends=fallback).captions[0] == "a <token> person"
    monkeypatch.undo()
    monkeypatch.setattr(
        vlm, "sample_pictures", lambda _: sample_pictures(FRAMES)
    )  # the frames that it was trained on
    subject = prepare(clip, tmp_path / "d", backends=Backends(caption="vlm", location=location))
    assert subject.captions[0] == "a <token> person waving in a room"
    with pytest.raises(UsageError, match="downloads are off: put some/model into DIR/model"):
        asked = Backends(
            caption="vlm", caption_model="some/model", location=WeightsLocation(offline=True)
        )
        prepare(clip, tmp_path / "e", backends=asked)


def test_an_answer_without_clothes_is_no_appearance(location: WeightsLocation) -> None:
    """It was taught to say where somebody is."""
    backends = Backends(caption="vlm", location=location)
    with pytest.raises(Failure, match="vlm: the model's answer names no hair and no clothes"):
        describe_appearance(FRAMES, backends)


def test_a_folder_of_another_model_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match=str(tmp_path)):
        vlm.describe(FRAMES, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('```json\n{"scene": "In a park.", "action": "running", "objects": "a ball"}\n```',
         Description("in a park", "running", ("a ball",))),
        ("{'scene': 'on a stage', 'action': 'singing', 'objects': ['None', 'a red hat'],}",
         Description("on a stage", "singing")),
        ('{"scene": "a room with a man in a red shirt", "action": "wearing a hat"}',
         Description("a room")),
        ('{"scene": "in a gym", "action": "", "objects": ["...", "a rope", "a mat", "a bag"]}',
         Description("in a gym", "", ("a rope", "a mat"))),
    ],
)  # fmt: skip
def test_inexact_answers_are_parsed(text: str, said: Description) -> None:
    assert parse_answer(text, "vlm") == said


def test_unfilled_placeholders_are_no_answer() -> None:
    with pytest.raises(Failure, match="cannot be used"):
        parse_answer('{"scene": "...", "action": "..."}', "vlm")
