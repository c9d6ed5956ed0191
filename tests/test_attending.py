"""Values and attention maps in the reduction, against numpy on the real tokens alone."""

import math

import naive
import numpy as np
import pytest
import torch

from rankscope.attending import NO_FIRST
from rankscope.collection import NOT_FINITE
from rankscope.measures import resolve
from rankscope.memory import Memory
from rankscope.records import Layer
from rankscope.reduction import Reduction

LAYER = Layer("h.*", 2, "h.1", "Block")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of_values(names, value, mixed=None, first=None, keep=None):
    reduction = Reduction(resolve(names))
    found = {"value": value, "mixed_value": value if mixed is None else mixed, "first_value": first}
    reduction.values(LAYER, found, keep, 0)
    return reduction


def by_head(reduction):
    return {(row.measure, row.head): row for row in reduction.rows()}


def heads_side_by_side(values, keep):
    """(tokens, heads · width) of each sequence, padding left out."""
    return [v.transpose(0, 1).flatten(1)[k].double().numpy() for v, k in zip(values, keep, strict=True)]


LENGTHS = torch.arange(9).expand(3, 9) < torch.tensor([9, 6, 9]).unsqueeze(1)


def test_values_are_measured_on_real_tokens_heads_side_by_side():
    value, mixed, first = (normal(3, 4, 9, 5, seed=seed) for seed in range(3))
    names = ["value_cosine", "value_cosine_mixed", "value_delta", "value_drain"]
    rows = by_head(of_values(names, value, mixed, first, LENGTHS))
    v, m, f = (heads_side_by_side(x, LENGTHS) for x in (value, mixed, first))
    expected = {
        "value_cosine": [naive.value_cosine(a, b) for a, b in zip(v, f, strict=True)],
        "value_cosine_mixed": [naive.value_cosine(a, b) for a, b in zip(m, f, strict=True)],
        "value_delta": [naive.value_delta(a, b) for a, b in zip(m, f, strict=True)],
        "value_drain": [naive.value_drain(a) for a in v],
    }
    for name, samples in expected.items():
        np.testing.assert_allclose(rows[name, None].samples, samples, rtol=1e-9)
        assert (rows[name, None].tokens, rows[name, None].site) == (24, "value")


def test_every_head_by_itself():
    value, first = normal(3, 4, 9, 5), normal(3, 4, 9, 5, seed=1)
    rows = by_head(of_values(["head:value_cosine", "value_cosine"], value, None, first, LENGTHS))
    assert set(rows) == {("value_cosine", head) for head in (0, 1, 2, 3, None)}
    for head in range(4):
        one = [x[:, head : head + 1] for x in (value, first)]
        v, f = (heads_side_by_side(x, LENGTHS) for x in one)
        expected = [naive.value_cosine(a, b) for a, b in zip(v, f, strict=True)]
        np.testing.assert_allclose(rows["value_cosine", head].samples, expected, rtol=1e-9)


def test_spectra_of_values_are_kept_by_sequence_and_head():
    value = normal(3, 2, 9, 5)
    reduction = of_values(["value_spectrum", "head:value_spectrum", "value_drain"], value, keep=LENGTHS)
    assert [row.measure for row in reduction.rows()] == ["value_drain"], "vectors are no rows"
    found = {vector.head: vector for vector in reduction.vectors()}
    assert set(found) == {None, 0, 1}
    for sample, y in zip(found[None].samples, heads_side_by_side(value, LENGTHS), strict=True):
        np.testing.assert_allclose(sample, naive.value_spectrum(y), rtol=1e-6, atol=1e-9)
    assert [len(sample) for sample in found[None].samples] == [9, 6, 9]
    assert [len(sample) for sample in found[1].samples] == [5, 5, 5]
    assert 0 <= found[None].error < 1e-6
    assert found[None].status == "ok"


