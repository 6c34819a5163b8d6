"""Clips are the same whoever loads them; failures travel; workers stay small."""

from __future__ import annotations

import gc
import signal
import tracemalloc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision.transforms import functional as reference

from harbench.errors import MediaError, RecipeError
from harbench.frames.clips import (
    Batch,
    Beside,
    ClipDataset,
    Key,
    evaluation_batches,
    evaluation_keys,
    generator,
    training_keys,
)
from harbench.frames.loader import load_each
from harbench.frames.streams import normalize
from harbench.recipe import EvalConfig, InputConfig
from harbench.records import MediaInfo, Sample


@dataclass(frozen=True)
class MemoryCache:
    """A FrameCache on arrays `[frames, ...]`; media that are None cannot be read."""

    media: Mapping[str, npt.NDArray[Any] | None]
    fps: float = 25.0

    def __contains__(self, media: object) -> bool:
        return media in self.media

    def info(self, media: str) -> MediaInfo:
        stored = self.media[media]
        frames = 9 if stored is None else len(stored)
        return MediaInfo(frames, self.fps, 24, 16)

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        stored = self.media[media]
        if stored is None:
            raise MediaError(f"{media}: JPEG of frame 3 is cut off")
        return stored[indices]


def video(seed: int, frames: int = 20, height: int = 16, width: int = 24) -> npt.NDArray[np.uint8]:
    clip = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)
    clip[..., 0, 0, 0] = np.arange(frames)
    return clip


def samples(number: int, **changes: Any) -> list[Sample]:
    return [Sample(f"a/s{n}", n % 3, "", "train", **{"media": f"a/s{n}.avi", **changes}) for n in range(number)]


def config(clip: Any = None, **options: Any) -> InputConfig:
    clip = clip or {"dense": {"num_frames": 4, "stride": 2}}
    return InputConfig.model_validate({"size": 8, "clip": clip, **options})


def dataset(number: int = 7, *, train: bool = True, broken: tuple[int, ...] = (), **options: Any) -> ClipDataset:
    cache = MemoryCache({f"a/s{n}.avi": None if n in broken else video(n) for n in range(number)})
    views = None if train else EvalConfig(clips=3, crops=3)
    return ClipDataset(samples(number), cache, config(), seed=5, views=views, **options)


def as_bytes(batches: Iterator[Batch]) -> list[tuple[Any, ...]]:
    return [
        (b.frames.numpy().tobytes(), b.targets.tolist(), b.rows.tolist(), b.views.tolist(), b.failed) for b in batches
    ]


# ---------------------------------------------------------------------------------------------------------------- keys
def test_training_keys_are_an_order_of_all_rows_by_seed_and_epoch() -> None:
    keys = training_keys(50, 3, 7)
    assert keys.dtype == np.int64
    assert sorted(keys[:, 2].tolist()) == list(range(50))
    assert keys[:, 1].tolist() == list(range(50))
    assert set(keys[:, 0].tolist()) == {3}
    np.testing.assert_array_equal(keys, training_keys(50, 3, 7))
    assert keys[:, 2].tolist() != training_keys(50, 4, 7)[:, 2].tolist() != training_keys(50, 3, 8)[:, 2].tolist()


def test_evaluation_keys_keep_the_views_of_a_row_together() -> None:
    assert evaluation_keys(2, 3)[:, 2:].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_the_generator_is_the_same_in_every_process() -> None:
    assert generator(1, 2, "a/b", 0, "time").integers(0, 2**32) == 1239678931


# --------------------------------------------------------------------------------------------------------------- clips
def test_a_clip_is_channels_first_and_depends_on_its_key_alone() -> None:
    data = dataset()
    clip = data[1, 0, 4, 0]
    assert (clip.sample_id, clip.target, clip.view) == ("a/s4", 1, 0)
    assert (clip.frames.shape, clip.frames.dtype) == ((3, 4, 8, 8), torch.uint8)
    assert clip.frames.is_contiguous()
    elsewhere = ClipDataset(
        [data_row for data_row in samples(7) if data_row.sample_id == "a/s4"], data._cache, config(), seed=5, views=None
    )
    assert torch.equal(elsewhere[1, 99, 0, 0].frames, clip.frames), "neither position, row nor neighbors matter"
    assert not torch.equal(data[2, 0, 4, 0].frames, clip.frames), "another epoch"
    other_seed = ClipDataset(samples(7), data._cache, config(), seed=6, views=None)
    assert not torch.equal(other_seed[1, 0, 4, 0].frames, clip.frames)


