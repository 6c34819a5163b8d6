"""The clip data set: views of samples, made the same whoever makes them; the loader that batches them; normalisation.

A view depends on (seed, epoch, sample id, view) and on nothing else, so that the number of workers, the batch a sample
falls into, and where a killed training goes on change no pixel of it.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from numpy.dtypes import StringDType
from torch.utils.data import DataLoader, Dataset

from harbench.errors import HarbenchError, MediaError, RunError
from harbench.frames.sampling import clip_indices
from harbench.frames.skeletons import FramePairs, check_joints, eval_joints, frame_pairs, train_joints
from harbench.frames.transforms import Box, Draw, crop_box, draw, eval_clip, train_clip
from harbench.recipe import EvalConfig, InputConfig
from harbench.records import Clip, FrameCache, Sample
from harbench.workers import FORK, SPAWN, uninterrupted

Key = tuple[int, int, int, int]
"""epoch, position in the epoch, row of the data set, view of the sample."""
Keys = npt.NDArray[np.int64]
"""`[n, 4]`, one Key a line."""
Views = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]
"""Frames, and the joints beside them where pictures come with poses."""
Source = tuple[npt.NDArray[Any], npt.NDArray[Any] | None, FramePairs | None]
"""What was read: frames, joints beside them, and where in the joints of a whole sample the clip is."""
Reorder = Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[np.int64]]
"""Frame numbers of a clip, `[T]`, in the order in which they are read instead; of the whole sample where motion is taken
before the clip, which then is that of the frames in their new order."""

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when its parent dies."""

