"""NTU RGB+D 120: skeletons of 120 actions, 106 persons, 32 camera setups."""

from harbench.datasets import ntu

SPEC = ntu.spec(
    "ntu120",
    "NTU RGB+D 120",
    "ntu120",
    range(1, 121),
    {"xsub": (63026, 0, 50919), "xset": (54468, 0, 59477)},
)
