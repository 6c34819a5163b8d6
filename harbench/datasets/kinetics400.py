"""Kinetics-400: YouTube clips of 10 s of 400 actions. Every copy lacks others, so the table is made of the official list."""

import csv
from collections.abc import Iterator

from harbench.records import Archive, DatasetSpec


def _listed(text: str) -> Iterator[tuple[str, str]]:
    """(media, class) of val.csv or train.csv, columns label, youtube_id, time_start, time_end, split."""
    for row in csv.DictReader(text.splitlines()):
        start, end = int(float(row["time_start"])), int(float(row["time_end"]))
        yield f"{row['label'].replace(' ', '_')}/{row['youtube_id']}_{start:06d}_{end:06d}.mp4", row["label"]


SPEC = DatasetSpec(
    name="kinetics400",
    title="Kinetics-400",
    modality="video",
    unit="video",
    splits=("val",),
    homepage="https://github.com/cvdfoundation/kinetics-dataset",
    license="CC BY 4.0 (annotations); the clips come from YouTube",
    citation="W. Kay et al. The Kinetics Human Action Video Dataset. arXiv:1705.06950",
    size="450 GB",
    registration=(
        "harbench does not fetch the videos. The page https://github.com/cvdfoundation/kinetics-dataset says how to get "
        "them; the validation videos alone are enough to score weights."
    ),
    lists={
        "test": Archive("val.csv", ("https://s3.amazonaws.com/kinetics/400/annotations/val.csv",)),
        "train": Archive("train.csv", ("https://s3.amazonaws.com/kinetics/400/annotations/train.csv",)),
    },
    read_list=_listed,
)