def test_values_that_are_not_finite_cost_their_own_sequence_and_every_head():
    value = normal(2, 3, 6, 4)
    value[1, 2, 0, 0] = math.nan
    reduction = of_values(["head:value_drain", "value_drain", "value_spectrum"], value)
    rows = by_head(reduction)
    assert {row.reason for row in rows.values()} == {f"{NOT_FINITE} in 1 of 2 sequences"}
    assert set(rows) == {("value_drain", head) for head in (None, 0, 1, 2)}
    assert reduction.vectors()[0].status == "undefined"


def test_widths_that_differ_cost_only_the_measures_that_compare():
    rows = by_head(
        of_values(["value_cosine", "value_drain", "value_delta"], normal(2, 2, 6, 4), None, normal(2, 2, 6, 3))
    )
    assert rows["value_drain", None].status == "ok"
    for name in ("value_cosine", "value_delta"):
        assert rows[name, None].reason == "the values are (6, 8), those of layer 1 (6, 6)"


def test_other_heads_of_the_same_width_are_compared_side_by_side_but_not_one_by_one():
    rows = by_head(of_values(["value_cosine", "head:value_cosine"], normal(2, 2, 6, 4), None, normal(2, 4, 6, 2)))
    assert rows["value_cosine", None].status == "ok"
    for head in (0, 1):
        assert rows["value_cosine", head].status == "undefined"
        assert "(2, 6, 4)" in rows["value_cosine", head].reason


def test_a_first_layer_that_could_not_be_read_is_not_replaced_by_the_second():
    rows = by_head(of_values(["value_cosine", "value_drain"], normal(2, 2, 6, 4)))
    assert rows["value_cosine", None].reason == NO_FIRST
    assert rows["value_drain", None].status == "ok"


def softmax(*shape, seed=0):
    return torch.softmax(normal(*shape, seed=seed), -1)


class Given(list):
    """Maps that are there already."""

    @property
    def bytes_each(self):
        return sum(4 * weights.numel() for weights, _ in self[:1])


def of_attention(names, maps, queries=None, keys=None, parameter=None, memory=None):
    reduction = Reduction(resolve(names), memory=memory)
    reduction.attention(LAYER, Given(maps) if isinstance(maps, list) else maps, (queries, keys), 0, parameter)
    return reduction


def test_maps_and_values_past_the_allowance_are_skipped_with_what_they_take():
    maps = [(softmax(4, 9, 7), torch.ones(9, 7, dtype=torch.bool))]
    row = of_attention(["attention_entropy"], maps, memory=Memory(4000)).rows()[0]
    assert (row.status, row.value) == ("skipped", None)
    assert row.reason == "the attention map of one sequence needs 3.94 KiB, and --memory allows 3.91 KiB"
    assert of_attention(["attention_entropy"], maps, memory=Memory(4096)).rows()[0].status == "ok"
    values = normal(2, 2, 6, 4)
    for total, status in ((1000, "skipped"), (2000, "ok")):
        reduction = Reduction(resolve(["value_drain"]), memory=Memory(total))
        reduction.values(LAYER, {"value": values, "mixed_value": values, "first_value": values}, None, 0)
        assert reduction.rows()[0].status == status


