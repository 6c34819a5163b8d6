"""Weizmann: 10 actions of 9 persons, the widespread edition of 90 files, evaluated leave-one-person-out."""

from harbench.records import Archive, DatasetSpec

_SPLITS = tuple(
    f"lopo-{person}" for person in ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
)

SPEC = DatasetSpec(
    name="weizmann",
    title="Weizmann (90 files)",
    modality="video",
    unit="video",
    splits=_SPLITS,
    group="person",
    leave_one_group_out=True,
    split_sets={"lopo": _SPLITS},
    counts=dict.fromkeys(_SPLITS, (80, 0, 10)),
    short_side=144,
    homepage="http://www.wisdom.weizmann.ac.il/~vision/SpaceTimeActions.html",
    license="unknown",
    citation="L. Gorelick, M. Blank, E. Shechtman, M. Irani, R. Basri. Actions as Space-Time Shapes. TPAMI 2007",
    size="12 MB",
    # Handed on from person to person: nobody publishes it. The authors' own ten zips are the data set weizmann93.
    archives=(Archive(name="weizmann.zip"),),
)
