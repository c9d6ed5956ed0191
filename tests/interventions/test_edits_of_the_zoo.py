"""Edits of values, as the architectures of the zoo that were built around them."""

import pytest
import torch

import rankscope
from rankscope.zoo import build

SMALL = "depth=3,width=32"
BUILT = {  # edit -> the architecture of the zoo that says the same
    "value_residual=0.3,0.9": f"resformer,{SMALL},variant=constant,lambda_1=0.3,lambda_2=0.9",
    "svformer": f"svformer,{SMALL}",
    "neutreno=0.4": f"neutreno,{SMALL},strength=0.4",
}


@pytest.mark.parametrize("edit", BUILT)
def test_an_edit_is_the_architecture_built_around_it(edit):
    hand, model = build(BUILT[edit]).eval(), build(f"transformer,{SMALL}").eval()
    missing = model.load_state_dict(hand.state_dict(), strict=False).missing_keys
    assert all(name.endswith("value.weight") for name in missing)  # svformer has those of the first block alone
    ids = torch.randint(256, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with rankscope.edit(model, edit, ids):
            edited = model(ids)
        torch.testing.assert_close(edited, hand(ids), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(edited, model(ids), atol=1e-3)
