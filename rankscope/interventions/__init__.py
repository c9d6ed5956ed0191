"""Interventions: a torch model runs with edits in force, its code and its state dict untouched. One file an edit.

`edit(model, "lambda_skip=1.5@6..8+no_norm", inputs)` traces one forward pass of the unedited model, turns the edits
into actions at places of that trace, and carries them out in every forward and backward pass inside the context.

How the file of an edit looks: a function under `@intervention(formula=…, paper=…)`, named as the file and as the edit,
with the docstring that every public function has:

    @intervention(formula="x + f(x)  ->  s x + f(x)", paper="arXiv …")
    def scaled(scene: Scene, *, s: Number = 2.0) -> Iterator[AtCall]:
        for add in scene.adds:
            yield on_skip(add, lambda x: s * x)

- Its first parameter is the `Scene`: `scene.layers` are the layers that the selector names (each stack counts its own
  from 1), `scene.adds` the residual adds of these layers, `scene.blocks` their module calls, `scene.values` their
  places of values, `scene.plan` all that was traced; `scene.model` and `scene.batch` may be run once
  more, to try something (inside `undisturbed`). A selector that names no layer is refused before the edit is asked.
- The others are keyword-only, annotated `Number` (a number, or a tensor that may be trained), `Numbers` (a list, see
  `factors`), `int`, `float`, `bool` or `Literal[…]`; one without default must be given. Names, defaults, and the words
  of ``Args:`` are read off the source: no torch is needed to list, complete or refuse them.
- It yields actions: `on_skip` and `on_branch` rewrite an operand of a sum, `on_values` the values of an attention call
  (queries and keys go in too), `at_output` replaces what a block gives; `AtCall` and `AtModule` are the general forms
  (before, instead, after), `AtStart` begins a forward pass, to forget what the last one left. A rewrite that gives None
  leaves the call untouched, bit for bit. `replaced` puts a tensor into nested arguments or outputs.
- No action at all is an error (exit 3); an edit that knows why there is none raises `CaptureError` with the reason.

Order: edits act in the order in which they are written. At one place the operands are rewritten by each in turn, then
the call runs, or the last `instead` in its place, then each changes the result in turn; so the edits
``lambda_skip=2+lambda_skip=3`` are λ = 6. Of nested contexts the inner one acts first. A place that a forward pass does
not reach, or reaches more often than the trace did, is an error: no edit is ever silently left out.
"""

from __future__ import annotations

from rankscope.interventions._actions import (
    Action,
    AtCall,
    AtModule,
    AtStart,
    TorchCall,
    at_output,
    on_branch,
    on_skip,
    on_values,
    replaced,
)
from rankscope.interventions._engine import in_force
from rankscope.interventions._factors import factors
from rankscope.interventions._making import Made, make
from rankscope.interventions._registry import EDITS, Edit, Number, Numbers, as_edits, intervention
from rankscope.interventions._scene import Choice, Scene

__all__ = [
    "EDITS",
    "Action",
    "AtCall",
    "AtModule",
    "AtStart",
    "Choice",
    "Edit",
    "Made",
    "Number",
    "Numbers",
    "Scene",
    "TorchCall",
    "as_edits",
    "at_output",
    "factors",
    "in_force",
    "intervention",
    "make",
    "on_branch",
    "on_skip",
    "on_values",
    "replaced",
]