def test_attention_is_averaged_over_heads_and_taken_on_real_queries_and_keys():
    queries, keys = LENGTHS, torch.arange(7).expand(3, 7) >= torch.tensor([2, 0, 1]).unsqueeze(1)
    allowed = torch.rand(9, 7, generator=torch.Generator().manual_seed(3)) < 0.8
    allowed[:, 3] = True
    maps = [(softmax(4, 9, 7, seed=i), allowed) for i in range(3)]
    names = ["attention_entropy_ratio", "head:attention_entropy"]
    rows = by_head(of_attention(names, maps, queries, keys, "cross"))
    for head in (None, 0, 3):
        expected = []
        for (weights, at), q, k in zip(maps, queries, keys, strict=True):
            real = weights[:, q][:, :, k].double()
            of_head = real.mean(0) if head is None else real[head]
            expected.append(naive.attention_entropy(of_head.numpy(), at[q][:, k].numpy()))
        row = rows["attention_entropy", head]
        np.testing.assert_allclose(row.samples, expected, rtol=1e-9)
        assert (row.parameter, row.site, row.tokens) == ("cross", "attention", 24)
        assert row.ceiling == pytest.approx(np.mean([math.log(int(k.sum())) for k in keys]))
        assert row.floor is None
    ratio = rows["attention_entropy_ratio", None]
    whole = rows["attention_entropy", None]
    even = [
        naive.attention_entropy((at[q][:, k].double() / at[q][:, k].sum(1, keepdim=True)).numpy(), at[q][:, k].numpy())
        for (_, at), q, k in zip(maps, queries, keys, strict=True)
    ]
    assert whole.reference == pytest.approx(np.mean(even))
    np.testing.assert_allclose(ratio.samples, np.array(whole.samples) / even, rtol=1e-9)


def test_uniform_attention_over_many_tokens_is_one_map_at_a_time():
    class Lazy:
        """Maps that must not be held together."""

        asked, bytes_each = 0, 4 * 2 * 128 * 128

        def __len__(self):
            return 3

        def __getitem__(self, index):
            self.asked += 1
            causal = torch.ones(128, 128, dtype=torch.bool).tril()
            return (causal / causal.sum(-1, keepdim=True)).expand(2, 128, 128), causal

    maps = Lazy()
    row = of_attention(["attention_entropy"], maps).rows()[0]
    assert maps.asked == 3
    assert row.value == pytest.approx(4.43865, abs=5e-6)
    assert row.reference == pytest.approx(4.43865, abs=5e-6)


def test_maps_that_are_signed_not_finite_or_short_say_so():
    everywhere = torch.ones(6, 6, dtype=torch.bool)
    signed = softmax(2, 6, 6)
    signed[:, 0, 0] = -2
    row = of_attention(["attention_entropy"], [(signed, everywhere)]).rows()[0]
    assert row.status == "undefined"
    assert "signed" in row.reason
    poisoned = softmax(2, 6, 6)
    poisoned[1, 2, 3] = math.nan
    rows = of_attention(["head:attention_entropy"], [(softmax(2, 6, 6), everywhere), (poisoned, everywhere)]).rows()
    assert {(row.head, row.status) for row in rows} == {(0, "undefined"), (1, "undefined")}
    short = of_attention(["attention_entropy"], [(softmax(2, 3, 6), everywhere[:3])]).rows()[0]
    assert short.reason == "fewer than 4 tokens"


def test_a_failure_covers_the_heads_that_were_seen_before():
    reduction = of_attention(["head:attention_entropy"], [(softmax(2, 6, 6), torch.ones(6, 6, dtype=torch.bool))])
    reduction.fail("attention", LAYER, "error", "it broke")
    assert [(row.head, row.status, row.reason) for row in reduction.rows()] == [
        (0, "error", "it broke"),
        (1, "error", "it broke"),
    ]


def test_heads_that_never_came_have_one_row_which_no_other_row_doubles():
    for names, rows in ((["head:value_drain"], 1), (["value_drain", "head:value_drain"], 1)):
        reduction = Reduction(resolve(names))
        reduction.fail("value", LAYER, "undefined", "no attention call was seen in this block")
        keys = [row.key for row in reduction.rows()]
        assert (len(keys), len(set(keys)), keys[0][4]) == (rows, 1, None)


def test_a_failure_covers_the_heads_that_come_later():
    reduction = Reduction(resolve(["head:value_drain"]))
    reduction.fail("value", LAYER, "undefined", "the first batch could not be read")
    value = normal(2, 2, 6, 4)
    reduction.values(LAYER, {"value": value, "mixed_value": value, "first_value": value}, None, 0)
    rows = reduction.rows()
    assert [(row.head, row.status) for row in rows] == [(0, "undefined"), (1, "undefined")]
