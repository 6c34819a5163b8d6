"""Embeddings, neighbors and probe, the last two against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from harbench.evaluation.features import Penultimate, linear_probe, nearest_neighbors
from harbench.models.find import find_model
from harbench.models.weights import head_name


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes that overlap: training features [90, 6] and targets, test features [60, 6]."""
    rng = np.random.default_rng(0)
    centers, targets = rng.normal(size=(3, 6)), np.arange(150) % 3
    features = (centers[targets] + rng.normal(size=(150, 6))).astype(np.float32)
    return features[:90], targets[:90].astype(np.int64), features[90:]


def test_neighbors_are_scikit_learns(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    train, targets, test = data
    found = nearest_neighbors(train, targets, test, (1, 5, 20, 91), 3)
    assert sorted(found) == [1, 5, 20]  # 91 neighbors are more than there are
    for k, classes in found.items():
        reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(train, targets)
        assert np.array_equal(classes, reference.predict(test))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_is_a_logistic_regression_of_standardized_features(
    data: tuple[np.ndarray, np.ndarray, np.ndarray], classes: int
) -> None:
    train, targets, test = data[0], data[1] % classes, data[2]
    held = np.arange(len(train)) % 5 == 0
    probe = linear_probe(train, targets, held, classes + 1)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    reference = LogisticRegression(C=1 / (len(train) * probe.l2), max_iter=1000).fit(
        (train - mean) / deviation, targets
    )
    logits = test @ probe.weight.T + probe.bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares[:, :classes], reference.predict_proba((test - mean) / deviation), atol=1e-3)
    assert max(probe.held_out.values()) == probe.held_out[probe.l2]
    assert probe(test).max() < classes, "a class without a sample is never said"


@pytest.mark.parametrize(
    ("name", "args", "shape", "width"),
    [
        ("small_cnn", {"width": 4}, (2, 3, 3, 32, 32), 32),
        ("motion3d", {"width": 4}, (2, 3, 9, 32, 32), 32),
        ("resnet_lstm", {"backbone": "small_cnn", "hidden": 8}, (2, 3, 4, 32, 32), 8),
        ("stgcnpp", {"joints": 17, "bodies": 1}, (2, 3, 8, 17, 1), 256),
    ],
)
def test_embeddings_give_the_models_own_logits(
    name: str, args: dict[str, object], shape: tuple[int, ...], width: int
) -> None:
    model = find_model(name)(5, **args).eval()
    layer = head_name(model)
    head = model.get_submodule(layer)
    assert isinstance(head, nn.Linear)
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits, entered = model(clips), Penultimate(model, layer)(clips)
        assert entered.shape == (2, width)
        assert torch.allclose(head(entered), logits, atol=1e-4)


def test_a_head_that_is_a_convolution_is_averaged_over_its_places() -> None:
    model = nn.Sequential(nn.Conv3d(3, 7, 1), nn.Conv3d(7, 5, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    clips = torch.randn(2, 3, 4, 5, 5)
    with torch.inference_mode():
        head, logits = model[1], model(clips)
        entered = Penultimate(model, head_name(model))(clips)
        assert torch.allclose(head(entered[:, :, None, None, None]).flatten(1), logits, atol=1e-5)
