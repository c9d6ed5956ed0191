"""ResFormer, SVFormer, NeuTRENO: the mixes of the paper, their limits, and what the probe sees of their values."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankscope import probe
from rankscope.errors import UsageError
from rankscope.zoo import build

SMALL = "depth=4,width=16,heads=2,vocab=20"
VARIANTS = ("identity", "constant", "learnable", "learnable_plus", "sparse", "dense")
LIMITS = ("resformer,variant=constant,lambda_1=0,lambda_2=1", "neutreno,strength=0")


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))


def value_rows(model: nn.Module, ids: torch.Tensor, *measures: str) -> list[list[float]]:
    report = probe(model, ids, measures=measures)
    assert {row.status for row in report.rows} == {"ok"}
    return [[row.value for row in report.rows if row.measure == measure] for measure in measures]


def mixes(model: nn.Module) -> list[nn.Module | None]:
    return [block.attention.mixer.mix for block in model.blocks]


def mixed_by_hand(model: nn.Module, own: list[torch.Tensor]) -> list[torch.Tensor]:
    """V'_n of V_1 … V_n by the weights that the model says."""
    found = []
    for n, mix in enumerate(mixes(model)):
        weights = {} if mix is None else {name: value.item() for name, value in mix.lambdas().items()}
        if not weights:
            found.append(own[n])
        elif type(mix).__name__ == "DenseMix":
            found.append(sum(weights[f"lambda_{i + 1}"] * own[i] for i in range(n + 1)))
        else:
            found.append(weights["lambda_1"] * own[0] + weights["lambda_2"] * own[n])
    return found


def own_values(model: nn.Module, ids: torch.Tensor) -> list[torch.Tensor]:
    """V_n of every layer as its projection gives it, (batch, tokens, width) float64."""
    found: list[torch.Tensor] = []
    handles = [
        block.attention.mixer.value.register_forward_hook(lambda module, args, out: found.append(out.double()))
        for block in model.blocks
    ]
    model(ids)
    for handle in handles:
        handle.remove()
    return found