MEAN_STD = {
    "kinetics400": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "slowfast": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation on [0, 1]: torchvision's for video and for images, PySlowFast's (MViT, X3D), and plain ones."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Views of one epoch in the order of their keys, without those that could not be made."""

    frames: torch.Tensor
    """`[B, ...]` of `Clip.frames`; `[0]` when nothing could be made."""
    targets: torch.Tensor
    """int64 `[B]`."""
    rows: npt.NDArray[np.int64]
    """`[B]`: the row of the data set."""
    views: npt.NDArray[np.int64]
    """`[B]`: the view of that sample."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Row -> why a view of it could not be made. Only in evaluation: training stops."""
    poses: torch.Tensor | None = None
    """`[B, ...]` of `Clip.poses`, for `input.with_pose`."""


def generator(*parts: object) -> np.random.Generator:
    """A generator that depends on `parts` only, in every process (unlike `hash`)."""
    digest = blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def training_keys(num_rows: int, epoch: int, seed: int, clips: int = 1) -> Keys:
    """Keys of one epoch, `clips` views of every row, in an order drawn from (seed, epoch).

    Batch b is `keys[b * batch_size : (b + 1) * batch_size]`, so that a resumed epoch is a slice.
    """
    view, rows = np.divmod(generator(seed, epoch, "order").permutation(num_rows * clips), num_rows)
    return np.stack([np.full(len(rows), epoch), np.arange(len(rows)), rows, view], axis=1)


def evaluation_keys(num_rows: int, views: int) -> Keys:
    """Keys of all views of all rows, the views of a row together."""
    rows, view = np.divmod(np.arange(num_rows * views), views)
    return np.stack([np.zeros_like(rows), rows, rows, view], axis=1)


class ClipDataset(Dataset[Clip]):
    """Clips of samples, by `(epoch, position, row, view)`.

    View v of an evaluated sample is temporal clip `v // crops` and spatial crop `v % crops`; training has view 0 only.
    Everything about the rows is held in arrays: Python objects, one a clip, would be copied into every forked worker as
    their reference counts change.
    """

    def __init__(
        self,
        rows: Sequence[Sample],
        cache: FrameCache,
        config: InputConfig,
        *,
        seed: int,
        train: bool,
        eval: EvalConfig | None = None,
        boxes: Mapping[str, Box] | None = None,
        poses: FrameCache | None = None,
    ) -> None:
        """`boxes` (media -> fractions) crops every frame to the person; None leaves frames whole.

        `poses` is the pose cache of the same media: every picture then comes with the joints of its frame, flipped with
        it. Where a crop lies is nothing to them: they are centred and scaled by themselves.

        Raises:
            RecipeError: `config` asks for something that the joints of these media cannot do.
        """
        self.train = train
        self.eval = eval or EvalConfig()
        self.targets = np.array([row.target for row in rows], dtype=np.int64)
        self._cache, self._poses, self._config, self._seed = cache, poses, config, seed
        self._ids = np.array([row.sample_id for row in rows], dtype=StringDType())
        self._media = np.array([row.media for row in rows], dtype=StringDType())
        self._start = np.array([row.start or 0 for row in rows], dtype=np.int64)
        self._end = np.array([np.iinfo(np.int64).max if row.end is None else row.end for row in rows], dtype=np.int64)
        self._order: Reorder | None = None
        self._boxes: npt.NDArray[np.float64] | None = None
        if boxes is not None:
            self._boxes = np.array([boxes.get(row.media, (np.nan,) * 4) for row in rows]).reshape(-1, 4)
        seen = cache if poses is None else poses
        first = next((row.media for row in rows if row.media in seen), None)
        if train and first is not None:
            frames = seen.read(first, np.zeros(1, np.int64))
            if frames.dtype != np.uint8:
                check_joints(frames.shape, config)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids in the order of the rows."""
        return tuple(self._ids.tolist())

    @property
    def views(self) -> int:
        """Views of one sample."""
        return 1 if self.train else self.eval.views

    def reordered(self, order: Reorder) -> ClipDataset:
        """The same clips with their frames in another order, the same one whenever a view is asked for."""
        other = copy.copy(self)
        other._order = order
        return other

    def out_of(self, cache: FrameCache) -> ClipDataset:
        """The same clips out of another cache of the same media."""
        other = copy.copy(self)
        other._cache = cache
        return other

    def __getitem__(self, key: Key) -> Clip:
        """One view.

        Raises:
            MediaError: it cannot be made; the message names the sample.
        """
        try:
            frames, joints = self._view(key, self._read(key))
        except HarbenchError as error:
            raise MediaError(f"sample {self._ids[key[2]]} cannot be read: {error}") from error
        clip = torch.from_numpy(np.array(frames, order="C"))
        poses = None if joints is None else torch.from_numpy(joints)
        return Clip(str(self._ids[key[2]]), int(self.targets[key[2]]), key[3], clip, poses)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The views that can be made, and why the others cannot. Spatial crops share what was read."""
        made: list[tuple[Key, Views]] = []
        failed: dict[int, str] = {}
        for _, same in groupby(keys, lambda key: (key[0], key[2], self._clip_of(key))):
            crops = list(same)
            try:
                source = self._read(crops[0])
                made += [(key, self._view(key, source)) for key in crops]
            except HarbenchError as error:
                failed[crops[0][2]] = str(error)
        rows = np.array([key[2] for key, _ in made], dtype=np.int64)
        return Batch(
            frames=_stack([frames for _, (frames, _) in made]),
            targets=torch.from_numpy(self.targets[rows]),
            rows=rows,
            views=np.array([key[3] for key, _ in made], dtype=np.int64),
            failed=failed,
            poses=_stack([joints for _, (_, joints) in made if joints is not None])
            if self._poses is not None
            else None,
        )

    def _clip_of(self, key: Key) -> int:
        return 0 if self.train else key[3] // self.eval.crops

    def _generator(self, key: Key, purpose: str) -> np.random.Generator:
        """Time and space have generators of their own: another way of sampling leaves the augmentation as it was."""
        return generator(self._seed, key[0], self._ids[key[2]], key[3], purpose)

    def _read(self, key: Key) -> Source:
        """The stored frames of a temporal clip, `[T, ...]`, and the joints of the same frames, `[T, M, V, C]`.

        With `InputConfig.whole_tracks` the joints are those of all frames of the sample, and where the clip is among them.
        """
        row, media = key[2], str(self._media[key[2]])
        info = self._cache.info(media)
        frames = info.frames if self._poses is None else min(info.frames, self._poses.info(media).frames)
        start, end = int(self._start[row]), min(int(self._end[row]), frames)
        if start >= end:
            raise MediaError(f"{media}: the sample begins at frame {start}, but only {frames} frames were decoded")
        num_clips, rng = 1 if self.train else self.eval.clips, self._generator(key, "time")
        times = None if info.times is None else info.times[start:end]
        clips = clip_indices(
            end - start, info.fps, self._config.clip, num_clips=num_clips, train=self.train, rng=rng, times=times
        )
        indices, tracks, at = self._frames_of(key, clips[self._clip_of(key)], start, end)
        read = self._cache.read(media, tracks if self._poses is None else indices)
        joints = None if self._poses is None else self._poses.read(media, tracks)
        if not self.train and not _found(read if joints is None else joints):
            cache = self._cache if self._poses is None else self._poses
            if not _found(cache.read(media, np.arange(start, end))):  # else somebody is seen in other frames
                raise MediaError(f"{media}: no pose found")
        return read, joints, at

    def _frames_of(
        self, key: Key, chosen: npt.NDArray[np.int64], start: int, end: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FramePairs | None]:
        """Frames of the clip, frames whose joints it takes, and where it is among these if they are the whole sample's."""
        if not self._config.whole_tracks:
            indices = start + chosen
            if self._order is not None:
                indices = self._order(indices, self._generator(key, "order"))
            return indices, indices, None
        tracks = np.arange(start, end)
        at = frame_pairs(chosen, len(tracks))
        if self._order is not None:
            at = self._order(np.arange(len(tracks)), self._generator(key, "order"))[at]
        return tracks[at[0]], tracks, at

    def _view(self, key: Key, read: Source) -> Views:
        """The model's input of one view: uint8 `[C, T, H, W]` or float32 `[C, T, V, M]`, and the latter beside the former."""
        (source, joints, at), rng = read, self._generator(key, "space")
        drawn = draw(rng)
        if source.dtype != np.uint8:
            return self._joints(source, drawn, rng, at), None
        if self._boxes is not None:
            left, top, right, bottom = self._boxes[key[2]].tolist()
            if np.isnan(left):
                raise MediaError(f"{self._media[key[2]]}: no person box is known")
            source = crop_box(source, (left, top, right, bottom))
        if self.train:
            clip = train_clip(source, self._config, drawn)
        else:
            crops = self.eval.crops
            clip = eval_clip(source, self._config, crop=key[3] % crops, crops=crops)
        return clip.transpose(3, 0, 1, 2), None if joints is None else self._joints(joints, drawn, rng, at)

    def _joints(
        self, joints: npt.NDArray[Any], drawn: Draw, rng: np.random.Generator, at: FramePairs | None
    ) -> npt.NDArray[Any]:
        config = self._config
        return train_joints(joints, config, drawn, rng, at) if self.train else eval_joints(joints, config, at)


def load_each(dataset: ClipDataset, batches: Iterable[Sequence[Key]], workers: int = 0) -> Iterator[Batch]:
    """A batch for each list of keys, also for an empty one.

    Workers start once for all `batches`, which are taken lazily: hand in those of many epochs in a row and short
    epochs pay for no start. `workers=0` loads in this process; results are the same.

    Raises:
        MediaError: a sample of a training data set cannot be read. In evaluation `Batch.failed` says so.
        RunError: the operating system killed a worker.
    """
    # Here, not in the workers: a forked pool of OpenCV has lost its threads, and told to end it waits for them forever.
    cv2.setNumThreads(1)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of lists will do
        num_workers=workers,
        collate_fn=_as_is,
        worker_init_fn=_start_worker if workers else None,
        multiprocessing_context=(FORK if sys.platform == "linux" else SPAWN) if workers else None,
        generator=torch.Generator(),  # else the loader draws from the global one
    )
    batch: Batch
    for batch in _alive(loader, workers):
        if batch.failed and dataset.train:
            row, reason = next(iter(batch.failed.items()))
            raise MediaError(f"training needs every sample, and {dataset.ids[row]} cannot be read: {reason}")
        yield batch


