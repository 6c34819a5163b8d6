"""Frozen bodies: probes on kept features, and training on a few samples a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from toys import TINY_TEXT, TINY_TOWER, Work, many_people, tokenizer_beside

from harbench import api
from harbench.evaluation import features
from harbench.inference.predictor import Predictor
from harbench.models.build import build_model
from harbench.models.probe import Attentive, Neighbors
from harbench.recipe import ModelConfig
from harbench.records import ClassLabel, RunReport, Sample, SplitTable
from harbench.runs.folder import load_predictions, load_run
from harbench.runs.inputs import draw_shots


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = many_people(tmp_path_factory.mktemp("probe"))
    return Work(folder / "home", folder / "runs", folder / "runs", folder / "videos")


def run(work: Work, *overrides: str, seeds: int = 1) -> list[RunReport]:
    recipe = str(work.home.parent / "many.yaml")
    return api.run(recipe, home=work.home, runs=work.runs, device="cpu", overrides=overrides, seeds=seeds)


@pytest.mark.parametrize("probe", ["linear", "knn", "attentive"])
def test_a_probe_is_a_run_like_any_other(work: Work, probe: str) -> None:
    (done,) = run(work, f"model.probe={probe}")
    folder = Path(done.folder)
    assert load_run(folder).key.kind == "frozen-probe"
    predictions = load_predictions(folder)
    predictor = Predictor.open(folder, device="cpu")
    for name, expected in zip(predictions.ids, predictions.probabilities, strict=True):
        (found,) = predictor(work.videos / f"{name}.avi")
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    again = api.evaluate(folder, home=work.home, runs=work.runs, device="cpu")
    assert again.metrics["top1"] == pytest.approx(done.metrics["top1"])


def test_features_are_computed_once(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    run(work, "model.probe=linear", "input.size=24", "eval.clips=1")
    monkeypatch.setattr(features, "_computed", lambda *_: pytest.fail("they are there"))
    run(work, "model.probe=attentive", "input.size=24", "eval.clips=1")
    (few,) = run(work, "model.probe=linear", "input.size=24", "eval.clips=1", "data.shots=2")
    record = load_run(Path(few.folder))
    assert (record.key.kind, record.samples["train"], record.partial) == ("2-shot", 4, "")


def test_neighbors_vote_as_scikit_learns_do() -> None:
    rng = np.random.default_rng(0)
    centers, targets = rng.normal(size=(3, 6)), np.arange(90) % 3
    train, test = (centers[targets] + rng.normal(size=(90, 6)) for _ in range(2))
    head = Neighbors(6, 3)
    head.keep(torch.from_numpy(train).float(), torch.from_numpy(targets))
    mean = train.mean(axis=0)
    reference = KNeighborsClassifier(20, metric="cosine", weights=lambda far: np.exp((1 - far) / 0.07)).fit(
        train - mean, targets
    )
    found = head(torch.from_numpy(test).float()[:, None]).exp().numpy()
    np.testing.assert_allclose(found, reference.predict_proba(test - mean), atol=1e-3)
    fresh = Neighbors(6, 3)
    fresh.load_state_dict(head.state_dict())
    assert torch.equal(fresh.features, head.features)


def test_attention_looks_where_the_query_points() -> None:
    head = Attentive(4, 2)
    frames = torch.zeros(1, 3, 4)
    frames[0, 1, 0] = 9
    with torch.no_grad():
        head.query[0] = 50.0
    alone = head.classifier(head.norm(frames[:, 1]))
    torch.testing.assert_close(head(frames), alone, atol=1e-3, rtol=1e-3)


@given(st.integers(0, 5), st.integers(1, 6), st.data())
def test_shots_are_of_train_alone_and_of_as_many_groups_as_there_are(
    seed: int, shots: int, data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
    samples = tuple(
        Sample(f"s{n}", target, f"g{group}{'t' if test else ''}", "test" if test else "train", f"s{n}.avi")
        for n, (target, group, test) in enumerate(drawn)
    )
    table = SplitTable("toy", "official", "video", tuple(ClassLabel(c, c) for c in "abc"), samples)
    few = draw_shots(table, shots, seed)
    assert few == draw_shots(table, shots, seed)
    assert few.subset("test") == table.subset("test")
    assert not {s.group for s in few.subset("train")} & {s.group for s in few.subset("test")}
    for target in range(3):
        have = [s for s in table.subset("train") if s.target == target]
        kept = [s for s in few.subset("train") if s.target == target]
        assert len(kept) == min(shots, len(have)) and set(kept) <= set(have)
        assert len({s.group for s in kept}) == min(len(kept), len({s.group for s in have}))


# -------------------------------------------------------------------------------------------------- classes in words
SENTENCES = "model.prompts=['he is {}']"


@pytest.fixture(scope="module")
def worded(work: Work) -> tuple[str, ...]:
    """Overrides that make the toy recipe one of CLIP, its weights and tokenizer made up."""
    import transformers
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=TINY_TEXT, vision_config=TINY_TOWER, projection_dim=16)
    folder = work.home.parent / "clip"
    folder.mkdir()
    state = transformers.CLIPModel(config).state_dict()
    save_file({key: value.clone() for key, value in state.items()}, folder / "model.safetensors")
    tokenizer_beside(folder)
    args = f"model.args={{vision: {TINY_TOWER}, text: {TINY_TEXT}, dim: 16}}".replace("'", "")
    return ("model.name=clip", args, f"model.weights={folder / 'model.safetensors'}", SENTENCES, "input.size=32")


def test_a_zero_shot_run_sees_no_training_sample(work: Work, worded: tuple[str, ...]) -> None:
    (done,) = run(work, *worded, "train.epochs=0")
    folder = Path(done.folder)
    record = load_run(folder)
    assert (record.key.kind, record.key.given, record.samples["train"]) == ("zero-shot", "class names", 0)
    assert record.partial == "" and record.key.complete == "yes"
    predictions = load_predictions(folder)
    predictor = Predictor.open(folder, device="cpu")  # without the text tower
    for name, expected in zip(predictions.ids, predictions.probabilities, strict=True):
        (found,) = predictor(work.videos / f"{name}.avi")
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    again = api.evaluate(folder, home=work.home, runs=work.runs, device="cpu")
    assert again.metrics["top1"] == pytest.approx(done.metrics["top1"])


@pytest.mark.parametrize("name", ["clip", "xclip"])
def test_a_probe_reads_what_is_compared_with_words(name: str) -> None:
    args = {"vision": TINY_TOWER, "text": TINY_TEXT, "dim": 16}
    if name == "xclip":
        small = {"mit_hidden_size": 16, "mit_intermediate_size": 32, "mit_num_attention_heads": 2}
        args |= {"frames": 4, "vision": {**TINY_TOWER, **small}}
    model = build_model(ModelConfig(name=name, args=args, probe="linear"), 3).eval()
    with torch.inference_mode():
        features = model.body(torch.randn(2, 3, 4, 32, 32))
    assert features.shape == (2, 1, 16)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2, 1))


def test_from_base_to_novel_classes(work: Work, worded: tuple[str, ...]) -> None:
    keys = ["left", "right"]
    (work.home / "splits" / "many" / "novel.txt").write_text("right\n")
    (done,) = run(work, *worded, "train.epochs=1", "data.base_to_novel=true")
    folder = Path(done.folder)
    record, predictions = load_run(folder), load_predictions(folder)
    assert (record.key.kind, record.key.metric) == ("base-to-novel", "harmonic")
    assert predictions.novel is not None and predictions.novel.tolist() == [key == keys[-1] for key in keys]
    novel = predictions.novel[predictions.targets]
    assert not predictions.probabilities[~novel][:, predictions.novel].any(), "of the other half none is a candidate"
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)
    hits = predictions.probabilities.argmax(axis=1) == predictions.targets
    base, other = 100 * hits[~novel].mean(), 100 * hits[novel].mean()
    assert done.metrics["novel"] == pytest.approx(other)
    assert done.metrics["harmonic"] == pytest.approx(2 / (1 / base + 1 / other) if base and other else 0)
    assert record.intervals["harmonic"][0] <= done.metrics["harmonic"] <= record.intervals["harmonic"][1]
    assert record.samples["train"] == 4, "those of the base class"
    again = api.evaluate(folder, home=work.home, runs=work.runs, device="cpu")
    assert again.metrics["harmonic"] == pytest.approx(done.metrics["harmonic"])
