"""λ-skip on every way to write a residual add: as the same change made in the text of the model."""

import textwrap

import pytest
import torch
from torch import nn

import rankscope

WIDTH, LAM = 16, 0.35

# The lines of a block's forward; S(x) stands at the skip: x as it is, or L * x in the twin. `f` is the branch of `x`.
FORMS = {
    "x + f": "return S(x) + self.f(x)",
    "f + x": "return self.f(x) + S(x)",
    "torch.add": "return torch.add(S(x), self.f(x))",
    "by keyword": "return torch.add(input=S(x), other=self.f(x))",
    "by keyword, the skip second": "return torch.add(other=S(x), input=self.f(x))",
    "method": "return S(x).add(other=self.f(x))",
    "alpha on the skip": "return torch.add(self.f(x), S(x), alpha=0.5)",
    "alpha on the branch": "return torch.add(S(x), self.f(x), alpha=0.5)",
    "difference": "return S(x) - self.f(x)",
    "torch.sub": "return torch.sub(S(x), self.f(x))",
    "lerp": "return torch.lerp(S(x), self.f(x), 0.3)",
    "lerp by keyword": "return torch.lerp(S(x), end=self.f(x), weight=0.3)",
    "addcmul": "return torch.addcmul(S(x), self.f(x), self.gain)",
    "index_add": "return torch.index_add(S(x), 1, torch.arange(x.shape[1]), self.f(x))",
    "addmm": "h = self.inner(x).flatten(0, 1)\nreturn torch.addmm(S(x).flatten(0, 1), h, self.out).view_as(x)",
    "baddbmm": "return torch.baddbmm(S(x), self.inner(x), self.out.expand(len(x), -1, -1))",
    "sum of a list": "return sum([S(x), self.f(x)])",
    "clone": "y = x.clone()\nreturn S(y) + self.f(x)",
    "cast": "y = x.double()\nreturn (S(y) + self.f(x).double()).to(x.dtype)",
    "flattened": "y = x.reshape(-1, x.shape[-1])\nreturn (S(y) + self.f(y)).view(x.shape)",
    "scaled by a number": "return S(2 * x) + self.f(x)",
    "scaled by a parameter": "return S(self.gain * x) + self.f(x)",
    "dropout of the branch": "return S(x) + nn.functional.dropout(self.f(x), 0.1, self.training)",
    "broadcast branch": "return S(x) + self.f(x).mean(1, keepdim=True)",
    "post-norm": "return self.norm(S(x) + self.f(x))",
    "into the branch": "y = self.f(x)\ny += S(x)\nreturn y",
    "into the branch, method": "return self.f(x).add_(S(x))",
    "half of the features": "a, b = x.chunk(2, -1)\nreturn torch.cat([S(a) + self.narrow(b), b], -1)",
    "highway": "t = self.norm(x).sigmoid()\nreturn S((1 - t) * x) + t * self.f(x)",
    "two in a row": "x = S(x) + self.f(x)\nreturn S(x) + self.g(x)",
}
# Here the very tensor is written into, so that all who hold it see the sum: by hand, `x *= L` before it.
IN_PLACE = {
    "x += f": "x = x.clone()\nf = self.f(x.clone())\nH(x)\nx += f\nreturn x",
    "x.add_(f)": "x = x.clone()\nf = self.f(x.clone())\nH(x)\nx.add_(f)\nreturn x",
    "x.add_(other=f)": "x = x.clone()\nf = self.f(x.clone())\nH(x)\nx.add_(other=f)\nreturn x",
    "x -= f": "x = x.clone()\nf = self.f(x.clone())\nH(x)\nx -= f\nreturn x",
    "held by another name": "x = x.clone()\nheld = x\nf = self.f(x.clone())\nH(x)\nx += f\nreturn held",
    "flattened": "x = x.clone()\ny = x.view(-1, x.shape[-1])\nf = self.f(y.clone())\nH(y)\ny += f\nreturn x",
    "a slice": "x = x.clone()\nf = self.f(x.clone())[:, 1:]\nH(x[:, 1:])\nx[:, 1:] += f\nreturn x",
    "lerp_": "x = x.clone()\nf = self.f(x.clone())\nH(x)\nreturn x.lerp_(f, 0.3)",
    "index_add_": "x = x.clone()\nf = self.f(x.clone())\nH(x)\nreturn x.index_add_(1, torch.arange(x.shape[1]), f)",
}


