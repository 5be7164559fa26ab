"""Reference pictures by an image-editing model: the same person in another action, scene and light,
as ContextAnyone's figure 4 has them; judged by a vision-language model, and cut out.

The pipelines are those of diffusers that take a picture and an instruction (Qwen-Image-Edit, FLUX.1
Kontext, InstructPix2Pix and others): the folder or repository says which.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animateanywhere.core.device import best_device
from animateanywhere.core.errors import UsageError, first_line
from animateanywhere.media.video import Video
from animateanywhere.preprocessing.backends import Backends, choose_backend
from animateanywhere.preprocessing.captions import vlm
from animateanywhere.preprocessing.captions.template import MAX_SIDE, SCENES, parse_fields
from animateanywhere.preprocessing.character import cut_out
from animateanywhere.preprocessing.corpus.portraits import Found, Portrait, transparent
from animateanywhere.preprocessing.corpus.source import Unfit
from animateanywhere.preprocessing.pose import detect
from animateanywhere.preprocessing.weights import Source, WeightsLocation, fetch

FILES = ("**/*.safetensors",)  # of a pipeline, a folder for each part
ACTIONS = (
    "walks", "dances", "jumps", "waves", "runs", "sits on a chair", "turns around", "kneels",
    "raises both arms", "stands with crossed arms", "leans on a wall", "seen from the side",
)  # fmt: skip
LIGHTS = (
    "in soft daylight", "in warm evening light", "in bright sunlight", "under street lamps",
    "in the light of a window", "on a cloudy day",
)  # fmt: skip
STEPS: int | None = None  # of an edit; None: the pipeline's own number
TRIES = 2  # edits of a picture, until one is good
CRITERIA = {
    "same person": "the person is the same, by face and hair",
    "same clothes": "all clothes and things that are worn are the same, with their colors",
    "other pose": "the pose is another one",
    "whole": "the person is whole and alone in the second picture",
    "no fault": "the second picture has no malformed hand, face or limb",
}
QUESTION = (
    "The second picture was made from the first one. Answer for each of these with true or false, "
    "and with nothing else: {"
    + ", ".join(f'"{name}": ({text})' for name, text in CRITERIA.items())
    + "}"
)
Edit = Callable[[np.ndarray, str, int], np.ndarray]


def weights(model: str, location: WeightsLocation) -> Path:
    """The folder of an editing pipeline, given as a folder or as its name on the hub."""
    if Path(model).is_dir():
        return Path(model)
    return fetch(Source(model.rpartition("/")[2], model, FILES), location)


def open_editor(model: str, location: WeightsLocation) -> Edit:
    """A function of a picture uint8 (H, W, 3), an instruction and a seed that gives the edited
    picture. Raises UsageError for weights that are missing, or are of no editing pipeline."""
    import torch
    from diffusers import DiffusionPipeline

    folder = weights(model, location)
    half = best_device() != "cpu"
    try:
        pipeline: Any = DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=True,
            torch_dtype=torch.bfloat16 if half else torch.float32,
        )  # fmt: skip
    except (OSError, ValueError, AttributeError, ImportError, RuntimeError) as error:
        raise UsageError(f"{folder}: the model cannot be loaded ({first_line(error)})") from None
    taken = inspect.signature(pipeline.__call__).parameters
    if not {"image", "prompt"} <= set(taken) or "mask_image" in taken or "strength" in taken:
        raise UsageError(
            f"{folder}: {type(pipeline).__name__} does not edit a picture by an instruction; give "
            "another --edit model, such as one of Qwen-Image-Edit"
        )
    pipeline.to(best_device())
    pipeline.set_progress_bar_config(disable=True)

    def edit(picture: np.ndarray, instruction: str, seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        steps = {} if STEPS is None else {"num_inference_steps": STEPS}
        made = pipeline(
            image=Image.fromarray(picture), prompt=instruction, generator=generator, **steps
        ).images[0]
        return np.asarray(made.convert("RGB"))

    return edit


class Editor:
    """Edits, judges and cuts out; the models are loaded once.

    model: see `open_editor`. backends: the model that judges (`caption_model`), the pose detector
    and the segmentation. Raises UsageError for models that are missing.
    """

    def __init__(self, model: str, backends: Backends, seed: int) -> None:
        self.backends, self.seed = backends, seed
        self.edit = open_editor(model, backends.location)
        self.ask = vlm.answering(backends.caption_model, backends.location)

    def reference(self, portrait: Portrait, number: int) -> Found:
        """A reference picture made from a portrait; number: of the sample, for the random choices.
        Raises Unfit with the reason of the last try if none is good."""
        rng = np.random.default_rng([self.seed, number, 1])
        last = Unfit("not judged", "")
        for _ in range(TRIES):
            said = instruction(rng)
            made = self.edit(portrait.frame[0], said, int(rng.integers(2**32)))
            try:
                self._judge(portrait.frame[0], made)
                return Found(self._cut_out(made), f"edited: {said}")
            except Unfit as error:
                last = error
        raise last

    def _judge(self, before: np.ndarray, after: np.ndarray) -> None:
        """Raise Unfit where the model does not confirm all criteria of an edit."""
        shown = [Image.fromarray(picture) for picture in (before, after)]
        for picture in shown:
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
        answer = self.ask(shown, QUESTION)
        fields = parse_fields(answer)
        wrong = [name for name in CRITERIA if str(fields.get(name)).lower() not in ("true", "yes")]
        if not fields:
            raise Unfit("no answer", f"the judge's answer cannot be used ({answer[:80]})")
        if wrong:
            raise Unfit("judged", f"the judge does not confirm: {', '.join(wrong)}")

    def _cut_out(self, picture: np.ndarray) -> np.ndarray:
        frame = picture[None]
        name = choose_backend("pose", self.backends, Path("edited.png"))
        (persons,) = detect.find_persons(frame, name, self.backends.location)
        if len(persons.keypoints) != 1:
            raise Unfit("persons", f"{len(persons.keypoints)} persons in the edited picture")
        read = Video(frame, 1.0, Path("edited.png"), 1.0, np.zeros(1), None, None, False, [])
        try:
            made = cut_out(read, persons.keypoints[0], [], None, self.backends, 1)
        except UsageError as error:
            raise Unfit("no outline", str(error)) from None
        return transparent(made)


def instruction(rng: np.random.Generator) -> str:
    """An instruction for an edit, with an action, a scene and a light of lists."""
    action, scene, light = (str(rng.choice(words)) for words in (ACTIONS, SCENES, LIGHTS))
    return (
        "Keep the person with the same face, hair, clothes and accessories. Change the pose, the "
        f"place and the light: the person {action} {scene} {light}, seen from head to feet."
    )
