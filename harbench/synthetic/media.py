"""What is written of a take: the video, the observed joints, the NTU skeleton."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
import numpy as np
import numpy.typing as npt

from harbench.datasets.skeleton_files import BODY_FIELDS, JOINT_FIELDS, JOINTS, Body
from harbench.synthetic import motion
from harbench.synthetic.persons import draws
from harbench.synthetic.take import FPS, HEIGHT, WIDTH, Take

Image = npt.NDArray[np.uint8]

QUANTISER = 2
"""MPEG-4 quantiser scale of every frame, 1 finest to 31."""
JITTER = 0.8
"""Pixels: standard deviation of the observed joints."""
DROPOUT = 0.03
"""Share of single joints that are not found."""


def encode(frames: Sequence[Image]) -> bytes:
    """An MPEG-4 AVI of RGB frames, the same bytes on every call.

    Every frame is coded on its own (no prediction between frames) at one fixed quantiser: neither the size of the file
    nor what the coder leaves in a frame can tell how fast anything moves.
    """
    out = io.BytesIO()
    with av.open(out, "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"flags": "+bitexact+qscale"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = 0
        stream.codec_context.max_b_frames = 0
        stream.codec_context.qmin = stream.codec_context.qmax = QUANTISER
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def observed_joints(take: Take, name: str) -> npt.NDArray[np.float32]:
    """COCO-17 as a pose estimator would give them: `[T, 1, 17, 3]` of x, y in pixels and confidence.

    True places with jitter; a joint that is not found, or lies outside the picture, is 0, 0, 0. One joint is lost for a
    fifth of the time, as when something hides it. Far joints are less certain.
    """
    rng = draws("joints", name)
    xy = take.points()[:, list(motion.COCO)]
    frames, joints = xy.shape[:2]
    xy = xy + JITTER * rng.standard_normal(xy.shape)
    far = take.joints[:, list(motion.COCO), 2] < -0.03
    confidence = np.clip(rng.normal(0.88, 0.06, (frames, joints)) - 0.15 * far, 0.3, 1.0)
    lost = rng.uniform(size=(frames, joints)) < DROPOUT
    joint, start = rng.randint(joints), rng.randint(frames)
    lost[start : start + frames // 5, joint] = True
    lost |= ((xy < 0) | (xy >= [WIDTH, HEIGHT])).any(axis=-1)
    observed = np.concatenate([xy, confidence[..., None]], axis=-1).astype(np.float32)
    observed[lost] = 0
    return observed[:, None]


def skeleton(take: Take, name: str, *, two_bodies: bool) -> list[list[Body]]:
    """The take as an NTU RGB+D recording: 25 joints in meters, 3 m before a Kinect.

    Some frames have no body, as in NTU. The second body, where there is one, stands beside the first, comes a little
    later and takes the first slot now and then: only its id tells who is who.
    """
    rng = draws("skeleton", name)
    xyz = take.joints[:, :JOINTS] + np.array([0.0, -0.9, 0.0])
    xyz[..., 2] = 3.0 - xyz[..., 2]
    xyz = xyz + 0.008 * rng.standard_normal(xyz.shape)
    first, second = 72057594037927936 + rng.randint(0, 2**31 - 1, 2)
    frames: list[list[Body]] = []
    empty = set(rng.choice(len(xyz), size=1 + len(xyz) // 40, replace=False).tolist())
    bystander = xyz[rng.randint(len(xyz))] + np.array([0.8, 0.0, 0.4])
    for t, body in enumerate(xyz):
        if t in empty:
            frames.append([])
            continue
        bodies = [_body(int(first), body)]
        if two_bodies and t >= len(xyz) // 6:
            bodies.append(_body(int(second), bystander + 0.01 * rng.standard_normal(bystander.shape)))
            if rng.uniform() < 0.2:
                bodies.reverse()
        frames.append(bodies)
    return frames


def _body(body_id: int, xyz: npt.NDArray[np.float64]) -> Body:
    """Depth and color pixels follow from a pinhole camera of Kinect v2's size (512x424 and 1920x1080)."""
    joints = np.zeros((JOINTS, JOINT_FIELDS))
    joints[:, :3] = xyz
    flat = xyz[:, :2] / xyz[:, 2:] * [1.0, -1.0]
    joints[:, 3:5] = [256, 212] + 365 * flat
    joints[:, 5:7] = [960, 540] + 1060 * flat
    joints[:, 7] = 1.0
    joints[:, 11] = 2
    return Body(body_id, (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0)[: BODY_FIELDS - 1], joints)