def block(text, lam):
    """A class of blocks whose forward is this text, with `lam` at its skips."""
    told = text.replace("H(x)\n", f"x *= {lam}\n").replace("H(y)\n", f"y *= {lam}\n")
    told = told.replace("H(x[:, 1:])\n", f"x[:, 1:] *= {lam}\n")
    if lam is None:
        told = "\n".join(line for line in text.split("\n") if not line.startswith("H("))
    scope = {"torch": torch, "nn": nn, "S": (lambda x: x) if lam is None else (lambda x: lam * x)}
    exec("def forward(self, x):\n" + textwrap.indent(told, "    "), scope)

    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer, self.narrow = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(8, 8)
            self.norm, self.gain = nn.LayerNorm(16), nn.Parameter(torch.rand(16) + 0.5)
            self.out = nn.Parameter(torch.randn(16, 16) / 4)

        def f(self, x):
            return self.outer(torch.tanh(self.inner(self.norm(x))))

        def g(self, x):
            return torch.tanh(self.inner(x)) @ self.out

        forward = scope["forward"]

    return Written


class Stack(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed, self.blocks = nn.Linear(16, 16), nn.ModuleList(kind() for _ in range(3))

    def forward(self, x):
        x = self.embed(x)
        for each in self.blocks:
            x = each(x)
        return x


def stack(text, lam=None):
    torch.manual_seed(0)
    return Stack(block(text, lam)).eval()


def passes(model, x):
    """Output, and the gradients of the inputs and of the weights."""
    x = x.clone().requires_grad_()
    y = model(x)
    used = list(model.parameters())
    return y, torch.autograd.grad(y.square().sum(), [x, *used], allow_unused=True)


def near(a, b):
    return (a - b).norm() <= 1e-5 * b.norm()


def inputs():
    return torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(1))


CASES = [pytest.param(text, id=name) for name, text in FORMS.items()]
CASES += [pytest.param(text, id=f"in place: {name}") for name, text in IN_PLACE.items()]


@pytest.mark.parametrize("text", CASES)
def test_lambda_is_as_in_the_text(text):
    model, twin, x = stack(text), stack(text, LAM), inputs()
    assert not near(model(x), twin(x))  # the change is seen
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with rankscope.edit(model, f"lambda_skip={LAM}", x[:1, :5]) as told:
        output, grads = passes(model, x)
    adds = 2 if text.startswith("x = S(x)") else 1
    assert told == (f"lambda_skip=0.35: {3 * adds} residual adds in 3 layers",)
    expected, own = passes(twin, x)
    assert near(output, expected)
    assert all((a is None) == (b is None) and (a is None or near(a, b)) for a, b in zip(grads, own, strict=True))
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with torch.no_grad(), rankscope.edit(model, "no_skip", x):
        assert near(model(x), stack(text, 0.0)(x))


@pytest.mark.parametrize("text", CASES)
def test_one_is_bit_for_bit(text):
    model, x = stack(text), inputs()
    with rankscope.edit(model, "lambda_skip=1", x):
        output, grads = passes(model, x)
    expected, own = passes(model, x)
    assert torch.equal(output, expected)
    assert all(a is b or torch.equal(a, b) for a, b in zip(grads, own, strict=True))


@pytest.mark.parametrize("text", CASES)
def test_a_learned_lambda_gets_its_gradient(text):
    from rankscope.interventions.lambda_skip import lambda_skip

    model, x, lam = stack(text), inputs(), nn.Parameter(torch.tensor(LAM, dtype=torch.float64))
    with rankscope.edit(model.double(), lambda_skip(lam=lam), x.double()):
        model(x.double()).square().sum().backward()

    def loss(value):
        with torch.no_grad():
            return stack(text, value).double()(x.double()).square().sum()

    step = 1e-6
    slope = (loss(LAM + step) - loss(LAM - step)) / (2 * step)
    assert lam.grad == pytest.approx(float(slope), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("lam", [1.0, 0.35])
def test_out(lam):
    """`out=` takes no gradients."""
    text = "y = torch.empty_like(x)\nreturn torch.add(S(x), self.f(x), out=y)"
    model, x = stack(text), inputs()
    with torch.no_grad(), rankscope.edit(model, f"lambda_skip={lam}", x):
        assert near(model(x), stack(text, lam)(x))


@pytest.mark.parametrize("text", [FORMS["torch.add"], FORMS["sum of a list"], FORMS["method"], FORMS["lerp"]])
def test_a_place_stays_where_it_is_once_python_has_warmed_up(text):
    """Python 3.11 calls builtins from another instruction once a function has run some times."""
    model, twin, x = stack(text), stack(text, LAM), inputs()
    with torch.no_grad(), rankscope.edit(model, f"lambda_skip={LAM}", x):
        for _ in range(40):
            output = model(x)
    assert near(output, twin(x))
    with torch.no_grad(), rankscope.edit(model, f"lambda_skip={LAM}", x):
        assert near(model(x), output)
