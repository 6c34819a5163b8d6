"""Seven everyday actions of NTU RGB+D 120, the label set of a widespread skeleton demo, on the official partitions.

Fall down, jump up, kick, punch, run, sit down, stand up: mapped to A43 A27 A24 A50 A99 A8 A9 by name, an inference.
"""

from harbench.datasets import ntu

SPEC = ntu.spec(
    "ntu7",
    "NTU RGB+D, 7 actions",
    "ntu120",
    (43, 27, 24, 50, 99, 8, 9),
    {"xsub": (4394, 0, 2222), "xset": (3120, 0, 3496)},
)
