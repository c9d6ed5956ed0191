"""Names of measures: presets, forms, scopes, companions, and what is not known."""

import pytest

from rankscope.errors import UsageError
from rankscope.measures import MEASURES, PRESETS, resolve


def names(*typed):
    return [("pooled:" if r.scope == "pooled" else "") + r.name for r in resolve(typed)]


QUICK = [
    *("mu", "mu_bar", "mu_bar_unit", "rank_one_residual_unit", "token_norm_ratio"),
    *("effective_rank", "effective_rank_unit", "stable_rank"),
    *("participation_ratio", "participation_ratio_centered", "value_cosine", "grad_norm", "grad_condition"),
]


def test_quick_is_the_list_of_the_manual_and_the_companion_of_its_last():
    assert names("quick") == [*QUICK, "grad_rank"]


def test_forward_is_quick_without_the_backward_pass():
    assert names("forward") == QUICK[:-2]
    assert {r.measure.site for r in resolve(["forward"])} == {"block", "value"}


def test_full_is_everything_once():
    full = names("full")
    assert len(full) == len(set(full))
    forms = sum(len(measure.forms) for measure in MEASURES.values() if measure.in_full)
    pooled = sum(len(measure.forms) for measure in MEASURES.values() if measure.pooled and measure.in_full)
    assert len(full) == forms + pooled
    assert {"mu_unit", "rankme_unit_centered", "pooled:participation_ratio_unit", "grad_stable_rank"} <= set(full)
    assert {name for name in full if name.startswith("pooled:mu")} == set()
    assert {"value_spectrum", "attention_entropy_ratio", "value_drain"} <= set(full)
    assert not any("singular_values" in name for name in full), "only when named"
    assert not any(request.per_head for request in resolve(["full"])), "only when named"


def test_heads_are_had_where_they_are_apart():
    (request,) = resolve(["head:value_cosine_mixed"])
    assert (request.name, request.per_head, request.scope) == ("value_cosine_mixed", True, "sequence")
    ratio, entropy = resolve(["head:attention_entropy_ratio"])
    assert (ratio.per_head, entropy.per_head) == (True, True), "companions of heads are of heads"
    assert len(resolve(["value_cosine", "head:value_cosine", "value_cosine"])) == 2


def test_vectors_are_in_no_preset_but_that_of_values_in_full():
    for preset in ("quick", "forward"):
        assert not any(request.measure.vector for request in resolve([preset]))
    assert {r.name for r in resolve(["full"]) if r.measure.vector} == {"value_spectrum"}
    assert [r.form for r in resolve(["singular_values", "pooled:singular_values_unit"])] == ["raw", "unit"]


def test_forms_scopes_and_needs():
    request, pooled = resolve(["effective_rank_unit_centered", "pooled:participation_ratio_centered"])
    assert (request.measure.name, request.form, request.scope) == ("effective_rank", "unit_centered", "sequence")
    assert request.needs == ("spectrum",)
    assert (pooled.name, pooled.form, pooled.scope) == ("participation_ratio_centered", "centered", "pooled")
    assert pooled.needs == ("spectrum",)
    assert resolve(["participation_ratio"])[0].needs == ("tokens",)


def test_companions_come_in_the_same_form_and_scope():
    assert names("condition_number_unit", "mu") == ["condition_number_unit", "numerical_rank_unit", "mu"]
    assert names("pooled:condition_number") == ["pooled:condition_number", "pooled:numerical_rank"]


def test_order_is_kept_and_nothing_comes_twice():
    assert names("mu_bar", "mu", "mu_bar", "numerical_rank", "condition_number") == [
        "mu_bar",
        "mu",
        "numerical_rank",
        "condition_number",
    ]
    assert names("mu_bar", "quick")[:2] == ["mu_bar", "mu"]
    assert names() == []


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("mu_baar", "mu_bar"),
        ("quik", "quick"),
        ("effective_rank_centred", "effective_rank_centered"),
        ("pooled:efective_rank", "pooled:effective_rank"),
        ("mu_centered", "rankme_centered"),
        ("pooled:mu", None),
        ("head:value_cosin", "head:value_cosine"),
        ("head:mu_bar", None),
        ("head:effective_rank", "effective_rank"),
        ("pooled:value_spectrum", "value_spectrum"),
        ("heads:value_drain", "head:value_drain"),
        ("*", None),
        ("", None),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(typed, near):
    with pytest.raises(UsageError, match="unknown measure") as caught:
        resolve(["mu", typed])
    assert caught.value.code == "RS101"
    assert near is None or near in dict(caught.value.details)["did you mean"]


def test_every_preset_resolves():
    for preset in PRESETS:
        assert resolve([preset])


def test_a_misspelt_measure_is_told_the_near_ones_and_where_all_are():
    with pytest.raises(UsageError) as caught:
        resolve(["mu_baar"])
    assert [label for label, _ in caught.value.details] == ["did you mean"]
    assert "mu_bar" in caught.value.details[0][1]
    assert caught.value.remedies == (("All of them", "rankscope explain"),)