def _alive(loader: Iterable[Batch], workers: int) -> Iterator[Batch]:
    """The loader's batches; a worker's death is told in words. Ctrl-C comes between two of them."""
    batches: Any = None
    try:
        with uninterrupted():
            batches = iter(loader)
        while True:
            with uninterrupted():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            f"a loader process was killed ({str(error).splitlines()[0]}), most often for want of memory or of /dev/shm. "
            f"The same command goes on from the last state; fewer processes:  --set train.workers={workers // 2}"
        ) from None
    finally:
        with uninterrupted():
            getattr(batches, "_shutdown_workers", int)()  # else they end with the last reference to it


def model_inputs(
    batch: Batch, device: torch.device, normalize: Callable[[torch.Tensor], torch.Tensor], part: slice = slice(None)
) -> tuple[torch.Tensor, ...]:
    """What a model is called with for a part of a batch: normalised frames, and the joints beside them if there are any."""
    frames = normalize(batch.frames[part].to(device))
    return (frames,) if batch.poses is None else (frames, batch.poses[part].to(device))


def normalize(frames: torch.Tensor, config: InputConfig) -> torch.Tensor:
    """Model input, float32 `[B, 3, T, H, W]` on the same device, from uint8 `[B, C, T, H, W]`.

    Grey is repeated to three channels here, so that every model and every pretrained weight takes it. Poses (float32
    already) come back as they are; flow, `[B, 2, T, H, W]`, is taken to -1..1.
    """
    if frames.dtype != torch.uint8:
        return frames
    if frames.shape[1] == 2:
        return frames.float().div_(127.5).sub_(1)
    mean, std = torch.tensor(MEAN_STD[config.normalize], device=frames.device).view(2, 1, 3, 1, 1, 1)
    values = frames.expand(-1, 3, -1, -1, -1).to(torch.float32, memory_format=torch.contiguous_format)
    return values.mul_(1 / (255 * std)).sub_(mean / std)


def _found(frames: npt.NDArray[Any]) -> bool:
    """Whether there is somebody among the joints; pictures are never asked."""
    return frames.dtype == np.uint8 or bool(np.nan_to_num(frames).any())


def _stack(views: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
    """`[B, ...]`, contiguous: left alone, `np.stack` keeps channels last in memory, which is slow to normalise."""
    if not views:
        return torch.empty(0)
    return torch.from_numpy(np.stack(views, out=np.empty((len(views), *views[0].shape), views[0].dtype)))


def _as_is(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    if sys.platform == "linux":  # a killed parent's workers would hold its run folder's lock, which they inherited
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    gc.freeze()  # a collection would write to, and so copy, every page of the parent's objects
