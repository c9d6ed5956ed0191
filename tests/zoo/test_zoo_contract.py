"""What every architecture of the zoo keeps to, whatever it is."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import rankscope
from rankscope.errors import UsageError
from rankscope.zoo import ARCHITECTURES, architecture, build, check_spec, list_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ARCHITECTURES.names()
MIXERS = [f"lambda_skip,mixer={mixer}" for mixer in ("linear_attention", "s4d", "mamba", "mamba2")]
TOKENS = 12
SYSTEMS = {
    *("transformer", "linear_attention", "lambda_skip", "s4d", "mamba", "mamba2", "resi_dual", "resformer"),
    *("svformer", "neutreno", "structured"),
}


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(256, (3, TOKENS), generator=torch.Generator().manual_seed(0))


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    theirs = b.state_dict()
    return a.state_dict().keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in a.state_dict().items())


def test_the_zoo_holds_the_systems_of_the_papers() -> None:
    assert set(NAMES) == SYSTEMS


@pytest.mark.parametrize("name", NAMES)
class TestEveryArchitecture:
    def test_builds_with_its_defaults_and_gives_logits(self, name: str, ids: torch.Tensor) -> None:
        logits = build(name)(ids)
        assert logits.shape == (3, TOKENS, 256)
        assert torch.isfinite(logits).all()

    def test_is_causal_by_default(self, name: str, ids: torch.Tensor) -> None:
        model = build(name).eval()
        changed = ids.clone()
        changed[:, 7:] = (changed[:, 7:] + 1) % 256
        before, after = model(ids), model(changed)
        # A convolution by Fourier transforms rounds with all tokens: no bit for bit here.
        torch.testing.assert_close(after[:, :7], before[:, :7], rtol=0, atol=1e-5)
        assert not torch.allclose(before[:, 7:], after[:, 7:], rtol=0, atol=1e-2)

    def test_gradients_reach_every_parameter(self, name: str, ids: torch.Tensor) -> None:
        model = build(name)
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
        norms = {key: None if p.grad is None else p.grad.norm().item() for key, p in model.named_parameters()}
        assert {key for key, norm in norms.items() if not norm} == set()

    def test_state_dict_round_trip(self, name: str, ids: torch.Tensor) -> None:
        model, other = build(name), build(name, seed=1)
        assert not torch.equal(model(ids), other(ids))
        other.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(model(ids), other(ids))

    def test_same_seed_same_weights(self, name: str) -> None:
        assert same_weights(build(name, seed=3), build(name, seed=3))
        assert same_weights(build(f"{name},seed=3"), build(name, seed=3))
        assert same_weights(build(f"{name},seed=3", seed=4), build(name, seed=3))
        assert not same_weights(build(name), build(name, seed=3))

    def test_random_numbers_go_on_as_if_nothing_had_been_drawn(self, name: str) -> None:
        torch.manual_seed(5)
        expected = torch.rand(4)
        torch.manual_seed(5)
        build(name)
        assert torch.equal(torch.rand(4), expected)

    def test_what_the_caller_drew_before_does_not_matter(self, name: str) -> None:
        model = build(name)
        torch.manual_seed(11)
        assert same_weights(build(name), model)

    def test_is_built_on_the_cpu_whatever_the_default_device(self, name: str) -> None:
        with torch.device("meta"):
            model = build(name)
        assert {p.device.type for p in model.parameters()} == {"cpu"}
        assert same_weights(model, build(name))

    def test_blocks_lie_where_layers_are_looked_for(self, name: str) -> None:
        model = build(f"{name},depth=3")
        assert isinstance(model.blocks, torch.nn.ModuleList)
        assert len(model.blocks) == 3

    def test_says_what_it_is(self, name: str) -> None:
        entry = ARCHITECTURES[name]
        assert re.search(r"\d{4}\.\d{5}", entry.paper)
        assert entry.claim
        described = re.findall(r"^    (\w+):", inspect.cleandoc(entry.description).partition("Args:")[2], re.MULTILINE)
        assert [option for option in described if option in entry.options] == list(entry.options)

    def test_every_default_is_of_its_kind(self, name: str) -> None:
        for key, option in ARCHITECTURES[name].options.items():
            values = option.default if isinstance(option.default, tuple) else (option.default,)
            text = ",".join(str(value) for value in values)
            assert same_weights(build(f"{name},{key}={text}"), build(name)), key

    def test_impossible_sizes_are_refused_before_anything_is_built(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: object, **__: object) -> None:
            raise AssertionError("something was built")

        monkeypatch.setattr("torch.nn.Module.__init__", never)
        with pytest.raises(AssertionError, match="was built"):
            build(name)
        sizes = {"depth", "width", "heads", "state", "vocab", "classes"} & set(ARCHITECTURES[name].options)
        assert {"depth", "width", "vocab", "classes"} <= sizes
        for option in sizes:
            for size in (0, -1):
                with pytest.raises(UsageError, match=f"{name} was not built: {option} is {size}, expected") as caught:
                    build(f"{name},{option}={size}")
                assert caught.value.code == "RS352"
        if "heads" in sizes:
            with pytest.raises(UsageError, match="width is 64, expected a multiple of heads, 3"):
                build(f"{name},width=64,heads=3")

    def test_weights_are_made_where_a_header_that_asks_for_too_many_is_refused(self, name: str) -> None:
        """`torch.empty` makes them: what counts the weights of a file's own architecture looks there."""
        with Made() as made:
            model = build(name)
        assert made.numbers >= 0.99 * sum(parameter.numel() for parameter in model.parameters())

    def test_is_listed_as_it_is(self, name: str) -> None:
        entry = next(entry for entry in list_zoo() if entry.spec == f"zoo:{name}")
        options = {option.name: option for option in entry.options}
        assert list(options) == [*ARCHITECTURES[name].options, "seed"]
        assert all(option.meaning and option.values for option in options.values())
        for option in options.values():
            check_spec(f"{name},{option.name}={option.default}")
            build(f"{name},{option.name}={option.default}")

    def test_a_classifier_gives_one_row_a_sequence(self, name: str, ids: torch.Tensor) -> None:
        logits = build(f"{name},head=classifier,classes=7")(ids)
        assert logits.shape == (3, 7)
        assert torch.isfinite(logits).all()


