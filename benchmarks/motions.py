"""Write examples/motions: the motions of rendered people, as the gallery of `aa studio` shows them.

python benchmarks/motions.py
"""

from dataclasses import replace

import numpy as np

from animateanywhere.core.paths import EXAMPLES
from animateanywhere.pose.skeleton import Poses, write_poses
from animateanywhere.puppets.posing import pose_and_project
from animateanywhere.puppets.sample import sample_spec
from animateanywhere.puppets.spec import Camera, Motion

NAMES = ("walk", "run", "wave", "dance", "jump", "squat", "turn", "kick", "raise", "sit")
FRAMES, FPS, SIZE = 24, 8.0, 128
YAW = {
    "walk": 0.5,
    "run": 0.7,
    "kick": 0.6,
    "sit": 0.5,
    "squat": 0.5,
}  # radians, away from the camera


def main() -> None:
    person = replace(sample_spec(3).identity, height=1.0)
    for name in NAMES:
        motion = Motion(name, tempo=1.0, amplitude=1.0, phase=0.0, yaw=YAW.get(name, 0.1),
                        travel=0.0, lead=1, wobble=0.0)  # fmt: skip
        spec = replace(
            sample_spec(3), identity=person, motion=motion, camera=Camera(0.72, 0.9, 0, 0.08, 0)
        )
        spec = replace(spec, object=replace(spec.object, name="none"), occluder=None)
        posed = pose_and_project(spec, np.arange(FRAMES) / FPS, SIZE)
        keypoints = posed.keypoints.astype(np.float32)
        keypoints[..., 2] = 1  # all are known, also of the side that is turned away
        write_poses(EXAMPLES / "motions" / f"{name}.poses.json",
                    Poses(keypoints.round(1), SIZE, SIZE, FPS))  # fmt: skip


if __name__ == "__main__":
    main()
