"""HMDB51: 6,766 clips of 51 actions from films and the web; each split trains on 70 and tests on 30 clips a class."""

from harbench.records import Archive, DatasetSpec

SPEC = DatasetSpec(
    name="hmdb51",
    title="HMDB51",
    modality="video",
    unit="video",
    splits=("split1", "split2", "split3"),
    group="class and source film",
    source="film",
    overlaps=("jhmdb",),
    split_sets={"mean-of-3": ("split1", "split2", "split3")},
    counts={"split1": (3570, 0, 1530), "split2": (3570, 0, 1530), "split3": (3570, 0, 1530)},
    short_side=240,
    homepage="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    license="CC BY 4.0",
    citation=(
        "H. Kuehne, H. Jhuang, E. Garrote, T. Poggio, T. Serre. "
        "HMDB: A Large Video Database for Human Motion Recognition. ICCV 2011"
    ),
    size="2.2 GB",
    archives=(
        Archive(
            name="hmdb51_org.rar",
            urls=tuple(
                f"{scheme}://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar"
                for scheme in ("https", "http")
            ),
            checksum="sha256:9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e",
        ),
        # A third party's repacking, pinned by its hash: the publisher's server has not answered since 2025.
        Archive(
            name="hmdb51_org.zip",
            urls=("https://huggingface.co/datasets/MichiganNLP/hmdb/resolve/main/hmdb51_org.zip",),
            checksum="sha256:2d652f386debd04ae8f83508faacb959c03c9cbf1176fc76848b73cda4d52e57",
            bytes=4_246_812_958,
            instead_of="hmdb51_org.rar",
        ),
    ),
)
