"""Candidates for near duplicates between train and test, by perceptual hash of a few frames of the frame cache.

The hash is pHash's: the sign against the median of an 8 x 8 block of low DCT frequencies of the gray frame at 32 x 32
(C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1), 64 bit a frame. It
survives another codec, scaling and brightness, not mirroring or cropping. The distance of two videos is the mean, over
the frames of one, of the Hamming distance to the nearest frame of the other: a copy that was cut or shifted is near too.

Two videos are candidates below `DISTANCE`. Where the data set has videos of the same person or film in different classes,
which look alike without being copies, the threshold is what only one in a thousand of those pairs goes below, if that is
less. Weizmann (90 videos, one place, a still camera) gives 1.6 bits: 810 such pairs, median 11.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from harbench.records import FrameCache, Track, silent

FRAMES = 8
"""Frames hashed of a video, evenly spaced."""
DISTANCE = 3.5
"""Bits of 64: one in a thousand of 6,480 pairs of Weizmann that differ in person and class is nearer."""
_QUANTILE = 0.001
_PAIRS = 200
"""Fewer look-alike pairs than this calibrate nothing."""
_FLAT = 2.0
"""Standard deviation in gray levels under which a frame (a fade, a blank) has no hash of its own."""
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two media that may be the same."""

    test: str
    train: str
    distance: float
    """Bits of 64."""


@dataclass(frozen=True)
class Duplicates:
    """Candidates, the nearest first. They are to be looked at, nothing more."""

    pairs: tuple[Candidate, ...]
    threshold: float
    """Bits of 64."""
    basis: str
    """What the threshold stands on, in words."""
    skipped: tuple[str, ...]
    """Media that are not in the cache, or have flat frames only."""


def find_duplicates(
    cache: FrameCache,
    train: Sequence[str],
    test: Sequence[str],
    looks: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    track: Track = silent,
) -> Duplicates:
    """Candidates between `train` and `test`. `looks` says what person, place or film a media shows ("" is unknown)."""
    hashed = {}
    for media in track((*train, *test), "hashing", len(train) + len(test)):
        if media in cache and (hashes := hash_media(cache, media)).size:
            hashed[media] = hashes
    known_train, known_test = ([media for media in side if media in hashed] for side in (train, test))
    threshold, basis = _threshold(known_train, known_test, hashed, looks, labels)
    columns = _columns([hashed[media] for media in known_train])
    pairs = []
    for media in track(known_test, "comparing", len(known_test)):
        distances = video_distances(hashed[media], columns)
        near = np.flatnonzero(distances < threshold)
        pairs += [Candidate(media, known_train[row], round(float(distances[row]), 2)) for row in near]
    skipped = tuple(media for media in (*train, *test) if media not in hashed)
    return Duplicates(tuple(sorted(pairs, key=lambda pair: pair.distance)), threshold, basis, skipped)


def hash_media(cache: FrameCache, media: str) -> Hashes:
    """Hashes of up to FRAMES frames of a media, evenly spaced, without flat ones."""
    frames = cache.info(media).frames
    wanted = np.unique(np.linspace(0, frames - 1, FRAMES).round().astype(np.int64))
    found = [hash_frame(np.asarray(frame, np.uint8)) for frame in cache.read(media, wanted)]
    return np.array([value for value in found if value is not None], np.uint64)


def hash_frame(frame: npt.NDArray[np.uint8]) -> int | None:
    """64 bit of an RGB frame [H, W, 3]; None for one without content."""
    gray = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    if gray.std() < _FLAT:
        return None
    low = cv2.dct(gray.astype(np.float32))[1:9, 1:9]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def _columns(hashes: Sequence[Hashes]) -> Hashes:
    """[FRAMES, N]: the hashes of N videos; one with fewer has its last one again."""
    return np.stack([np.pad(each, (0, FRAMES - len(each)), mode="edge") for each in hashes], axis=1)


def video_distances(one: Hashes, columns: Hashes) -> npt.NDArray[np.float64]:
    """Mean over the frames of one video of the bits to the nearest frame of each of N others, [N]."""
    best = np.full((len(one), columns.shape[1]), 64, np.uint8)
    for column in columns:
        np.minimum(best, np.bitwise_count(one[:, None] ^ column), out=best)
    return np.asarray(best.mean(axis=0), np.float64)


def _threshold(
    train: Sequence[str],
    test: Sequence[str],
    hashed: Mapping[str, Hashes],
    looks: Mapping[str, str],
    labels: Mapping[str, str],
) -> tuple[float, str]:
    """The distance under which a pair is a candidate, from pairs that look alike but are of different classes."""
    media = [each for each in (*train, *test) if looks[each]]
    names, kinds = (np.array([of[each] for each in media]) for of in (looks, labels))
    found: list[float] = []
    for look in np.unique(names):
        rows = np.flatnonzero(names == look)[:100]
        columns = _columns([hashed[media[row]] for row in rows])
        for row in rows:
            found += video_distances(hashed[media[row]], columns)[kinds[rows] != kinds[row]].tolist()
    if len(found) < _PAIRS:
        return DISTANCE, f"closer than {DISTANCE:g} bits of 64"
    seen = float(np.quantile(found, _QUANTILE))
    what = f"{len(found)} pairs that look alike, of different classes"
    return min(seen, DISTANCE), f"closer than {min(seen, DISTANCE):.1f} bits of 64; calibrated on {what}"
