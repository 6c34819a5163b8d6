"""KTH: 25 persons, 6 actions, 4 scenarios; 599 videos that hold 2,391 sequences, given as frame ranges."""

from harbench.records import Archive, DatasetSpec

_PERSONS = tuple(f"person{number:02}" for number in range(1, 26))
_ACTIONS = {  # SHA-1 of the zips, as https://github.com/visym/vipy states them
    "walking": "a3e81537271a0ab4576591774baa38c2d97b7e3a",
    "jogging": "21943bdbcef9dad106db0d74661e49eaeaa15a25",
    "running": "da83bb313edfd4455fffdda6263696fa10d43c6f",
    "boxing": "adb36ed9c29c846d44d2ba15f348bd115c951bbd",
    "handwaving": "0792f7cd69f7f895a205c08ac212ddaa7177e370",
    "handclapping": "d3b81261aa822ef63d0d1523f945bfaff27814d2",
}
_SITES = ("https://www.csc.kth.se/cvap/actions", "http://www.nada.kth.se/cvap/actions")

SPEC = DatasetSpec(
    name="kth",
    title="KTH",
    modality="video",
    unit="sequence",
    splits=("official", "16-9"),
    group="person",
    leave_one_group_out=True,
    split_sets={
        "lopo": tuple(f"lopo-{person}" for person in _PERSONS),
        "lopo-video": tuple(f"lopo-{person}-video" for person in _PERSONS),
    },
    counts={
        "official": (760, 768, 863),
        "official-video": (191, 192, 216),
        "16-9": (1528, 0, 863),
        "16-9-video": (383, 0, 216),
    },
    short_side=120,
    headline="mean_class",
    # The official validation persons, for the partitions that put them into train.
    validation=r"^person(01|04|19|20|21|23|24|25)$",
    homepage="https://www.csc.kth.se/cvap/actions/",
    license="unknown",
    citation="C. Schüldt, I. Laptev, B. Caputo. Recognizing Human Actions: A Local SVM Approach. ICPR 2004",
    size="about 1.1 GB",
    archives=tuple(
        Archive(
            name=f"{action}.zip",
            urls=tuple(f"{site}/{action}.zip" for site in _SITES),
            checksum=f"sha1:{sha1}",
        )
        for action, sha1 in _ACTIONS.items()
    ),
)
