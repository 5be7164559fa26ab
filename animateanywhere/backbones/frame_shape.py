"""The size of the frames that a base generates and learns: as requested, or as the clip's."""

from __future__ import annotations

from animateanywhere.backbones.family import Base
from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Aspect, Size, bucket, parse_aspect, ratio
from animateanywhere.core.messages import say, warn

UNUSUAL = 1.5  # times larger or smaller than the base's frames: said
MOST = 8.0  # times larger: beyond, a base repeats the scene all over the frame


def in_frames(
    base: Base, source: Size, what: str, size: Size | None = None, aspect: Aspect | None = None
) -> Base:
    """The base, for frames of the requested size; says which, and where the base is best.

    Without a request the aspect ratio is that of the source, of those that the base was trained on
    (`aspects` in its base.toml; without them any). The number of pixels is about the base's.

    source: of the clip or motion. what: the source in words, for messages.

    Raises UsageError for a size that is no multiple of the base's stride.
    """
    side, stride = int(base.config["size"]), base.family.stride(base)
    known = [str(text) for text in base.config.get("aspects", [])]
    usual = [bucket(_number(text), side, stride) for text in known]
    follows = bucket(source.aspect, side, stride)
    if size is not None:
        _check(base, size, stride)
        frame = size
    elif aspect is not None:
        frame = follows if aspect == "source" else bucket(aspect, side, stride)
    else:
        frame = min(usual, key=lambda one: abs(one.aspect - source.aspect), default=follows)
    pixels, name = f"frames of {frame} pixels ({ratio(frame)})", base.config["name"]
    if usual and frame.aspect not in [one.aspect for one in usual]:
        say(f"{pixels}: base {name} was trained on {', '.join(known)} and is best there")
    elif size is None and aspect is None and frame != follows:
        say(f"{pixels}, which base {name} was trained on; --aspect source follows {what}")
    elif frame.width != frame.height:
        say(f"{pixels}" + (f", as {what}" if size is None and aspect in (None, "source") else ""))
    return base.at(frame)


def _number(text: str) -> float:
    value = parse_aspect(text)
    assert isinstance(value, float)
    return value


def _check(base: Base, size: Size, stride: int) -> None:
    if size.width % stride or size.height % stride:
        near = Size(*(max(round(side / stride), 1) * stride for side in size))
        raise UsageError(
            f"--size {size}: width and height must be multiples of {stride} with base "
            f"{base.config['name']}, such as {near}"
        )
    scale = size.side / int(base.config["size"])
    if scale > MOST:
        raise UsageError(
            f"--size {size}: base {base.config['name']} was trained on about "
            f"{base.config['size']}x{base.config['size']} pixels; at most {MOST:g} times that side "
            "can be given"
        )
    if not 1 / UNUSUAL <= scale <= UNUSUAL:
        warn(
            f"--size {size}: base {base.config['name']} was trained on about "
            f"{base.config['size']}x{base.config['size']} pixels, and other sizes may look worse"
        )
