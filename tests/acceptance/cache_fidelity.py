"""What a cache costs: one trained model scored from decoded frames, and from raw, JPEG 95 and JPEG 90 caches. By hand.

HARBENCH_TEST_DATA=DIR python tests/acceptance/cache_fidelity.py [EPOCHS]

motion3d_weizmann on lopo-daria, with 40 % of the other persons held out too, trained from the JPEG 90 cache. All persons
held out are scored from each input, ten clips a video.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harbench import api
from harbench.evaluation.predict import predict
from harbench.frames.cache import open_cache
from harbench.frames.clips import ClipDataset
from harbench.frames.decode import open_video
from harbench.frames.streams import normalize
from harbench.paths import cache_folder, media_folder
from harbench.records import FrameCache, MediaInfo, Predictions
from harbench.runs.evaluate import OpenRun, open_run
from harbench.runs.plan import RunOptions

SIDE = 128
CACHES = {
    "rgb-raw-128": {"encoding": "raw"},
    "rgb-jpeg95-128": {"quality": 95},
    "rgb-jpeg90-128": {"quality": 90},
}


@dataclass(frozen=True)
class Direct:
    """Frames decoded when asked for, and resized as a cache does: no cache in between."""

    folder: Path
    facts: FrameCache

    def __contains__(self, media: object) -> bool:
        return media in self.facts

    def info(self, media: str) -> MediaInfo:
        return self.facts.info(media)

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        with open_video(self.folder / media, SIDE) as opened:
            frames = [frame.image for frame in opened.frames]
        return np.stack(frames)[indices]


def scored(opened: OpenRun, cache: FrameCache) -> Predictions:
    """Every held-out sample from this input."""
    inputs, recipe = opened.inputs, opened.recipe
    rows = inputs.table.subset("test") + inputs.table.subset("val")
    data = ClipDataset(rows, cache, recipe.input, seed=0, views=recipe.eval)
    return predict(opened.model, data, device="cpu", normalize=partial(normalize, config=recipe.input))


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    source = Path(os.environ["HARBENCH_TEST_DATA"]) / "weizmann"
    with tempfile.TemporaryDirectory() as work:
        home, runs = Path(work) / "data", Path(work) / "runs"
        for options in CACHES.values():
            api.prepare("weizmann", home=home, source=source, short_side=SIDE, **options)  # type: ignore[arg-type]
        settings = (f"train.epochs={epochs}", "data.validation=0.4", "train.workers=0")
        (done,) = api.run(["motion3d_weizmann"], home=home, runs=runs, overrides=settings)
        opened = open_run(Path(done.folder), RunOptions(home, runs))
        caches: dict[str, FrameCache] = {name: open_cache(cache_folder(home, "weizmann", name)) for name in CACHES}
        found = {"decoded": scored(opened, Direct(media_folder(home, "weizmann"), caches["rgb-raw-128"]))}
        found |= {name: scored(opened, cache) for name, cache in caches.items()}
    reference = found["decoded"]
    truth, chosen = reference.targets, reference.probabilities.argmax(1)
    print(f"{len(truth)} videos of persons held out, {epochs} epochs\n")
    print(f"{'input':16} {'top-1':>7} {'changed':>9} {'mean |dp|':>10} {'max |dp|':>10}")
    for name, predictions in found.items():
        guess = predictions.probabilities.argmax(1)
        apart = np.abs(predictions.probabilities - reference.probabilities)
        print(
            f"{name:16} {100 * (guess == truth).mean():7.2f} {100 * (guess != chosen).mean():7.2f} % "
            f"{apart.mean():10.6f} {apart.max():10.6f}"
        )


if __name__ == "__main__":
    main()
