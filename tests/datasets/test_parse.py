"""samples.csv and classes.txt as hostile input: a good table comes back as it was, a bad one is an error."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbench.datasets.parse import KEY, read_classes, read_samples, without_suffix
from harbench.errors import DatasetError

HEADER = "media,class,group,start,end,sample_id,split1,split2\n"
GOOD = "run/a.avi,run,ann,0,10,run/a/1,train,\n"

keys = st.from_regex(KEY, fullmatch=True)
# What HMDB51 has in its names, and what CSV finds hard.
names = st.text("aZ0_ ()[]!#&+;~@',\"é.-", min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


_FOLDER = (
    tempfile.TemporaryDirectory()
)  # one for all: hypothesis writes thousands of files, and this one goes at the end


def written(text: str | bytes, name: str = "samples.csv") -> Path:
    path = Path(_FOLDER.name) / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# ---------------------------------------------------------------------------------------------------------- properties
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_good_table_comes_back_as_it_was(data: st.DataObject) -> None:
    ids = data.draw(st.lists(paths, max_size=6, unique=True))
    frames = st.tuples(st.integers(0, 1000), st.integers(1, 1000)).map(lambda f: (f[0], f[0] + f[1])) | st.just(
        ("", "")
    )
    subsets = st.sampled_from(("train", "val", "test", ""))
    rows = [
        tuple(map(data.draw, (paths, keys, paths | st.just(""))))
        + data.draw(frames)
        + (sample_id, data.draw(subsets), "")
        for sample_id in ids
    ]
    order = data.draw(st.permutations(range(8)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=data.draw(st.sampled_from(("\n", "\r\n"))))
    writer.writerows([[row[column] for column in order] for row in (tuple(HEADER.strip().split(",")), *rows)])
    found = read_samples(written(text.getvalue()), ("split1", "split2"), None)
    assert [
        (
            r.media,
            r.label,
            r.group,
            r.start if r.start is not None else "",
            r.end or "",
            r.sample_id,
            r.subsets["split1"],
            "",
        )
        for r in found
    ] == rows


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from([*HEADER, *GOOD, "..", "\0", "\r"])).map("".join)))
def test_anything_else_is_a_dataset_error_or_a_safe_table(text: str) -> None:
    for body in (text, HEADER + text, HEADER + GOOD + text):
        try:
            rows = read_samples(written(body.encode("utf-8", "surrogatepass")), ("split1", "split2"), {"run"})
        except DatasetError as error:
            assert "samples.csv" in str(error)
        else:
            for row in rows:
                for path in (PurePosixPath(row.media), PurePosixPath(row.sample_id)):
                    assert not path.is_absolute() and ".." not in path.parts
                assert row.label == "run"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_class_list_is_an_error_or_a_list_of_keys(text: str) -> None:
    try:
        classes = read_classes(written(text.encode("utf-8", "surrogatepass"), "classes.txt"))
    except DatasetError as error:
        assert "classes.txt" in str(error)
    else:
        assert classes and all(KEY.fullmatch(label.key) and label.display for label in classes)


@given(paths)
def test_a_suffix_is_cut_as_pathlib_does(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.suffix and not path.endswith("."):
        assert without_suffix(path) == str(pure.with_suffix(""))
    assert without_suffix(path)


# -------------------------------------------------------------------------------------------------------- single faults
@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "missing: media, class, split1, split2"),
        ("media,class,split1\n", 1, "missing: split2"),
        ("media,class,split1,split2,split3\n", 1, "found 'split3', which is not in SPEC.splits"),
        ("media,class,media,split1,split2\n", 1, "found 'media' twice"),
        ("media,class,start,split1,split2\n", 1, "missing: end"),
        (HEADER + GOOD + GOOD, 3, "'run/a/1' stands in line 2 already"),
        (HEADER + GOOD + "run/a.avi,run\n", 3, "expected 8 cells, found 2"),
        (HEADER + GOOD.replace("train", "Train"), 2, "split1: expected train, val, test or nothing, found 'Train'"),
        (HEADER + GOOD.replace(",run,", ",fly,"), 2, "class: 'fly' is not a key of classes.txt"),
        (HEADER + GOOD.replace("run/a.avi", "../a.avi"), 2, "media: expected a relative path"),
        (HEADER + GOOD.replace("run/a.avi", "/etc/passwd"), 2, "media: expected a relative path"),
        (HEADER + GOOD.replace("run/a.avi", r"C:\a.avi"), 2, "media: expected a relative path"),
        (HEADER + GOOD.replace("run/a.avi", "run//a.avi"), 2, "media: expected a relative path"),
        (HEADER + GOOD.replace("run/a/1", "run/./1"), 2, "sample_id: expected a relative path"),
        (HEADER + GOOD.replace("ann", "an\x07n"), 2, "group: expected a relative path"),
        (HEADER + GOOD.replace("0,10", "10,10"), 2, "start < end, found '10', '10'"),
        (HEADER + GOOD.replace("0,10", "-1,10"), 2, "start < end, found '-1', '10'"),
        (HEADER + GOOD.replace("0,10", "0,"), 2, "start < end, found '0', ''"),
        (HEADER + GOOD.replace("0,10", "0,١٠"), 2, "start < end, found '0', '١٠'"),
        (HEADER + GOOD.replace("0,10", f"0,{'9' * 5000}"), 2, "start < end"),
        (HEADER + GOOD + 'run/"b".avi,"run"x,,,,,,\n', 3, "not a CSV line"),
    ],
)
def test_a_fault_is_told_with_file_and_line(text: str, line: int, message: str) -> None:
    path = written(text)
    with pytest.raises(DatasetError) as raised:
        read_samples(path, ("split1", "split2"), {"run"})
    assert f"{path}, line {line}: " in str(raised.value) and message in str(raised.value)


def test_a_file_that_is_no_text() -> None:
    with pytest.raises(DatasetError, match="expected a readable UTF-8 text file"):
        read_samples(written(b"media,class\n\xff\xfe"), (), None)
    with pytest.raises(DatasetError, match="expected a readable UTF-8 text file"):
        read_classes(written("").parent)


def test_what_spreadsheets_write_is_read() -> None:
    text = "\ufeffmedia,class,split1\r\n\r\nrun/a.avi,run,train\r\n\r\n"
    (row,) = read_samples(written(text), ("split1",), None)
    assert (row.media, row.sample_id, row.group, row.start) == ("run/a.avi", "run/a", "", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run\trunning\nrun\tjogging\n", "line 2: class 'run' stands there twice"),
        ("run\n\nsit\n", "line 2: expected `key<TAB>display name`"),
        ("sit down\n", "line 1: expected"),
        ("", "line 1: expected"),
    ],
)
def test_a_bad_class_list(text: str, message: str) -> None:
    with pytest.raises(DatasetError) as raised:
        read_classes(written(text, "classes.txt"))
    assert message in str(raised.value)
