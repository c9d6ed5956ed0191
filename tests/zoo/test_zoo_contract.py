"""What every architecture of the zoo keeps to, whatever it is."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
from torch.nn import functional as F

from rankscope.zoo import ARCHITECTURES, architecture, build

NAMES = ARCHITECTURES.names()
TOKENS = 12


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(256, (3, TOKENS), generator=torch.Generator().manual_seed(0))


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    theirs = b.state_dict()
    return a.state_dict().keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in a.state_dict().items())


def test_the_zoo_is_not_empty() -> None:
    assert "transformer" in NAMES


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
        assert torch.equal(before[:, :7], after[:, :7])
        assert not torch.allclose(before[:, 7:], after[:, 7:])

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


def test_an_option_that_no_text_could_give_is_refused_when_it_is_declared() -> None:
    def odd(*, layers: dict[str, int]) -> torch.nn.Module:
        raise AssertionError

    odd.__annotations__ = {"layers": dict, "return": torch.nn.Module}
    with pytest.raises(TypeError, match="dict"):
        architecture(paper="", claim="")(odd)
    assert "odd" not in ARCHITECTURES
