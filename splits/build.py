"""Write the split tables of `splits/` from the publishers' own lists.

    python splits/build.py --from FOLDER [--to splits]

FOLDER holds, by data set, what the publishers give out: `ucf101/ucfTrainTestlist/`, `kth/00sequences.txt`,
`hmdb51/testTrainMulti_7030_splits.tar.xz`, `stanford40/Stanford40_ImageSplits.zip`, `jhmdb14/samples.csv`,
`nwucla/all_sqe.zip`,
`weizmann/<action>/<person>_<action>.avi`, `ntu/` (the lists of incomplete samples and the sample names). Every table is
written anew, to the same bytes every time; README.md and published.csv are not touched. `sample` and `sample_stills`
are no publisher's: their tables are made beside their renderer.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from harbench.files import write_text

HERE = Path(__file__).resolve().parent
Files = dict[str, str]
"""File name -> its text."""

WEIZMANN_ACTIONS = {
    "bend": "bend",
    "jack": "jumping jack",
    "jump": "jump forward on two legs",
    "pjump": "jump in place on two legs",
    "run": "run",
    "side": "gallop sideways",
    "skip": "skip",
    "walk": "walk",
    "wave1": "wave one hand",
    "wave2": "wave two hands",
}
# From the paper, arXiv:1405.2941, in the order of the labels of the public copy.
NWUCLA_ACTIONS = {
    "A01": "pick up with one hand",
    "A02": "pick up with two hands",
    "A03": "drop trash",
    "A04": "walk around",
    "A05": "sit down",
    "A06": "stand up",
    "A08": "donning",
    "A09": "doffing",
    "A11": "throw",
    "A12": "carry",
}
NTU7_ACTIONS = (43, 27, 24, 50, 99, 8, 9)
# In label order A1 to A120, from the README of https://github.com/shahroudy/NTURGB-D.
NTU_ACTIONS = """
drink water; eat meal/snack; brushing teeth; brushing hair; drop; pickup; throw; sitting down; standing up; clapping;
reading; writing; tear up paper; wear jacket; take off jacket; wear a shoe; take off a shoe; wear on glasses;
take off glasses; put on a hat/cap; take off a hat/cap; cheer up; hand waving; kicking something; reach into pocket;
hopping; jump up; make/answer phone call; playing with phone/tablet; typing on a keyboard; pointing to something;
taking a selfie; check time; rub two hands; nod head/bow; shake head; wipe face; salute; put palms together;
cross hands in front; sneeze/cough; staggering; falling; touch head; touch chest; touch back; touch neck;
nausea/vomiting; use a fan/feeling warm; punching/slapping other person; kicking other person; pushing other person;
pat on back; point finger at other person; hugging; giving something; touch other person's pocket; handshaking;
walking towards; walking apart; put on headphone; take off headphone; shoot at the basket; bounce ball;
tennis bat swing; juggling table tennis balls; hush; flick hair; thumb up; thumb down; make ok sign; make victory sign;
staple book; counting money; cutting nails; cutting paper; snapping fingers; open bottle; sniff; squat down;
toss a coin; fold paper; ball up paper; play magic cube; apply cream on face; apply cream on hand back; put on bag;
take off bag; put something into a bag; take something out of a bag; open a box; move heavy objects; shake fist;
throw up cap/hat; hands up; cross arms; arm circles; arm swings; running on the spot; butt kicks; cross toe touch;
side kick; yawn; stretch oneself; blow nose; hit other person with something; wield knife; knock over;
grab other person's stuff; shoot with a gun; step on foot; high-five; cheers and drink; carry something together;
take a photo of other person; follow; whisper; exchange things; support somebody; rock-paper-scissors
"""


# ----------------------------------------------------------------------------------------------------------- the files
def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV text with Unix line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def class_list(classes: Iterable[tuple[str, str]]) -> str:
    """`key<TAB>display name` lines."""
    return "".join(f"{key}\t{display}\n" for key, display in classes)


def spaced(keys: Iterable[str]) -> str:
    """Class list of keys whose display name is the key with spaces."""
    return class_list((key, key.replace("_", " ")) for key in keys)


# ----------------------------------------------------------------------------------------------------------- data sets
def ucf101(source: Path) -> Files:
    """Paths and spelling of the lists, classes in the order of classInd.txt; the group is in the file name."""
    lists = source / "ucf101" / "ucfTrainTestlist"
    classes = [line.split()[1] for line in lists.joinpath("classInd.txt").read_text().splitlines()]
    order = {label: position for position, label in enumerate(classes)}
    subsets: dict[str, dict[int, str]] = defaultdict(dict)
    for split in (1, 2, 3):
        for subset in ("train", "test"):
            for line in lists.joinpath(f"{subset}list0{split}.txt").read_text().splitlines():
                subsets[line.split()[0]][split] = subset
    rows = []
    for media in sorted(subsets, key=lambda media: (order[media.split("/")[0]], media)):
        label, group = media.split("/")[0], media.rsplit("_", 2)[1]
        rows.append((media, label, f"{label}/{group}", *(subsets[media].get(split, "") for split in (1, 2, 3))))
    words = [(label, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)) for label in classes]
    header = ("media", "class", "group", "split1", "split2", "split3")
    return {"classes.txt": class_list(words), "samples.csv": table(header, rows)}


def hmdb51(source: Path) -> Files:
    """The class is the name of the list, without its `_test_splitN.txt`; codes 0, 1, 2 are unused, train, test."""
    subsets: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    with tarfile.open(source / "hmdb51" / "testTrainMulti_7030_splits.tar.xz") as archive:
        for member in archive:
            named = re.fullmatch(r".*/(.+)_test_split([123])\.txt", member.name)
            content = archive.extractfile(member)
            if named and content:
                for line in content.read().decode().splitlines():
                    name, code = line.rsplit(maxsplit=1)
                    subsets[named[1], name][int(named[2])] = {"0": "", "1": "train", "2": "test"}[code]
    rows = []
    for label, name in sorted(subsets):
        film = re.fullmatch(rf"(.+?)_{label}_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+\.avi", name)
        assert film is not None, name
        splits = subsets[label, name]
        rows.append((f"{label}/{name}", label, f"{label}/{film[1]}", splits[1], splits[2], splits[3]))
    header = ("media", "class", "group", "split1", "split2", "split3")
    return {"classes.txt": spaced(sorted({label for label, _ in subsets})), "samples.csv": table(header, rows)}


def stanford40(source: Path) -> Files:
    """The action is the file name without its number; classes are sorted (actions.txt has another order)."""
    subsets: dict[str, str] = {}
    with zipfile.ZipFile(source / "stanford40" / "Stanford40_ImageSplits.zip") as archive:
        for subset in ("train", "test"):
            subsets |= dict.fromkeys(archive.read(f"ImageSplits/{subset}.txt").decode().split(), subset)
    labels = {media: media.rpartition("_")[0] for media in subsets}
    rows = (
        (media, labels[media], subsets[media]) for media in sorted(subsets, key=lambda media: (labels[media], media))
    )
    header = ("media", "class", "official")
    return {"classes.txt": spaced(sorted(set(labels.values()))), "samples.csv": table(header, rows)}


def kth(source: Path) -> Files:
    """One row a sequence. The persons of each part stand in the header of the list; ranges are 1-based, inclusive."""
    text = (source / "kth" / "00sequences.txt").read_text()
    subsets: dict[str, str] = {}
    for part, subset in (("Training", "train"), ("Validation", "val"), ("Test", "test")):
        stated = re.search(rf"^{part}: +person([\d, ]+)$", text, re.MULTILINE)
        assert stated is not None, part
        subsets |= dict.fromkeys(stated[1].replace(" ", "").split(","), subset)
    rows = []
    lines = re.findall(r"^person(\d\d)_([a-z]+)_(d\d)\s+frames\s+(.+)$", text, re.MULTILINE)
    for person, label, scenario, ranges in sorted(lines):
        media = f"person{person}_{label}_{scenario}_uncomp"
        in_16_9 = "test" if subsets[person] == "test" else "train"
        for number, (first, last) in enumerate(re.findall(r"(\d+)-(\d+)", ranges), start=1):
            frames = int(first) - 1, int(last)
            rows.append(
                (f"{media}.avi", label, f"person{person}", *frames, f"{media}/{number}", subsets[person], in_16_9)
            )
    rows.sort(key=lambda row: row[1])
    header = ("media", "class", "group", "start", "end", "sample_id", "official", "16-9")
    return {"classes.txt": spaced(sorted({label for _, label, _, _ in lines})), "samples.csv": table(header, rows)}


def weizmann(source: Path) -> Files:
    """The 90 files as they are; only leave-one-person-out, so no split column."""
    names = [path.stem.split("_") for path in sorted((source / "weizmann").glob("*/*.avi"))]
    rows = ((f"{action}/{person}_{action}.avi", action, person) for person, action in names)
    header = ("media", "class", "group")
    return {"classes.txt": class_list(WEIZMANN_ACTIONS.items()), "samples.csv": table(header, rows)}


def weizmann93(source: Path) -> Files:
    """The 90 names, with two takes (`lena_run1`, `lena_run2`) of what lena did twice."""
    rows = []
    for path in sorted((source / "weizmann").glob("*/*.avi")):
        person, action = path.stem.split("_")
        twice = person == "lena" and action in ("run", "skip", "walk")
        for take in ("1", "2") if twice else ("",):
            rows.append((f"{action}/{person}_{action}{take}.avi", action, person))
    header = ("media", "class", "group")
    return {"classes.txt": class_list(WEIZMANN_ACTIONS.items()), "samples.csv": table(header, rows)}


def jhmdb14(source: Path) -> Files:
    """The list of the public copy of the poses, one `.npy` a sequence."""
    with open(source / "jhmdb14" / "samples.csv", encoding="utf-8", newline="") as handle:
        listed = list(csv.DictReader(handle))
    splits = ("split1", "split2", "split3")
    rows = ((f"{row['sample_id']}.npy", row["label"], *(row[split] for split in splits)) for row in listed)
    header = ("media", "class", *splits)
    return {"classes.txt": spaced(sorted({row["label"] for row in listed})), "samples.csv": table(header, rows)}


def nwucla(source: Path) -> Files:
    """The names of the sequences, which say action, person and view; views 1 and 2 train, view 3 tests."""
    with zipfile.ZipFile(source / "nwucla" / "all_sqe.zip") as archive:
        names = sorted(Path(name).name for name in archive.namelist() if name.endswith(".json"))
    rows = [(name, name[:3].upper(), name[4:7], "test" if name[12:15] == "v03" else "train") for name in names]
    return {
        "classes.txt": class_list(NWUCLA_ACTIONS.items()),
        "samples.csv": table(("media", "class", "group", "xview"), rows),
    }


def ntu60(source: Path) -> Files:
    """The recordings of setups 1 to 17."""
    return ntu(source, range(1, 61), "statistics_ctrgcn_ntu60", "NTU_RGBD_samples_with_missing_skeletons.txt")


def ntu120(source: Path) -> Files:
    """All recordings."""
    return ntu(source, range(1, 121), "statistics_ctrgcn_ntu120", "NTU_RGBD120_samples_with_missing_skeletons.txt")


def ntu7(source: Path) -> Files:
    """Classes only: its samples are those of ntu120."""
    return {"classes.txt": ntu_classes(NTU7_ACTIONS)}


def ntu60_mutual(source: Path) -> Files:
    """Classes only: its samples are those of ntu60."""
    return {"classes.txt": ntu_classes(range(50, 61))}


def ntu120_mutual(source: Path) -> Files:
    """Classes only: its samples are those of ntu120."""
    return {"classes.txt": ntu_classes((*range(50, 61), *range(106, 121)))}


def ntu120_oneshot(source: Path) -> Files:
    """Classes only: its samples are those of ntu120."""
    return {"classes.txt": ntu_classes(range(1, 121, 6))}


def ntu(source: Path, actions: Iterable[int], names: str, missing: str) -> Files:
    """The (setup, performer, replication) of every name, each with its incomplete samples as `C002A008 ...`."""
    name = re.compile(r"^S(\d{3})(C\d{3})P(\d{3})R(\d{3})(A\d{3})$", re.MULTILINE)
    with tarfile.open(source / "ntu" / "sample_names.tar.xz") as archive:
        content = archive.extractfile(f"{names}/skes_available_name.txt")
        assert content is not None
        usable = name.findall(content.read().decode())
    incomplete: dict[tuple[int, int, int], list[str]] = {
        (int(setup), int(performer), int(replication)): [] for setup, _, performer, replication, _ in usable
    }
    for setup, camera, performer, replication, action in name.findall((source / "ntu" / missing).read_text()):
        incomplete[int(setup), int(performer), int(replication)].append(camera + action)
    rows = ((*recording, " ".join(sorted(incomplete[recording]))) for recording in sorted(incomplete))
    header = ("setup", "performer", "replication", "incomplete")
    return {"classes.txt": ntu_classes(actions), "recordings.csv": table(header, rows)}


def ntu_classes(actions: Iterable[int]) -> str:
    """`A008<TAB>sitting down` lines: the names hold `/`, `'` and spaces, so the number is the key."""
    names = [name.strip() for name in NTU_ACTIONS.replace("\n", " ").split(";")]
    return class_list((f"A{action:03}", names[action - 1]) for action in actions)


BUILDERS = (
    ucf101, hmdb51, stanford40, kth, weizmann, weizmann93, jhmdb14, nwucla, ntu60, ntu120, ntu7, ntu60_mutual, ntu120_mutual,
    ntu120_oneshot,
)  # fmt: skip


def main() -> None:
    """Write them all."""
    parser = argparse.ArgumentParser(description="Write the split tables from the publishers' own lists.")
    parser.add_argument("--from", dest="source", type=Path, required=True, help="folder with the publishers' lists")
    parser.add_argument("--to", type=Path, default=HERE, help="folder to write to (default: this one)")
    arguments = parser.parse_args()
    for build in BUILDERS:
        for name, text in build(arguments.source).items():
            write_text(arguments.to / build.__name__ / name, text)
            print(f"{build.__name__}/{name}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
