"""NTU RGB+D 120, one-shot: 20 novel actions, one exemplar of each to learn from, every other sample of them is test.

The novel actions (A1, A7, ... A115) and the exemplars are those of the authors' page (https://github.com/shahroudy/NTURGB-D;
Liu et al., TPAMI 2020, section on one-shot recognition). The auxiliary set, the other 100 actions of `ntu120`, is for
pretraining. A test sample may be the same performance as an exemplar, seen by another camera: so the protocol has it.
"""

from collections.abc import Iterator
from dataclasses import replace

from harbench.datasets import ntu
from harbench.records import Sample

NOVEL = range(1, 121, 6)
EXEMPLARS = frozenset(f"S{1 if action <= 60 else 18:03}C003P008R001A{action:03}" for action in NOVEL)


def _rows(split: str) -> Iterator[Sample]:
    for sample in ntu.samples("ntu120", NOVEL, "xsub"):
        yield replace(sample, subset="train" if sample.sample_id in EXEMPLARS else "test")


SPEC = replace(
    ntu.spec("ntu120_oneshot", "NTU RGB+D 120, one-shot", "ntu120", NOVEL, {"official": (20, 0, 18924)}), rows=_rows
)
