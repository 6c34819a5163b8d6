"""KTH: 25 persons, 6 actions, 4 scenarios; 599 videos that hold 2,391 sequences, given as frame ranges."""

from harbench.records import Archive, DatasetSpec

_PERSONS = tuple(f"person{number:02}" for number in range(1, 26))
_ACTIONS = ("walking", "jogging", "running", "boxing", "handwaving", "handclapping")
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
    licence="unknown",
    citation="C. Schüldt, I. Laptev, B. Caputo. Recognizing Human Actions: A Local SVM Approach. ICPR 2004",
    size="about 1.1 GB",
    archives=tuple(
        Archive(
            name=f"{action}.zip",
            urls=tuple(f"{site}/{action}.zip" for site in _SITES),
            sha256="09437744bd760b3ba628d0315d12e2b6a7f86f5fbd41a316583bb4e3d5f09f20" if action == "boxing" else "",
        )
        for action in _ACTIONS
    ),
)
