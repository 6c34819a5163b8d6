"""Postures of stick figures, and what the two branches see."""

from __future__ import annotations

import pytest
import torch

from harbench.errors import RecipeError
from harbench.frames.posture import JOINTS, POSTURES, posture
from harbench.models.poseimage import pose_image

FIGURES = {
    "standing": {"shoulder": (0.5, 0.2), "hip": (0.5, 0.5), "knee": (0.51, 0.7), "ankle": (0.5, 0.9)},
    "sitting": {"shoulder": (0.5, 0.2), "hip": (0.5, 0.5), "knee": (0.7, 0.52), "ankle": (0.7, 0.8)},
    "lying": {"shoulder": (0.2, 0.8), "hip": (0.5, 0.82), "knee": (0.7, 0.8), "ankle": (0.9, 0.82)},
}


def figure(name: str, joints: int, channels: int = 3) -> torch.Tensor:
    landmarks = torch.full((joints, channels), 0.9)
    for part, place in FIGURES[name].items():
        landmarks[list(JOINTS[joints][part]), :2] = torch.tensor(place)
    return landmarks


def word(landmarks: torch.Tensor) -> str:
    number = int(posture(landmarks))
    assert int(posture(landmarks.numpy())) == number, "one geometry for arrays and tensors"
    return POSTURES[number]


@pytest.mark.parametrize("joints", JOINTS)
@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_named_wherever_it_is_and_however_large(name: str, channels: int, joints: int) -> None:
    landmarks = figure(name, joints, channels)
    assert word(landmarks) == name
    moved, mirrored = landmarks.clone(), landmarks.clone()
    moved[:, :2] = 3 * moved[:, :2] + 7
    mirrored[:, 0] = 1 - mirrored[:, 0]
    assert word(moved) == word(mirrored) == name


def test_bent_knees_alone_are_sitting_and_hidden_ankles_are_ignored() -> None:
    landmarks = figure("standing", 33)
    landmarks[list(JOINTS[33]["ankle"]), :2] = torch.tensor((0.75, 0.72))
    assert word(landmarks) == "sitting"
    landmarks[list(JOINTS[33]["ankle"]), 2] = 0.1
    assert word(landmarks) == "standing"


def test_one_side_suffices_and_none_is_unknown() -> None:
    landmarks = figure("sitting", 33)
    landmarks[24, 2] = 0.0
    landmarks[24, :2] = 5.0  # nonsense that is not seen
    assert word(landmarks) == "sitting"
    landmarks[23, 2] = 0.0
    assert word(landmarks) == "unknown"
    assert word(torch.zeros(33, 2)) == word(torch.zeros(17, 3)) == "unknown"


def test_postures_of_a_batch() -> None:
    batch = torch.stack([figure(name, 17) for name in FIGURES]).expand(2, 3, 17, 3)
    assert posture(batch).tolist() == posture(batch.numpy()).tolist() == [[1, 0, 2]] * 2
    with pytest.raises(RecipeError, match=r"33 \(MediaPipe\) or 17 \(COCO\) landmarks, found 25"):
        posture(torch.zeros(25, 3))


def test_both_branches_count() -> None:
    torch.manual_seed(0)
    model = pose_image(4, backbone="small_cnn", joints=17, channels=3).eval()
    frames = torch.randn(2, 3, 2, 32, 32)
    stand, sit = (figure(name, 17).T.view(1, 3, 1, 17, 1).expand(2, 3, 2, 17, 1) for name in ("standing", "sitting"))
    assert model(frames, stand).shape == (2, 4)
    assert not torch.allclose(model(frames, stand), model(frames, sit), atol=1e-4)
    assert not torch.allclose(model(frames, stand), model(frames + 5, stand), atol=1e-4)
    torch.testing.assert_close(model(frames), model(frames, torch.zeros(2, 3, 2, 17, 1)))
    with pytest.raises(RecipeError, match=r"set model\.args\.channels"):
        model(frames, torch.zeros(2, 2, 2, 33, 1))
