"""Captions by a local vision-language model, through transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animateanywhere.core.errors import Failure, UsageError, first_line
from animateanywhere.core.messages import progress
from animateanywhere.preprocessing.captions.template import (
    Description,
    parse_answer,
    sample_pictures,
)
from animateanywhere.preprocessing.weights import HUB, Source, WeightsLocation, fetch, load

SMOLVLM = Source("vlm", "HuggingFaceTB/SmolVLM-500M-Instruct")  # runs without torchvision
MAX_ANSWER_TOKENS = 128  # tokens
# Small models repeat the examples of a question, so it contains none
QUESTION = (
    "These are frames of one video of one person. Describe the place and the action, never the "
    "person's clothes, hair, face or age. scene: where it is, a few words that start with in, on "
    "or at. action: what the person does, in words that end in ing. objects: things that the "
    "person holds, often none. framing: full body, upper body or face. Fill in the dots and answer "
    'with nothing else: {"scene": "...", "action": "...", "objects": ["..."], "framing": "..."}'
)
SIMPLER_QUESTION = (
    "Where is this, and what does the person do? Say nothing of clothes or looks. "
    'Fill in the dots and answer with nothing else: {"scene": "...", "action": "..."}'
)


def weights(model: str | None = None, location: WeightsLocation = HUB) -> Path:
    """The folder of a model, given as a folder or as its name on the hub (see `weights.fetch`)."""
    if model and Path(model).is_dir():
        return Path(model)
    return fetch(Source(model.rpartition("/")[2], model) if model else SMOLVLM, location)


def describe(
    frames: np.ndarray, model: str | None = None, location: WeightsLocation = HUB
) -> Description:
    """Describe frames, uint8 (F, H, W, 3), without the person's appearance.

    Decoding is greedy, so the same frames give the same words. A model whose answer does not have
    the requested format is asked once more with a simpler question.

    Raises:
        UsageError: the weights are missing, or are not those of a vision-language model.
        Failure: no usable answer.
    """
    return opened(model, location)(frames)


def opened(
    model: str | None = None, location: WeightsLocation = HUB
) -> Callable[[np.ndarray], Description]:
    """`describe` for many clips, with the model loaded once; arguments and errors as there."""
    answer = answering(model, location)

    def ask(frames: np.ndarray) -> Description:
        pictures = sample_pictures(frames)
        try:
            return parse_answer(answer(pictures, QUESTION), "vlm")
        except Failure:
            return parse_answer(answer(pictures, SIMPLER_QUESTION), "vlm")

    return ask


def answering(
    model: str | None = None, location: WeightsLocation = HUB
) -> Callable[[Sequence[Image.Image], str], str]:
    """A loaded model's answer to a question about pictures, always the same to the same question.
    Raises UsageError as `describe`."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = weights(model, location)
    try:
        processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"{folder}: the model cannot be loaded ({first_line(error)})") from None
    if not getattr(processor, "chat_template", None) or not hasattr(processor, "image_processor"):
        raise UsageError(
            f"{folder}: not a vision-language model that answers questions about pictures; "
            "give another --caption-model"
        )
    if hasattr(processor.image_processor, "do_image_splitting"):
        processor.image_processor.do_image_splitting = (
            False  # 17 times the tokens, needed for small print only
        )
    network = load(AutoModelForImageTextToText, folder)
    return partial(_answer, processor, network)


def _answer(processor: Any, network: Any, pictures: Sequence[Image.Image], question: str) -> str:
    import torch

    content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
    content.append({"type": "text", "text": question})
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(network.device, network.dtype)
    with progress("asking the model", total=MAX_ANSWER_TOKENS) as bar, torch.no_grad():

        def advance(ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
            bar.advance(1)
            return torch.zeros(
                len(ids), dtype=torch.bool, device=ids.device
            )  # never stops the generation

        ids = network.generate(
            **inputs, max_new_tokens=MAX_ANSWER_TOKENS, do_sample=False, stopping_criteria=[advance]
        )
    return str(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