def test_a_view_is_a_temporal_clip_and_a_spatial_crop() -> None:
    data = dataset(train=False)
    source = video(2)
    assert data.views == 9
    for view in range(9):
        start, left = (
            [0, 6, 13][view // 3],
            [0, 5, 10][view % 3],
        )  # 20 frames hold a span of 7, 24 columns a window of 14
        expected = source[start : start + 7 : 2, 1:15, left : left + 14]
        resized = reference.resize(torch.from_numpy(expected).permute(0, 3, 1, 2), [8, 8], antialias=False)
        difference = data[0, 0, 2, view].frames.permute(1, 0, 2, 3).int() - resized.int()
        assert difference.abs().max() <= 2


def test_a_sub_range_is_cut_to_the_frames_that_there_are() -> None:
    cache = MemoryCache({"a.avi": video(0)})
    rows = [Sample(f"a#{n}", 0, "", "test", "a.avi", *ends) for n, ends in enumerate([(4, 8), (16, 40), (20, 24)])]
    plain = config({"dense": {"num_frames": 4, "stride": 1}}, resize=[16, 24], size=16)
    data = ClipDataset(rows, cache, plain, seed=0, views=EvalConfig())
    first = data[0, 0, 0, 0].frames.numpy()
    np.testing.assert_array_equal(first.transpose(1, 2, 3, 0), video(0)[4:8, :, 4:20])
    np.testing.assert_array_equal(data[0, 1, 1, 0].frames.numpy().transpose(1, 2, 3, 0), video(0)[16:20, :, 4:20])
    with pytest.raises(
        MediaError, match=r"sample a#2 cannot be read: a.avi: the sample begins at frame 20, but only 20"
    ):
        data[0, 2, 2, 0]


def test_a_short_video_is_looped() -> None:
    cache = MemoryCache({"a/s0.avi": video(0, frames=3)})
    looped = config({"dense": {"num_frames": 7, "stride": 2}}, resize=[16, 24], size=16)
    frames = ClipDataset(samples(1), cache, looped, seed=0, views=EvalConfig())[0, 0, 0, 0].frames
    np.testing.assert_array_equal(frames.numpy().transpose(1, 2, 3, 0), video(0, 3)[[0, 2, 1, 0, 2, 1, 0], :, 4:20])


def test_stills_are_cropped_to_the_person() -> None:
    cache = MemoryCache({f"a/s{n}.avi": video(n, frames=1, height=40, width=40) for n in range(2)}, fps=0.0)
    still = config({"uniform": {}}, resize=[8, 8])
    boxes = {"a/s0.avi": (0.5, 0.25, 0.7, 0.45)}
    data = ClipDataset(samples(2), cache, still, seed=0, views=EvalConfig(), beside=Beside(boxes=boxes))
    np.testing.assert_array_equal(data[0, 0, 0, 0].frames[:, 0].permute(1, 2, 0), video(0, 1, 40, 40)[0, 10:18, 20:28])
    with pytest.raises(MediaError, match=r"sample a/s1 cannot be read: a/s1.avi: no person box is known"):
        data[0, 1, 1, 0]


def test_poses() -> None:
    joints = np.random.default_rng(0).normal(size=(30, 1, 25, 3)).astype(np.float32)
    cache = MemoryCache({f"a/s{n}.avi": joints for n in range(2)})
    for views in (None, EvalConfig()):
        clip = ClipDataset(samples(2), cache, config(bodies=2), seed=0, views=views)[0, 0, 1, 0].frames
        assert (clip.shape, clip.dtype) == ((3, 4, 25, 2), torch.float32)
        assert normalize(clip[None], config()) is not None
    unknown = MemoryCache({"a/s1.avi": joints[:, :, :21]})
    with pytest.raises(RecipeError, match="of 21 joints"):
        ClipDataset(samples(2), unknown, config(), seed=0, views=None)


def walk(frames: int) -> npt.NDArray[np.float32]:
    """A body `[T, 1, 25, 3]` that goes faster and faster along x, its joints at random around it."""
    joints = np.random.default_rng(0).normal(size=(1, 1, 25, 3)).repeat(frames, axis=0)
    joints[..., 0] += np.arange(frames)[:, None, None] ** 2
    return joints.astype(np.float32)


def walked(frames: int, clip: Any, view: int = 0, order: Any = None, **options: Any) -> npt.NDArray[np.float32]:
    """An evaluation view, `[C, T, V, M]`."""
    cache = MemoryCache({"a/s0.avi": walk(frames)})
    data = ClipDataset(samples(1), cache, config(clip, **options), seed=0, views=EvalConfig(clips=3, crops=1))
    return (data if order is None else data.reordered(order))[0, 0, 0, view].frames.numpy()


SPREAD = {"segments": {"n": 4, "distinct": True}}


def test_motion_is_taken_before_the_clip() -> None:
    for view in range(3):
        places = walked(13, SPREAD, view, center=False)[0, :, 0, 0] - walk(1)[0, 0, 0, 0]
        steps = walked(13, SPREAD, view, center=False, features="joint_motion")
        at = np.sqrt(np.abs(places)).round()
        np.testing.assert_allclose(steps[0, :, 0, 0], np.where(at < 12, 2 * at + 1, 0), atol=1e-3)
        assert not steps[1:].any()
    looped = walked(3, {"segments": {"n": 5, "distinct": True}}, center=False, features="joint_motion")
    np.testing.assert_allclose(looped[0, :, 0, 0], [1, 3, 0, 1, 3], atol=1e-5)


def test_motion_of_reordered_frames_is_that_of_their_new_order() -> None:
    options = {"center": False, "features": "joint_motion"}
    backwards = walked(13, SPREAD, order=lambda indices, rng: indices[::-1].copy(), **options)
    assert (backwards[0, :3] < 0).all()
    frozen = walked(13, SPREAD, order=lambda indices, rng: np.full_like(indices, indices[len(indices) // 2]), **options)
    assert not frozen.any()


def test_a_body_is_stood_up_by_the_first_frame_of_the_sample_not_of_the_clip() -> None:
    dense = {"dense": {"num_frames": 3, "stride": 1}}
    first, last = (walked(9, dense, view, center="spine") for view in (0, 2))
    np.testing.assert_allclose(first[:, 0, 1, 0], 0, atol=1e-5)
    for view, frames in ((first, (0, 1, 2)), (last, (6, 7, 8))):
        away = np.linalg.norm(view[:, :, 1, 0], axis=0)
        np.testing.assert_allclose(away, np.square(frames), atol=1e-4)


# -------------------------------------------------------------------------------------------------------------- loader
def loaded(data: ClipDataset, keys: Iterable[Any], size: int, workers: int = 0) -> Iterator[Batch]:
    """Batches of consecutive keys; a batch ends with its epoch."""

    def batches() -> Iterator[list[Key]]:
        for _, epoch in groupby(keys, lambda key: int(key[0])):
            while batch := [tuple(key.tolist()) for key in islice(epoch, size)]:
                yield batch

    return load_each(data, batches(), workers)


@pytest.mark.parametrize("train", [True, False])
def test_the_number_of_workers_changes_nothing(train: bool) -> None:
    data = dataset(train=train, broken=() if train else (2,))
    epochs = [training_keys(7, epoch, 5) if train else evaluation_keys(7, 9) for epoch in range(2)]
    keys = np.concatenate(epochs)
    alone = as_bytes(loaded(data, keys, 4, workers=0))
    for workers in (1, 2):
        assert as_bytes(loaded(data, keys, 4, workers=workers)) == alone
    assert [len(rows) for _, _, rows, _, _ in alone] == [4, 3, 4, 3] if train else sum(len(b[2]) for b in alone) == 108


def test_batches_hold_what_their_clips_hold_in_order() -> None:
    data, keys = dataset(train=False), evaluation_keys(7, 9)
    batches = list(loaded(data, keys, 5))
    assert all(batch.frames.is_contiguous() for batch in batches)
    clips = [data[tuple(key)] for key in keys.tolist()]
    assert torch.equal(torch.cat([batch.frames for batch in batches]), torch.stack([clip.frames for clip in clips]))
    assert torch.cat([batch.targets for batch in batches]).tolist() == [clip.target for clip in clips]
    assert np.concatenate([batch.views for batch in batches]).tolist() == [clip.view for clip in clips]


def test_a_batch_ends_with_its_epoch_and_a_resumed_epoch_is_a_slice() -> None:
    data = dataset()
    keys = [training_keys(7, epoch, 5) for epoch in range(3)]
    whole = as_bytes(loaded(data, chain.from_iterable(keys), 3))
    assert [len(rows) for _, _, rows, _, _ in whole] == [3, 3, 1] * 3
    resumed = as_bytes(loaded(data, chain(keys[1][2 * 3 :], keys[2]), 3))
    assert resumed == whole[5:]


def test_keys_are_taken_lazily() -> None:
    endless = chain.from_iterable(training_keys(7, epoch, 5) for epoch in iter(int, 1))
    batches = loaded(dataset(), endless, 3, workers=1)
    assert len(next(batches).rows) == 3
    batches.close()  # type: ignore[attr-defined]


def test_loading_leaves_the_global_generators_alone() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    list(loaded(dataset(), training_keys(7, 0, 5), 3))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_collects_what_cannot_be_read(workers: int) -> None:
    data = dataset(train=False, broken=(1, 4))
    batches = list(loaded(data, evaluation_keys(7, 9), 6, workers))
    assert {row for batch in batches for row in batch.failed} == {1, 4}
    assert {reason for batch in batches for reason in batch.failed.values()} == {
        "a/s1.avi: JPEG of frame 3 is cut off", "a/s4.avi: JPEG of frame 3 is cut off"
    }  # fmt: skip
    assert sum(len(batch.rows) for batch in batches) == 5 * 9
    empty = next(batch for batch in batches if not len(batch.rows))
    assert (len(empty.frames), len(empty.targets), len(empty.views)) == (0, 0, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_stops_at_what_cannot_be_read_without_a_traceback(workers: int) -> None:
    data = dataset(broken=(3,))
    with pytest.raises(
        MediaError, match=r"^training needs every sample, and a/s3 cannot be read: a/s3.avi: JPEG .* off$"
    ):
        list(loaded(data, training_keys(7, 0, 5), 3, workers))
    with pytest.raises(MediaError, match="sample a/s3 cannot be read"):
        data[0, 0, 3, 0]


def test_workers_survive_a_parent_that_used_opencv_s_threads() -> None:
    def too_long(*_: object) -> None:
        raise TimeoutError("the worker hangs")

    threads = cv2.getNumThreads()
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    try:
        cv2.setNumThreads(4)
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 9)
        assert len(list(loaded(dataset(), training_keys(7, 0, 5), 3, workers=2))) == 3
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        cv2.setNumThreads(threads)


# -------------------------------------------------------------------------------------------------------------- memory
def test_fifty_thousand_rows_take_a_few_megabytes_and_no_objects() -> None:
    """What a worker of a DataLoader touches is copied for it page by page: counting references touches every object."""
    tracemalloc.start()  # before the rows, so that those which are kept are seen
    rows = [Sample(f"{n:09}/a_rather_long_sample_name", 0, "g", "train", f"{n:09}/m.avi") for n in range(50_000)]
    data = ClipDataset(rows, MemoryCache({}), config(), seed=0, views=None)
    del rows
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    blocks = len(tracemalloc.take_snapshot().traces)
    tracemalloc.stop()
    assert len(data) == 50_000
    assert held < 200 * 50_000
    assert blocks < 500


# --------------------------------------------------------------------------------------------------------- normalizing
@pytest.mark.parametrize("preset", ["kinetics400", "imagenet", "slowfast", "clip", "half", "none"])
def test_normalize_is_torchvision_s(preset: str) -> None:
    mean_std = {
        "kinetics400": ([0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989]),
        "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "slowfast": ([0.45] * 3, [0.225] * 3),
        "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
        "half": ([0.5] * 3, [0.5] * 3),
        "none": ([0.0] * 3, [1.0] * 3),
    }[preset]
    frames = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = torch.stack(
        [reference.normalize(clip.transpose(0, 1) / 255, *mean_std).transpose(0, 1) for clip in frames]
    )
    result = normalize(frames, config(normalize=preset))
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    torch.testing.assert_close(result, expected)


def test_gray_becomes_three_equal_channels() -> None:
    frames = torch.randint(0, 256, (2, 1, 4, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    result = normalize(frames, config(normalize="half", channels="gray"))
    torch.testing.assert_close(result, (frames / 255 * 2 - 1).expand(2, 3, 4, 5, 6))


@pytest.mark.parametrize("batch_size", [1, 4, 9, 20])
def test_the_clips_of_a_sample_share_what_is_decoded(batch_size: int) -> None:
    asked: list[tuple[str, int]] = []

    class Counting(MemoryCache):
        def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
            asked.extend((media, index) for index in indices.tolist())
            return super().read(media, indices)

    data = dataset(3, train=False)
    data.eval = EvalConfig(clips=3, crops=3, batch_size=batch_size)
    batches = evaluation_batches(data)
    assert [key for batch in batches for key in batch] == evaluation_keys(3, 9).tolist()
    whole = {1: 1, 4: 4, 9: 9, 20: 18}[batch_size]
    assert all(len(batch) == whole for batch in batches[:-1])
    counted = data.with_cache(Counting({f"a/s{n}.avi": video(n) for n in range(3)}))
    for batch in batches:
        made = counted.__getitems__([tuple(key) for key in batch])
        for key, frames in zip(batch, made.frames, strict=True):
            assert np.array_equal(frames, data.view(tuple(key))[0])
    if batch_size >= 9:
        assert len(set(asked)) == len(asked), "a frame was decoded twice"
