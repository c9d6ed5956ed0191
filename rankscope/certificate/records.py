"""What a certificate holds: frozen records, plain enough for every output format. No torch is imported here.

A `Certificate` has a `Stack` for each stack of blocks, that one a `Sequence` for each sequence of the inputs, the worst
first, and that one a `Step` for each block. Names of layers are as the models have them: untrusted text.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankscope.plain import finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from rankscope.records import Note

SCHEMA = "rankscope.certificate/1"

Status = Literal["holds", "fails", "not applicable", "undefined"]
Norm = Literal["none", "row", "other"]


@dataclass(frozen=True, slots=True)
class Step:
    """One block and one sequence: Y = Y(k−1) goes in, Y' = Y(k) comes out, λ is the factor of the skip around it.

    `adds` counts its residual adds and `norm` says what follows the last of them: nothing, a scaling of rows to unit
    norm, or something else. `mixing_norm` is ‖M‖_F and `value_norm` ‖C_V‖_2, of several groups as in
    `certificate.theorem`; `delta`, `x` and `loss` = √N·ε(x) belong to the additive certificate, and `bound` is what it
    leaves of mu(Y(0)) here; `rho`, `cosine` and the ends of mu and mu_bar to the seminorm certificate, which is about
    λY + F, the output of the block where `norm` is ``none``, else what its norm is given, and of several adds with
    norms between of the one that keeps least; so is `lam`. `kept` is mu(λY + F)/mu(Y).

    `lambda_…`: the least |λ| of this block alone with which a certificate keeps the chosen fraction of mu(Y). Where a
    number is None, `no_matrices`, `no_values`, `no_additive` or `no_seminorm` says why. `form` tells whether F was
    seen to be Σ_g M_g Y C_g: None where there were no M and C_V to see it by, or rounding beside λY hides F.
    """

    index: int
    layer: str
    type: str
    mu_before: float | None = None
    mu: float | None = None
    mu_bar: float | None = None
    adds: int = 0
    lam: float | None = None
    norm: Norm | None = None
    form: bool | None = None
    mixing_norm: float | None = None
    value_norm: float | None = None
    condition: float | None = None
    delta: float | None = None
    x: float | None = None
    loss: float | None = None
    bound: float | None = None
    rho: float | None = None
    cosine: float | None = None
    kept: float | None = None
    mu_low: float | None = None
    mu_high: float | None = None
    mu_bar_low: float | None = None
    mu_bar_high: float | None = None
    lambda_theorem: float | None = None
    lambda_additive: float | None = None
    lambda_seminorm: float | None = None
    no_matrices: str | None = None
    no_values: str | None = None
    no_additive: str | None = None
    no_seminorm: str | None = None


@dataclass(frozen=True, slots=True)
class Theorem:
    """Theorem 4.1 on one sequence: C_M and S over all layers, the least |λ|, λ² − a(S·C_M + |λ|)², b and mu(Y(0))².

    It `holds`, and mu(Y(K))² ≥ a^K mu(Y(0))² with it; or one of its hypotheses `fails`; or it is ``not applicable``:
    the model has not its form, or b is out of reach, above N, which no input with unit rows can have.
    """

    status: Status
    reason: str | None = None
    lam: float | None = None
    mixing_norm: float | None = None
    value_norm: float | None = None
    condition: float | None = None
    b: float | None = None
    mu_squared: float | None = None
    smallest_lambda: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured certificate on one sequence: mu(Y(K)) ≥ `bound`, `retained` of mu(Y(0)).

    It `holds` where that is at least the chosen fraction, once for each layer; else it `fails`. The seminorm
    certificate is taken block by block, with the direction of F as measured; its `bound` is what is left whichever way
    F points, None where that is nothing. Where it holds and that is less than is asked for, `reason` says so.
    """

    status: Status
    reason: str | None = None
    bound: float | None = None
    retained: float | None = None
    smallest_lambda: float | None = None


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence through one stack: `sequence` is its number in the run, from 0, `tokens` its real tokens."""

    sequence: int
    tokens: int
    width: int
    mu_first: float | None
    mu_last: float | None
    theorem: Theorem
    additive: Measured
    seminorm: Measured
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block: `lambdas` are what it says of its own λ and value mixes, `matrices` where its M was taken from."""

    index: int
    layer: str
    type: str
    lambdas: Mapping[str, float] = field(default_factory=dict)
    matrices: str | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack of blocks; the first of `sequences` is the worst, and what the sentence is about."""

    stack: str
    sentence: str
    blocks: tuple[Block, ...]
    sequences: tuple[Sequence, ...]

    @property
    def worst(self) -> Sequence:
        """The sequence of which least is certified."""
        return self.sequences[0]


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """What the λ-skip theory guarantees for a model on its inputs; `retain` = √a is what each block is to keep."""

    model: Mapping[str, Any]
    retain: float
    a: float
    stacks: tuple[Stack, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    created: str = ""
    rankscope: str = ""
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain data in the order of its published schema; numbers that are not finite become null.

        Returns:
            Nested dicts, lists, strings and finite numbers.
        """
        data: dict[str, Any] = finite(dataclasses.asdict(self))
        first = ("schema", "rankscope", "created", "model", "inputs", "environment", "retain", "a")
        return {name: data[name] for name in first} | data

    def lines(self) -> list[dict[str, Any]]:
        """The long table: a line for each sequence and block, the worst sequence of each stack first.

        Returns:
            The fields of `Step` after stack, sequence and tokens.
        """
        return [
            {"stack": stack.stack, "sequence": each.sequence, "tokens": each.tokens, **dataclasses.asdict(step)}
            for stack in self.stacks
            for each in stack.sequences
            for step in each.steps
        ]

    def to_frame(self) -> pd.DataFrame:
        """The long table.

        Returns:
            A DataFrame of `lines`.
        """
        import pandas as pd

        return pd.DataFrame(self.lines(), columns=list(COLUMNS))

    def save(self, path: str | Path) -> None:
        """Write the certificate; the suffix chooses the format. The file appears whole or not at all.

        Args:
            path: a file such as ``certificate.json``, ``.csv``, ``.md`` or ``.html``.
        """
        from rankscope.renderers import CERTIFICATES, save_all

        save_all(self, [Path(path)], of=CERTIFICATES)

    def __repr__(self) -> str:
        told = "; ".join(f"{stack.stack}: {stack.sentence}" for stack in self.stacks)
        return f"<Certificate {self.model.get('spec')!r}: {told}>"


COLUMNS = ("stack", "sequence", "tokens", *(f.name for f in dataclasses.fields(Step)))
