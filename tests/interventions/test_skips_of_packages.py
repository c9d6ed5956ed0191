"""Skips of transformers and x-transformers: every one found, λ = 1 the model itself, λ as their own option has it."""

import pytest
import torch
from architectures import CATALOGUE, x_encoder
from small import of_transformers

import rankscope
from rankscope.capture.flow import tensors
from rankscope.capture.session import undisturbed
from rankscope.errors import CaptureError
from rankscope.inputs import InputOptions, from_python, gather
from rankscope.sources import open_model

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore"),  # the packages warn of their own accord; ours are errors elsewhere
]
NAMED = "GPT2,OPT,Llama,GPTNeoX,Gemma2,Mixtral,Bert,Albert,Mamba,Rwkv,T5,ViT,ResNet,Whisper"


def batch_of(model, inputs):
    source, options = open_model(model), InputOptions(batch_size=2, max_tokens=16)
    found = gather(source, options) if inputs is None else from_python(source, inputs(), options)
    return next(iter(found.batches))


def outputs(model, batch):
    with undisturbed(model), torch.no_grad():
        torch.manual_seed(0)
        return list(tensors(model(*batch.args, **batch.kwargs)))


@pytest.mark.parametrize("name", NAMED.split(","))
def test_the_skips_of_an_architecture(name):
    pytest.importorskip("transformers", reason="needs the package transformers, which `make check` installs")
    entry = CATALOGUE[name]
    model = entry.build()
    batch = batch_of(model, entry.inputs)
    plain = outputs(model, batch)
    adds = sum(next(iter(numbers)) * blocks for numbers, blocks in zip(entry.adds, entry.blocks, strict=True))
    given = (batch.args, dict(batch.kwargs))
    with rankscope.edit(model, "lambda_skip=1", given) as told:
        assert all(torch.equal(a, b) for a, b in zip(outputs(model, batch), plain, strict=True))
    assert told[0].startswith(f"lambda_skip=1: {adds} residual adds in {sum(entry.blocks)} layers")
    with rankscope.edit(model, "lambda_skip=0.35", given):
        assert not any(torch.equal(a, b) for a, b in zip(outputs(model, batch)[:1], plain[:1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(outputs(model, batch), plain, strict=True))


@pytest.mark.parametrize("lam", [0.5, 2.0])
def test_the_option_of_x_transformers_that_scales_residuals(lam):
    pytest.importorskip("x_transformers", reason="needs the package x-transformers, which `make check` installs")
    ids = torch.randint(0, 99, (2, 16), generator=torch.Generator().manual_seed(0))
    model = x_encoder("Decoder")
    scaled = x_encoder("Decoder", scale_residual_constant=lam)
    scaled.load_state_dict(model.state_dict())
    with torch.no_grad(), rankscope.edit(model, f"lambda_skip={lam}", ids):
        found = model(ids)
    with torch.no_grad():
        assert torch.allclose(found, scaled(ids), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found, model(ids), atol=1e-3)


@pytest.mark.parametrize(
    ("given", "code"), [({"num_residual_streams": 2}, "RS453"), ({"gate_residual": True}, "RS450")]
)
def test_skips_that_take_no_factor_are_refused(given, code):
    pytest.importorskip("x_transformers", reason="needs the package x-transformers, which `make check` installs")
    ids = torch.zeros(1, 8, dtype=torch.long)
    with pytest.raises(CaptureError) as raised, rankscope.edit(x_encoder("Decoder", **given), "no_skip", ids):
        pass
    assert raised.value.code == code


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Bert"])
def test_gradients_under_the_checkpointing_of_transformers(kind, reentrant):
    pytest.importorskip("transformers", reason="needs the package transformers, which `make check` installs")
    ids = torch.randint(3, 90, (2, 12), generator=torch.Generator().manual_seed(0))

    def gradients(model):
        with rankscope.edit(model, "lambda_skip=0.5,2,-1", ids):
            output = model(input_ids=ids, use_cache=False) if kind != "Bert" else model(input_ids=ids)
            next(tensors(output)).square().sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    plain, checkpointed = of_transformers(kind, {}), of_transformers(kind, {})
    checkpointed.train()
    for model in (plain, checkpointed):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    checkpointed.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        checkpointed.enable_input_require_grads()
    for a, b in zip(gradients(checkpointed), gradients(plain.train()), strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-5, atol=1e-6)