def stirred(model: nn.Module) -> nn.Module:
    """What is learned of the mixes, moved away from its start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for mix in mixes(model):
            for parameter in () if mix is None else mix.parameters():
                parameter += torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("spec", LIMITS)
@pytest.mark.parametrize("causal", ["on", "off"])
def test_without_earlier_values_it_is_the_transformer_bit_for_bit(spec: str, causal: str, ids: torch.Tensor) -> None:
    plain = build(f"transformer,{SMALL},causal={causal}")
    model = build(f"{spec},{SMALL},causal={causal}", seed=1)
    model.load_state_dict(plain.state_dict(), strict=True)
    assert torch.equal(model(ids), plain(ids))
    name, _, rest = spec.partition(",")
    other = build(f"{name},{SMALL},causal={causal}" if rest else spec)
    other.load_state_dict(plain.state_dict(), strict=True)
    assert not torch.allclose(other(ids), plain(ids)), "the limit is one of the option, not of the architecture"


@pytest.mark.parametrize("variant", VARIANTS)
class TestEveryVariant:
    def test_attention_gets_the_mix_that_lambdas_tell(
        self, variant: str, ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = stirred(build(f"resformer,{SMALL},variant={variant}"))
        real, entering = F.scaled_dot_product_attention, []

        def spy(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: bool) -> torch.Tensor:
            entering.append(v.transpose(1, 2).flatten(-2).double())
            return real(q, k, v, **options)

        monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
        own = own_values(model, ids)
        for got, expected in zip(entering, mixed_by_hand(model, own), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)

    def test_the_probe_sees_values_before_and_after_the_mix(self, variant: str, ids: torch.Tensor) -> None:
        model = stirred(build(f"resformer,{SMALL},variant={variant}"))
        own = own_values(model, ids)
        mixed = mixed_by_hand(model, own)
        before = [F.cosine_similarity(value, own[0], dim=-1).mean().item() for value in own]
        after = [F.cosine_similarity(value, own[0], dim=-1).mean().item() for value in mixed]
        delta = [((v - own[0]).flatten(1).norm(dim=1) / own[0].flatten(1).norm(dim=1)).mean().item() for v in mixed]
        found = value_rows(model, ids, "value_cosine", "value_cosine_mixed", "value_delta")
        for got, expected in zip(found, (before, after, delta), strict=True):
            assert got == pytest.approx(expected, abs=1e-5)
        assert max(abs(a - b) for a, b in zip(before, after, strict=True)) > 0.05, "the mix shows"

    def test_starts_and_learns(self, variant: str, ids: torch.Tensor) -> None:
        model = build(f"resformer,{SMALL},variant={variant}")
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
        for parameter in (p for mix in mixes(model) if mix is not None for p in mix.parameters()):
            assert parameter.grad is not None
            assert parameter.grad.norm() > 0

    def test_a_copy_is_a_model_of_its_own(self, variant: str, ids: torch.Tensor) -> None:
        model = build(f"resformer,{SMALL},variant={variant}")
        before = model(ids)
        stirred(copy.deepcopy(model))
        assert torch.equal(model(ids), before)

    def test_no_weight_is_held_twice(self, variant: str) -> None:
        model = build(f"resformer,{SMALL},variant={variant}")
        held = Counter(tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values())
        assert set(held.values()) == {1}

    def test_one_layer_is_the_transformer(self, variant: str, ids: torch.Tensor) -> None:
        plain = build("transformer,depth=1,width=16,heads=2,vocab=20")
        model = build(f"resformer,depth=1,width=16,heads=2,vocab=20,variant={variant}", seed=1)
        model.load_state_dict(plain.state_dict(), strict=True)
        assert torch.equal(model(ids), plain(ids))


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "dense"])  # of two values
def test_the_mix_identity_holds_token_by_token(variant: str, ids: torch.Tensor) -> None:
    """cos(V', V_1) = (λ1 + λ2 r c)/sqrt(λ1² + 2 λ1 λ2 r c + λ2² r²), c = cos(V_n, V_1), r = ‖V_n‖/‖V_1‖."""
    model = stirred(build(f"resformer,{SMALL},variant={variant}"))
    own = own_values(model, ids)
    expected = []
    for mix, value in zip(mixes(model), own, strict=True):
        c = F.cosine_similarity(value, own[0], dim=-1)
        r = value.norm(dim=-1) / own[0].norm(dim=-1)
        one, two = (0.0, 1.0) if mix is None else (weight.item() for weight in mix.lambdas().values())
        cosine = (one + two * r * c) / (one**2 + 2 * one * two * r * c + two**2 * r**2).sqrt()
        expected.append(cosine.mean().item())
    assert value_rows(model, ids, "value_cosine_mixed") == [pytest.approx(expected, abs=1e-5)]


def told(spec: str) -> list[list[float]]:
    """The λ of each layer, in their order; empty where its values are left as they are."""
    found = [mix.lambdas() if mix else {} for mix in mixes(build(spec))]
    return [[round(value.item(), 6) for value in each.values()] for each in found]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("variant=identity", [[], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]),
        ("variant=constant", [[], [2, 1], [2, 1], [2, 1]]),
        ("variant=constant,lambda_1=1,2,3,lambda_2=0.5", [[], [1, 0.5], [2, 0.5], [3, 0.5]]),
        ("variant=learnable", [[], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]),
        ("variant=learnable_plus", [[], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]),
        ("variant=sparse,layers=3", [[], [], [5, 1], []]),
        ("variant=sparse,layers=4,2,lambda_1=7,8", [[], [8, 1], [], [7, 1]]),
        ("variant=dense", [[], [0.5] * 2, [0.333333] * 3, [0.25] * 4]),
    ],
)
def test_weights_of_the_variants(options: str, expected: list[list[float]]) -> None:
    assert told(f"resformer,{SMALL},{options}") == expected


def test_sparse_mixes_the_last_three_as_in_the_paper() -> None:
    assert told("resformer,depth=8,variant=sparse") == [[]] * 5 + [[5, 1]] * 3
    assert told("resformer,depth=3,variant=sparse") == [[], [5, 1], [5, 1]]


def test_learnable_plus_shares_one_sum() -> None:
    model = stirred(build(f"resformer,{SMALL},variant=learnable_plus"))
    first = model.blocks[1].attention.mixer.mix.shares
    shares = [mix.lambdas()["lambda_1"].item() for mix in mixes(model)[1:]]
    assert sum(shares) == pytest.approx(first.total.item(), rel=1e-5)
    assert len({round(share, 4) for share in shares}) == 3


