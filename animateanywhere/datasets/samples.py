"""What a sample of a corpus of people contains, and the checks that it must pass.

clip.mp4 or image.jpg or image.png    the frames
pose.json                             OpenPose-18 keypoints of each frame, one person
caption.txt                           captions, one a line
meta.json                             see `shards.Meta`
mask.mp4 or mask.png                  optional: the person in white
reference0.png, reference1.png, ...   optional: other pictures of the person
"""

from __future__ import annotations

from collections.abc import Collection

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.shards import Meta, Sample, meta_of
from animateanywhere.pose.skeleton import Poses, one_person, parse_poses

CLIP = "clip.mp4"
PICTURES = ("image.jpg", "image.png")


def frames_file(files: Collection[str], where: str) -> str:
    """The name of the file with a sample's frames. Raises UsageError, which names `where` and the
    key in it, without one or with two."""
    found = [name for name in (CLIP, *PICTURES) if name in files]
    if len(found) != 1:
        what = "no frames" if not found else f"{found[0]} and {found[1]}"
        raise UsageError(f"{where}: has {what}; a sample has a clip.mp4 or an image.jpg or .png")
    return found[0]


def poses_of(sample: Sample, where: str) -> Poses:
    """The keypoints (F, 18, 3) of a sample's person. Raises UsageError, which names `where`."""
    name = f"{where}: {sample.key}.pose.json"
    if "pose.json" not in sample.files:
        raise UsageError(f"{name}: missing")
    return one_person(parse_poses(sample.files["pose.json"], name), name)


def captions_of(sample: Sample, where: str) -> list[str]:
    """The captions of a sample, at least one. Raises UsageError, which names `where`."""
    name = f"{where}: {sample.key}.caption.txt"
    if "caption.txt" not in sample.files:
        raise UsageError(f"{name}: missing")
    try:
        lines = [line.strip() for line in sample.files["caption.txt"].decode().split("\n")]
    except UnicodeDecodeError:
        raise UsageError(f"{name}: not text in UTF-8") from None
    captions = [line for line in lines if line]
    if not captions:
        raise UsageError(f"{name}: contains no caption; write one in each line")
    return captions


def check_sample(sample: Sample, where: str) -> Meta:
    """Check a sample except for its frames, masks and references, which are not decoded: that its
    files are there and right by themselves, and that there is a pose for each frame.

    where: what is in front of the key in errors. Returns its meta. Raises UsageError.
    """
    meta = meta_of(sample, where)
    kind = frames_file(sample.files, f"{where}: {sample.key}")
    if kind != CLIP and meta.frames != 1:
        raise UsageError(f"{where}: {sample.key}.meta.json: frames of a picture must be 1")
    captions_of(sample, where)
    poses = poses_of(sample, where)
    if len(poses.keypoints) != meta.frames:
        raise UsageError(
            f"{where}: {sample.key}.pose.json: {len(poses.keypoints)} poses for {meta.frames} "
            "frames; there must be one for each"
        )
    return meta