class Made(TorchFunctionMode):
    """Counts the numbers that `torch.empty` makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty:
            self.numbers += math.prod(args[0] if args and not isinstance(args[0], int) else args)
        return func(*args, **(kwargs or {}))


def watched(seen: list[tuple[torch.nn.Module, torch.Tensor, torch.Tensor]]) -> Callable[..., None]:
    return lambda module, args, out: seen.append((module, args[0], out[0] if isinstance(out, tuple) else out))


@pytest.mark.parametrize("spec", [*NAMES, *MIXERS, "transformer,causal=off", "s4d,init=real"])
def test_the_mixing_that_a_mixer_tells_is_what_it_does(spec: str, ids: torch.Tensor) -> None:
    """F(Y) = Σ_g M_g Y C_g, for every module that says so."""
    model = build(f"{spec},depth=2")
    seen: list[tuple[torch.nn.Module, torch.Tensor, torch.Tensor]] = []
    for module in model.modules():
        if hasattr(module, "mixing"):
            module.register_forward_hook(watched(seen))
    model(ids)
    assert seen or spec.startswith(("mamba", "svformer", "resformer", "neutreno", "structured")), spec
    for module, x, out in seen:
        mixing = module.mixing(x)
        groups = mixing.matrices.shape[1]
        assert mixing.matrices.shape == (3, groups, TOKENS, TOKENS)
        assert mixing.values is None or mixing.values.shape == (groups, 64, 64)
        torch.testing.assert_close(mixing.apply(x), out, rtol=0, atol=1e-5 * max(1.0, out.abs().max().item()))


@pytest.mark.parametrize("spec", [*NAMES, *MIXERS])
def test_every_measure_is_had_or_says_why_not(spec: str, ids: torch.Tensor) -> None:
    report = rankscope.probe(f"zoo:{spec},depth=3,width=16", ids, measures="full")
    assert {row.status for row in report.rows} <= {"ok", "undefined"}
    assert [row for row in report.rows if row.status != "ok" and not row.reason] == []
    blocks = [row for row in report.rows if row.site == "block"]
    assert len({row.layer_index for row in blocks}) == 4
    assert [(row.measure, row.layer_index, row.reason) for row in blocks if row.status != "ok"] == []
    gradients = [row for row in report.rows if "gradient" in row.site]
    assert any(row.status == "ok" for row in gradients)


@pytest.mark.parametrize("spec", [*NAMES, *MIXERS])
def test_other_dtypes_run(spec: str, ids: torch.Tensor) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        logits = build(f"{spec},depth=2").to(dtype)(ids)
        assert logits.dtype == dtype
        assert torch.isfinite(logits).all()


def test_listing_and_reading_specs_need_no_torch() -> None:
    code = (
        "import sys; from rankscope.zoo import check_spec, list_zoo\n"
        "for entry in list_zoo():\n"
        "    for option in entry.options: check_spec(f'{entry.name},{option.name}={option.default}')\n"
        "assert 'torch' not in sys.modules\n"
        "print(len(list_zoo()))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(found.stdout) == len(NAMES) + 2


def test_an_option_that_no_text_could_give_is_refused_when_it_is_declared() -> None:
    def odd(*, layers: dict[str, int]) -> torch.nn.Module:
        raise AssertionError

    odd.__annotations__ = {"layers": dict, "return": torch.nn.Module}
    with pytest.raises(TypeError, match="dict"):
        architecture(paper="", claim="")(odd)
    assert "odd" not in ARCHITECTURES
