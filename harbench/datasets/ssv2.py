"""Something-Something V2: crowd workers do 174 things with objects. Videos and lists are behind a registration."""

import json
from collections.abc import Iterator

from harbench.records import Archive, DatasetSpec


def _listed(text: str) -> Iterator[tuple[str, str]]:
    """(media, class) of validation.json or train.json: `[{"id": "74225", "template": "Spinning [something] that ..."}]`."""
    for row in json.loads(text):
        yield f"{row['id']}.webm", row["template"]


SPEC = DatasetSpec(
    name="ssv2",
    title="Something-Something V2",
    modality="video",
    unit="video",
    splits=("val",),
    homepage="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    license="research use, as agreed to when registering",
    citation=(
        'R. Goyal et al. The "something something" video database for learning and evaluating visual common sense. '
        "ICCV 2017. arXiv:1706.04261"
    ),
    size="20 GB",
    registration=(
        "Register at https://www.qualcomm.com/developer/software/something-something-v-2-dataset; the labels come in an "
        "archive of their own, which holds validation.json and train.json."
    ),
    lists={"test": Archive("validation.json"), "train": Archive("train.json")},
    read_list=_listed,
)
