"""Tables about networks: `train`, `evaluate`, `predict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.diagnose.bench.race import FRAMES, SIDE, STRIDE, BenchTable, Options, Row, race, samples_of
from harbench.frames.clips import ClipDataset, evaluation_batches, evaluation_keys
from harbench.frames.streams import normalize
from harbench.recipe import CacheConfig, EvalConfig, InputConfig, ModelConfig
from harbench.records import ClassLabel
from harbench.runs.seen import Seen


def train(options: Options) -> BenchTable:
    """Steps with the real loader against the same steps on one batch that is in memory."""
    import torch

    from harbench.frames.loader import load_each
    from harbench.frames.streams import normalize
    from harbench.models.build import build_model
    from harbench.recipe import ModelConfig

    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": FRAMES, "stride": STRIDE}}})
    data = ClipDataset(samples_of(options.videos), options.videos.cache, config, seed=0, views=None)
    rows: list[Row] = []
    for name, size, steps in (("motion3d", 8, 12), ("r3d_18", 2, 3)):
        keys = [(0, at, at % len(data), 0) for at in range(size * steps)]
        batches = [keys[first : first + size] for first in range(0, len(keys), size)]
        torch.manual_seed(0)
        model = build_model(ModelConfig(name=name), 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        arriving: Any = iter(load_each(data, cycle(batches), workers=1))  # of all rounds: a start is not to count
        kept = next(arriving)

        def step(batch: Any, model: Any = model, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            logits = model(normalize(batch.frames, config))
            torch.nn.functional.cross_entropy(logits, batch.targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        def loaded(step: Callable[[Any], None] = step, arriving: Any = arriving, steps: int = steps) -> None:
            for batch in islice(arriving, steps):
                step(batch)

        def in_memory(step: Callable[[Any], None] = step, kept: Any = kept, steps: int = steps) -> None:
            for _ in range(steps):
                step(kept)

        rows += race(
            {f"{name}, its loader": loaded, f"{name}, a batch in memory": in_memory}, options.rounds, steps * size
        )
        arriving.close()
    return BenchTable(
        "train",
        f"samples of {FRAMES} frames at 112 pixels in batches of 8 (r3d_18: 2), forward, backward and step on the CPU, one "
        "loader process; a ratio is to the same network with its loader",
        tuple(rows),
    )


def evaluate(options: Options) -> BenchTable:
    """Ten clips and three crops of every video as the evaluation reads them, against every view by itself."""
    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": FRAMES, "stride": STRIDE}}})
    views = EvalConfig(clips=10, crops=3)
    decoded = {"together": 0, "alone": 0}

    class Counting:
        def __init__(self, name: str) -> None:
            self.name, self.cache = name, options.videos.cache
            self.info = self.cache.info

        def __contains__(self, media: object) -> bool:
            return media in self.cache

        def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
            decoded[self.name] += len(np.unique(indices))
            return self.cache.read(media, indices)

    samples = samples_of(options.videos)
    together, alone = (ClipDataset(samples, Counting(name), config, seed=0, views=views) for name in decoded)

    def shared() -> None:
        for batch in evaluation_batches(together):
            together.__getitems__(batch)

    def by_itself() -> None:
        for key in evaluation_keys(len(samples), 30).tolist():
            alone.view(tuple(key))

    rows = race(
        {"views of a video together": shared, "every view by itself": by_itself}, options.rounds, 30 * len(samples)
    )
    share = decoded["alone"] / decoded["together"]
    return BenchTable(
        "evaluate",
        f"views, 10 clips x 3 crops of {len(samples)} videos, one process, without the model",
        rows,
        (f"{share:.1f} times fewer frames are decoded",),
    )


# -------------------------------------------------------------------------------------------------------------- predict
def predict(options: Options) -> BenchTable:
    """Ten clips of every file through `Predictor`, and as a script does it: decord, torchvision, a batch of ten."""
    import decord
    import torch
    from torchvision.transforms import v2

    from harbench.inference.predictor import Predictor
    from harbench.inference.trained import Opened, Trained
    from harbench.models.build import build_model

    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": FRAMES, "stride": STRIDE}}})
    classes, views = (ClassLabel("a", "a"), ClassLabel("b", "b")), EvalConfig(clips=10)
    torch.manual_seed(0)
    model = build_model(ModelConfig(name="motion3d"), len(classes)).eval()

    @torch.inference_mode()
    def score(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = model(normalize(torch.from_numpy(arrays[0]), config)).numpy()
        return logits

    trained = Trained(
        name="motion3d", classes=classes, input=config, views=views, caches=(CacheConfig(short_side=SIDE),), boxes=False,
        joints=(0, 0), protocol={}, trained_on="", license="", seen=Seen(), score=score,
    )  # fmt: skip
    predictor = Predictor(Opened((trained,)))
    shrink = v2.Compose([v2.Resize(SIDE, antialias=True), v2.CenterCrop(config.size)])
    files, found = list(options.videos.files.values()), {"ours": np.zeros(0), "theirs": np.zeros(0)}

    def ours() -> None:
        found["ours"] = np.array([each.probabilities for file in files for each in predictor(file)])

    def theirs() -> None:
        answers = []
        for file in files:
            video = decord.VideoReader(str(file), num_threads=1)
            starts = np.linspace(0, len(video) - 1 - STRIDE * (FRAMES - 1), 10).astype(int)
            indices = (starts[:, None] + STRIDE * np.arange(FRAMES)).reshape(-1)
            clips = torch.from_numpy(video.get_batch(indices).asnumpy()).permute(0, 3, 1, 2)
            frames = shrink(clips).reshape(10, FRAMES, 3, config.size, config.size).transpose(1, 2).contiguous()
            answers.append(np.exp(score([frames.numpy()])))
        found["theirs"] = np.array([(each / each.sum(1, keepdims=True)).mean(0) for each in answers])

    rows = race({"Predictor": ours, "decord, torchvision, the network": theirs}, options.rounds, len(files))
    apart = np.abs(found["ours"] - found["theirs"]).max()
    return BenchTable(
        "predict",
        f"files, 10 clips of {FRAMES} frames of each through motion3d on the CPU",
        rows,
        (f"probabilities differ by {apart:.1g} at most: the script keeps no JPEG of the cache's size",),
    )
