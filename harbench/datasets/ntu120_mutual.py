"""NTU RGB+D 120, its 26 actions between two persons (A50 to A60, A106 to A120), on the official partitions.

Which actions are mutual is the authors' own list (https://github.com/shahroudy/NTURGB-D).
"""

from harbench.datasets import ntu

SPEC = ntu.spec(
    "ntu120_mutual",
    "NTU RGB+D 120, mutual actions",
    "ntu120",
    (*range(50, 61), *range(106, 121)),
    {"xsub": (13072, 0, 11660), "xset": (11864, 0, 12868)},
)
