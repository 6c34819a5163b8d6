"""NTU RGB+D: skeletons of 60 actions, 40 persons, 3 cameras."""

from harbench.datasets import ntu

SPEC = ntu.spec(
    "ntu60",
    "NTU RGB+D 60",
    "ntu60",
    range(1, 61),
    {"xsub": (40091, 0, 16487), "xview": (37646, 0, 18932)},
)
