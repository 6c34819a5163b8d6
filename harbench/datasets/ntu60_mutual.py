"""NTU RGB+D 60, its 11 actions between two persons (A50 to A60), on the official partitions.

Which actions are mutual is the authors' own list (https://github.com/shahroudy/NTURGB-D).
"""

from harbench.datasets import ntu

SPEC = ntu.spec(
    "ntu60_mutual",
    "NTU RGB+D 60, mutual actions",
    "ntu60",
    range(50, 61),
    {"xsub": (7319, 0, 3028), "xview": (6889, 0, 3458)},
)
