"""Write the tables of `sample` and `sample_stills` and the hashes of some of their frames.

    python splits/build_sample.py

The same bytes every time. The hashes change only when a rendered pixel does, which makes it another edition.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harbench.datasets import sample, sample_stills  # noqa: E402
from harbench.files import write_text  # noqa: E402
from harbench.synthetic import draw  # noqa: E402
from harbench.synthetic.stills import still  # noqa: E402
from harbench.synthetic.take import make_take  # noqa: E402

HASHED = (
    "r1/walk/1/1",
    "r1/jog/2/2",
    "r2/run/22/3",
    "r1/box/12/4",
    "r2/wave/25/1",
    "r1/clap/9/2",
    "r1/sit_down/17/3",
    "biased/walk/3/1",
    "stills/cyan_ball/8/1",
)
"""part/class/person/scenario: every action, scenario and part once."""


def frames_hash(key: str) -> str:
    """SHA-256 over the RGB bytes of all frames of a take, or of one still, as drawn, before any coding."""
    part, label, person, scenario = key.split("/")
    if part == "stills":
        pictures = [still(label, int(person), int(scenario))[0]]
    else:
        pictures = draw.frames(make_take(label, int(person), int(scenario), part))
    return hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest()


def main() -> None:
    for name, rows, classes in (
        ("sample", list(sample.split_rows()), sample.CLASSES),
        ("sample_stills", list(sample_stills.split_rows()), tuple(sample_stills.PROPS)),
    ):
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(HERE / name / "samples.csv", table.getvalue())
        write_text(HERE / name / "classes.txt", "".join(f"{key}\t{key.replace('_', ' ')}\n" for key in classes))
    lines = "".join(f"{frames_hash(key)}  {key}\n" for key in HASHED)
    write_text(HERE / "sample" / "frames.sha256", lines)


if __name__ == "__main__":
    main()
