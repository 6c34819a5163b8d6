"""Pairs, boxes and cuts of a batch."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from harbench.training.batches import cut, micro_parts, shares
from harbench.training.mixing import Mix, blend, draw_mix, partners


def test_partners_are_neighbors() -> None:
    assert partners(4).tolist() == [1, 0, 3, 2]
    assert partners(5).tolist() == [1, 0, 3, 2, 4]
    assert partners(1).tolist() == [0]


@given(st.integers(0, 200), st.integers(1, 9), st.sampled_from([1, 2]))
def test_cuts_cover_everything_once_and_tear_no_pair(size: int, parts: int, unit: int) -> None:
    slices = cut(size, parts, unit)
    assert len(slices) == parts
    assert [i for each in slices for i in range(each.start, each.stop)] == list(range(size))
    assert all(each.start % unit == 0 or each.start == size for each in slices)
    lengths = [each.stop - each.start for each in slices]
    assert max(lengths) - min(lengths) <= 2 * unit - 1


def lengths(slices: list[slice]) -> list[int]:
    return [each.stop - each.start for each in slices]


@given(st.integers(0, 200), st.integers(1, 9), st.sampled_from([1, 2]), st.sampled_from([1, 2]))
def test_shares_cover_everything_and_are_as_large_as_asked(size: int, ranks: int, unit: int, least: int) -> None:
    slices = shares(size, ranks, unit, least)
    assert len(slices) == ranks
    assert [i for each in slices for i in range(each.start, each.stop)] == list(range(size))
    assert all(each.start % unit == 0 or each.start == size for each in slices)
    assert size < least or all(length == 0 or length >= least for length in lengths(slices))
    if least == 1:
        assert (min(lengths(slices)) > 0) == (-(-size // unit) >= ranks)


@given(st.integers(0, 100), st.integers(2, 20), st.sampled_from([1, 2]))
def test_micro_parts_are_small_enough_and_no_single_sample(size: int, micro: int, unit: int) -> None:
    (parts,) = micro_parts([size], micro, unit)
    assert [i for each in parts for i in range(each.start, each.stop)] == list(range(size))
    assert all(0 < length <= micro for length in lengths(parts))
    assert size < 2 or micro < 3 or 1 not in lengths(parts)


@given(st.integers(1, 200), st.integers(1, 9), st.integers(2, 20) | st.none(), st.sampled_from([1, 2]))
def test_ranks_that_wait_for_each_other_have_as_many_parts(size: int, ranks: int, micro: int | None, unit: int) -> None:
    sizes = lengths(shares(size, ranks, unit, 1))
    parts = micro_parts(sizes, micro, unit)
    assert len({len(each) for each in parts}) == 1
    assert [sum(lengths(each)) for each in parts] == sizes
    assert all(length <= (micro or size) for each in parts for length in lengths(each))
    if min(sizes) > 0 and (micro is None or micro >= 2 * unit):
        assert all(length > 0 for each in parts for length in lengths(each))


def test_shares_and_parts_by_hand() -> None:
    assert [lengths(each) for each in micro_parts(lengths(shares(17, 2, 1, 1)), 8, 1)] == [[5, 4], [4, 4]]
    assert lengths(shares(3, 4, 1, 1)) == [1, 1, 1, 0]
    assert lengths(shares(3, 4, 1, 2)) == [3, 0, 0, 0]
    assert lengths(shares(5, 2, 2, 2)) == [2, 3]
    assert micro_parts([0, 0], 4, 1) == [[], []]


def test_draws_depend_on_seed_and_step_alone() -> None:
    assert draw_mix(0, 5, 0.0, 0.0) is None
    assert draw_mix(0, 5, 0.2, 1.0) == draw_mix(0, 5, 0.2, 1.0) != draw_mix(0, 6, 0.2, 1.0)
    boxed = [draw_mix(0, step, 0.2, 1.0).box is not None for step in range(200)]  # type: ignore[union-attr]
    assert 70 < sum(boxed) < 130
    assert all(draw_mix(0, step, 0.0, 1.0).box for step in range(20))  # type: ignore[union-attr]


def test_mixup_blends_and_cutmix_pastes_the_same_box_into_all_frames() -> None:
    frames = torch.arange(3).view(3, 1, 1, 1, 1).expand(3, 3, 4, 10, 10).float()
    mixed, share = blend(frames, Mix(0.75, None))
    assert share == 0.75
    assert [mixed[i].unique().tolist() for i in range(3)] == [[0.25], [0.75], [2.0]]
    pasted, share = blend(frames, Mix(0.75, (0.5, 0.5)))
    assert share == 0.75  # 5 x 5 of 10 x 10
    assert pasted[0].mean().item() == 0.25
    assert (pasted[0] == pasted[0, 0, 0]).all()
    _, share = blend(frames, Mix(0.75, (0.0, 0.0)))  # cut to the frame: 3 x 3 is left
    assert share == 0.91
