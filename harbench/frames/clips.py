"""The clip data set: views of samples, made the same in whatever process.

A view depends on (seed, epoch, sample id, view) and on nothing else, so that the number of workers, the batch a sample
falls into, and where a killed training goes on change no pixel of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.dtypes import StringDType

from harbench.errors import HarbenchError, MediaError
from harbench.frames.sampling import FrameRange, clip_indices
from harbench.frames.skeletons import FramePairs, check_joints, frame_pairs
from harbench.frames.streams import STREAMS, View, stream_of
from harbench.frames.transforms import Box, crop_box, draw
from harbench.recipe import EvalConfig, InputConfig
from harbench.records import Clip, FrameCache, Sample

if TYPE_CHECKING:
    import torch

Key = tuple[int, int, int, int]
"""epoch, position in the epoch, row of the data set, view of the sample."""
Keys = npt.NDArray[np.int64]
"""`[n, 4]`, one Key a line."""
Views = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]
"""Frames, and the joints beside them where pictures come with poses."""
Source = tuple[npt.NDArray[Any], npt.NDArray[Any] | None, FramePairs | None]
"""What was read: frames, joints beside them, and where in the joints of a whole sample the clip is."""
Read = Callable[[str, npt.NDArray[np.int64]], npt.NDArray[Any]]
"""Frames of a media by their numbers, as `FrameCache.read`."""
Reorder = Callable[[npt.NDArray[np.int64], np.random.Generator], npt.NDArray[np.int64]]
"""Frame numbers of a clip, `[T]`, in the order in which they are read instead; of the whole sample where motion is taken
before the clip, which then is that of the frames in their new order."""


@dataclass(frozen=True)
class Beside:
    """What is read beside the frames themselves."""

    poses: FrameCache | None = None
    """The pose cache of the same media: every picture comes with the joints of its frame, flipped with it. Where a crop
    lies is nothing to them: they are centered and scaled by themselves."""
    boxes: Mapping[str, Box] | None = None
    """Media -> fractions, to which every frame is cropped; None leaves frames whole."""


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


def evaluation_batches(data: ClipDataset, rows: Collection[int] | None = None) -> list[list[Key]]:
    """The keys of all views of all (or of some) rows in batches of `eval.batch_size`.

    A sample is whole in one batch where its views fit into it, so that they share what is decoded.
    """
    wanted = range(len(data)) if rows is None else set(rows)
    keys = [key for key in evaluation_keys(len(data), data.views).tolist() if key[2] in wanted]
    size = data.eval.batch_size // data.views * data.views or data.eval.batch_size
    return [keys[first : first + size] for first in range(0, len(keys), size)]


def evaluation_keys(num_rows: int, views: int) -> Keys:
    """Keys of all views of all rows, the views of a row together."""
    rows, view = np.divmod(np.arange(num_rows * views), views)
    return np.stack([np.zeros_like(rows), rows, rows, view], axis=1)


class ClipDataset:
    """Clips of samples, by `(epoch, position, row, view)`: a map-style data set, as torch's DataLoader takes it.

    View v of an evaluated sample is temporal clip `v // crops` and spatial crop `v % crops`; a view of training is drawn.
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
        views: EvalConfig | None,
        beside: Beside = Beside(),
    ) -> None:
        """`views` are those of evaluation; None: augmented clips for training.

        Raises:
            RecipeError: `config` asks for something that the joints of these media cannot do.
        """
        self.train = views is None
        self.eval = views or EvalConfig()
        self.targets = np.array([row.target for row in rows], dtype=np.int64)
        self._cache, self._poses, self._config, self._seed = cache, beside.poses, config, seed
        self._ids = np.array([row.sample_id for row in rows], dtype=StringDType())
        self._media = np.array([row.media for row in rows], dtype=StringDType())
        self._start = np.array([row.start or 0 for row in rows], dtype=np.int64)
        self._end = np.array([np.iinfo(np.int64).max if row.end is None else row.end for row in rows], dtype=np.int64)
        self._order: Reorder | None = None
        self._boxes: npt.NDArray[np.float64] | None = None
        if beside.boxes is not None:
            self._boxes = np.array([beside.boxes.get(row.media, (np.nan,) * 4) for row in rows]).reshape(-1, 4)
        first = next((row.media for row in rows if row.media in self._joint_cache), None)
        if self.train and first is not None:
            frames = self._joint_cache.read(first, np.zeros(1, np.int64))
            if not stream_of(frames, frames.shape[-1]).pictures:
                check_joints(frames.shape, config)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def _joint_cache(self) -> FrameCache:
        """Where joints are, if there are any."""
        return self._cache if self._poses is None else self._poses

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

    def with_cache(self, cache: FrameCache) -> ClipDataset:
        """The same clips from another cache of the same media."""
        other = copy.copy(self)
        other._cache = cache
        return other

    def __getitem__(self, key: Key) -> Clip:
        """One view.

        Raises:
            MediaError: it cannot be made; the message names the sample.
        """
        import torch

        try:
            frames, joints = self.view(key)
        except HarbenchError as error:
            raise MediaError(f"sample {self._ids[key[2]]} cannot be read: {error}") from error
        clip = torch.from_numpy(np.array(frames, order="C"))
        poses = None if joints is None else torch.from_numpy(joints)
        return Clip(str(self._ids[key[2]]), int(self.targets[key[2]]), key[3], clip, poses)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The views that can be made, and why the others cannot.

        Spatial crops share what was read, and the clips of an evaluated sample every frame that was decoded.
        """
        import torch

        made: list[tuple[Key, Views]] = []
        failed: dict[int, str] = {}
        for _, of_sample in groupby(keys, lambda key: (key[0], key[2])):
            read = self._cache.read if self.train or self.eval.clips == 1 else _decoded_once(self._cache)
            for _, same in groupby(of_sample, self._clip_of):
                crops = list(same)
                try:
                    source = self._read(crops[0], read)
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

    def view(self, key: Key) -> Views:
        """One view as arrays, without torch. Raises HarbenchError where it cannot be made."""
        return self._view(key, self._read(key, self._cache.read))

    def _clip_of(self, key: Key) -> int:
        return 0 if self.train else key[3] // self.eval.crops

    def _generator(self, key: Key, purpose: str) -> np.random.Generator:
        """Time and space have generators of their own: another way of sampling leaves the augmentation as it was."""
        return generator(self._seed, key[0], self._ids[key[2]], key[3], purpose)

    def _read(self, key: Key, read_frames: Read) -> Source:
        """The stored frames of a temporal clip, `[T, ...]`, and the joints of the same frames, `[T, M, V, C]`.

        With `InputConfig.whole_tracks` the joints are those of all frames of the sample, and where the clip is among them.
        """
        row, media = key[2], str(self._media[key[2]])
        info = self._cache.info(media)
        frames = info.frames if self._poses is None else min(info.frames, self._poses.info(media).frames)
        start, end = int(self._start[row]), min(int(self._end[row]), frames)
        if start >= end:
            raise MediaError(f"{media}: the sample begins at frame {start}, but only {frames} frames were decoded")
        source = FrameRange(end - start, info.fps, None if info.times is None else info.times[start:end])
        num_clips, rng = (1, self._generator(key, "time")) if self.train else (self.eval.clips, None)
        clips = clip_indices(source, self._config.clip, num_clips, rng)
        indices, tracks, at = self._frames_of(key, clips[self._clip_of(key)], start, end)
        read = read_frames(media, tracks if self._poses is None else indices)
        joints = None if self._poses is None else self._poses.read(media, tracks)
        if (
            not self.train
            and not _somebody(read if joints is None else joints)
            and not _somebody(self._joint_cache.read(media, np.arange(start, end)))  # nor in other frames
        ):
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
        crops = self.eval.crops
        view = View(draw(rng), rng, self.train, key[3] % crops, crops, at)
        stream = stream_of(source, source.shape[-1])
        if self._boxes is not None and stream.pictures:
            box = self._boxes[key[2]]
            if np.isnan(box[0]):
                raise MediaError(f"{self._media[key[2]]}: no person box is known")
            source = crop_box(source, tuple(box.tolist()))
        beside = None if joints is None else STREAMS["pose"].augment(joints, self._config, view)
        return stream.augment(source, self._config, view), beside


def _decoded_once(cache: FrameCache) -> Read:
    """`cache.read` of a single media that keeps its frames, so that clips which overlap share them."""
    kept: dict[int, npt.NDArray[Any]] = {}

    def read(media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        new = np.array(sorted(set(indices.tolist()) - kept.keys()), np.int64)
        if len(new):
            kept.update(zip(new.tolist(), cache.read(media, new), strict=True))
        return np.stack([kept[index] for index in indices.tolist()])

    return read


def _somebody(frames: npt.NDArray[Any]) -> bool:
    """Whether there is somebody among the joints; pictures are never asked."""
    return stream_of(frames, frames.shape[-1]).pictures or bool(np.nan_to_num(frames).any())


def _stack(views: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
    """`[B, ...]`, contiguous: left alone, `np.stack` keeps channels last in memory, which is slow to normalize."""
    import torch

    if not views:
        return torch.empty(0)
    return torch.from_numpy(np.stack(views, out=np.empty((len(views), *views[0].shape), views[0].dtype)))