def test_svformer_attends_to_the_values_of_the_first_layer(ids: torch.Tensor) -> None:
    model = build(f"svformer,{SMALL}")
    found = value_rows(model, ids, "value_cosine", "value_cosine_mixed", "value_delta")
    assert found == [pytest.approx([expected] * 4, abs=1e-12) for expected in (1, 1, 0)]


def test_svformer_has_one_value_map_and_is_the_transformer_with_one_layer(ids: torch.Tensor) -> None:
    count = [sum(p.numel() for p in build(f"{name},{SMALL}").parameters()) for name in ("transformer", "svformer")]
    assert count[0] - count[1] == 3 * 16**2
    plain, model = (build(f"{name},depth=1,width=16,heads=2,vocab=20") for name in ("transformer", "svformer"))
    assert torch.equal(plain(ids), model(ids))


def test_svformer_is_the_transformer_whose_values_are_all_those_of_layer_1(ids: torch.Tensor) -> None:
    model, mixing = build(f"svformer,{SMALL}"), build(f"resformer,{SMALL},variant=constant,lambda_1=1,lambda_2=0")
    missing, unexpected = mixing.load_state_dict(model.state_dict(), strict=False)
    assert missing == [f"blocks.{n}.attention.mixer.value.weight" for n in (1, 2, 3)]
    assert not unexpected
    assert torch.equal(model(ids), mixing(ids))


def test_neutreno_adds_what_the_values_have_lost(ids: torch.Tensor) -> None:
    """One head: the attention of layer 2 gives W_O (A V_2 + 0.4 (V_1 − V_2))."""
    model = build("neutreno,depth=2,width=16,heads=1,vocab=20").double()
    seen = []
    mixer = model.blocks[1].attention.mixer
    handle = mixer.register_forward_hook(lambda module, args, out: seen.append((args[0], out[0])))
    first, own = own_values(model, ids)
    handle.remove()
    x, got = seen[0]
    scores = (mixer.query(x) @ mixer.key(x).mT / 4).masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(got, mixer.out(scores.softmax(dim=-1) @ own + 0.4 * (first - own)))


def test_neutreno_mixes_nothing_into_the_values(ids: torch.Tensor) -> None:
    model = build(f"neutreno,{SMALL}")
    own = own_values(model, ids)
    expected = [F.cosine_similarity(value, own[0], dim=-1).mean().item() for value in own]
    assert value_rows(model, ids, "value_cosine", "value_cosine_mixed") == [pytest.approx(expected, abs=1e-5)] * 2


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("resformer,variant=idenity", "RS101", "did you mean  identity"),
        ("resformer,lambda_1=2", "RS352", "lambda_1 is an option of variant=constant and variant=sparse"),
        ("resformer,variant=learnable,lambda_2=2", "RS352", "lambda_2 is an option of variant=constant"),
        ("resformer,variant=constant,layers=3", "RS352", "layers is an option of variant=sparse"),
        (
            "resformer,variant=constant,lambda_1=1,2",
            "RS352",
            "lambda_1 has 2 values, expected 1, or one for each of .* 5",
        ),
        ("resformer,variant=sparse,layers=3,lambda_2=1,2", "RS352", "lambda_2 has 2 values, expected 1 "),
        ("resformer,variant=sparse,layers=1", "RS352", "layers holds 1, expected layers from 2 to 6, each once"),
        ("resformer,variant=sparse,layers=7", "RS352", "layers holds 7"),
        ("resformer,variant=sparse,layers=2.5", "RS352", r"layers holds 2\.5"),
        ("resformer,variant=sparse,layers=3,3", "RS352", "layers holds 3, .*each once"),
        ("resformer,variant=constant,lambda_1=much", "RS351", "'much', expected a finite number or paper"),
        ("resformer,heads=3", "RS352", "width is 64, expected a multiple of heads, 3"),
        ("svformer,depth=0", "RS352", "depth is 0"),
        ("neutreno,strength=x", "RS351", "option strength is 'x'"),
    ],
)
def test_bad_options_are_usage_errors(spec: str, code: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        build(spec)
    assert caught.value.code == code
