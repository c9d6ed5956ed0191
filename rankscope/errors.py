"""Errors: what was attempted, what is wrong in the user's terms, and the safe next step first.

```
RankscopeError            exit 70   a bug, unless a subclass says otherwise
├── UsageError            exit 2    the command line, an option or the configuration
└── CannotMeasure         exit 3    nothing could be measured
    ├── LoadError         the model: a file refused, wrong keys, a factory that raised
    ├── InputError        the inputs: unreadable, out of range, bound to no parameter
    └── CaptureError      the forward pass: it raised, no hook fired, no layer matched
RankscopeWarning          something the user should know; the numbers are right
└── DegradedWarning       something could not be had; the report says what
```

Codes are stable: RS1xx usage, RS2xx inputs, RS3xx model files, RS4xx capture, RS5xx notes about the numbers,
RS6xx output, RS9xx internal. `CATALOGUE` holds one entry for each; `docs/errors.md` is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code means: its title, what usually causes it, and what to do."""

    title: str
    cause: str
    remedy: str


class RankscopeError(Exception):
    """An error with a stable code, the facts beside it, and remedies with the safest first.

    Args:
        code: a key of `CATALOGUE`, such as ``"RS301"``.
        headline: one line: what was attempted and what is wrong.
        details: pairs (label, text) of facts.
        remedies: pairs (label, text) of next steps, the safest first, the risky one last.

    Example:
        >>> print(LoadError("RS310", "model.pt was not loaded: no such file"))
        model.pt was not loaded: no such file [RS310]
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        code: str,
        headline: str,
        *,
        details: Iterable[tuple[str, str]] = (),
        remedies: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(headline)
        self.code = code
        self.headline = headline
        self.details = tuple(details)
        self.remedies = tuple(remedies)

    def __str__(self) -> str:
        lines = [f"{self.headline} [{self.code}]"]
        lines += [f"  {label}  {text}" for label, text in self.details]
        lines += [f"  {label}: {text}" for label, text in self.remedies]
        return "\n".join(lines)


class UsageError(RankscopeError):
    """The command line, an option or the configuration is wrong; nothing was run."""

    exit_code = 2


class CannotMeasure(RankscopeError):  # noqa: N818 - reads as the sentence it is
    """Nothing could be measured."""

    exit_code = 3


class LoadError(CannotMeasure):
    """The model could not be had."""


class InputError(CannotMeasure):
    """The inputs could not be had, or do not fit the model."""


class CaptureError(CannotMeasure):
    """The forward pass failed, or showed nothing to measure."""


class RankscopeWarning(UserWarning):
    """Something the user should know; the numbers are right."""


class DegradedWarning(RankscopeWarning):
    """Something could not be had; the report says what and why."""


CATALOGUE: dict[str, Entry] = {
    # RS1xx usage and configuration
    "RS101": Entry(
        "unknown name",
        "A measure, layer, option value or architecture is misspelt.",
        "Take one of the names that the error lists.",
    ),
    "RS102": Entry(
        "the command line cannot be read",
        "An option is unknown, lacks its value, or has one of the wrong kind.",
        "`rankscope COMMAND --help` lists the options.",
    ),
    "RS103": Entry(
        "options that do not go together",
        "Two options ask for different things, such as two sources of inputs.",
        "Leave one of them out.",
    ),
    "RS104": Entry(
        "the configuration cannot be read",
        "The file is missing or is not valid TOML.",
        "Mend the file, or run with --no-config.",
    ),
    "RS105": Entry(
        "a wrong entry in the configuration",
        "A key is unknown, or its value is of another kind than expected.",
        "Correct the key; the error names the nearest known one.",
    ),
    "RS106": Entry(
        "trust asked for in a configuration file",
        "A file in a repository must not decide that code is run on loading a model.",
        "Give --allow or --trust on the command line.",
    ),
    "RS111": Entry(
        "the loss does not fit the output",
        "The output holds no floating tensor, or --loss lm was asked of a model whose output is not logits over the input ids.",
        "Leave --loss out, or take --loss cotangent, which fits any output.",
    ),
    "RS112": Entry(
        "the loss has no targets",
        "--loss ce and --loss mse compare the output with targets, and none are among the inputs.",
        "Add an array named labels, targets or y to the input file, or leave --loss out.",
    ),
    "RS113": Entry(
        "no such device",
        "The device named by --device is not there, or its driver does not answer.",
        "Leave --device out, or give --device cpu.",
    ),
    "RS114": Entry(
        "the loss could not be loaded",
        "--loss names a module or function that cannot be imported.",
        "Give package.module:function, a function of (output, batch) that returns a scalar tensor.",
    ),
    # RS2xx inputs
    "RS250": Entry(
        "no batch",
        "The inputs gave no batch at all: an empty file, or an iterator that is used up.",
        "Check the input file; an iterator must give its batches anew each time it is iterated.",
    ),
    # RS3xx model files
    "RS310": Entry(
        "no such file",
        "The path does not exist, or is read from another working directory.",
        "Check the path. A hub name needs the prefix hf:, an architecture the prefix zoo:.",
    ),
    # RS4xx capture
    "RS401": Entry(
        "the forward pass failed",
        "The model raised: inputs of another shape, dtype or range than it takes, or an error of its own.",
        "Give inputs that fit with --input, --random or --inputs; see the traceback with --debug.",
    ),
    "RS402": Entry(
        "the model cannot be watched",
        "The model runs, but raises while its operations are traced: custom kernels that do not accept it, for instance.",
        "Report it with the model's class; until then measure parts of it through a factory.",
    ),
    "RS403": Entry(
        "no hook fired",
        "The selected modules are never called as modules: children of a traced module, or code that calls forward itself.",
        "Name layers that run with --layers, or give the class in place of the traced module.",
    ),
    "RS420": Entry(
        "no stack of repeated blocks",
        "The modules of the model do not repeat; this is usual for an MLP, an LSTM or a model of one block.",
        "Nothing, if that is the model. Else name its layers: --layers 'GLOB'.",
    ),
    "RS421": Entry(
        "no layer is left",
        "All layers were left out by --skip-layers, or the model calls no module with a floating output.",
        "Choose layers with --layers; '*' takes every module that runs.",
    ),
    "RS422": Entry(
        "the pattern matches no module",
        "A glob given to --layers is misspelt, or has a prefix that this model does not have.",
        "Take the names that the error lists; `*` matches any text, dots included.",
    ),
    "RS423": Entry(
        "no matched module ran",
        "The pattern names containers, which are never called, or modules that this input does not use.",
        "Name what the containers hold, such as 'layers.*' in place of 'layers'.",
    ),
    "RS424": Entry(
        "no residual add",
        "The blocks of a stack hold no sum of their input and their branch that was recognised.",
        "If the model has skips all the same, they are gates or mixtures of streams; the measures are right either way.",
    ),
    "RS431": Entry(
        "no singular values",
        "The eigenvalue solver and the SVD both failed on a finite matrix: a broken BLAS, LAPACK or CUDA driver.",
        "Measure on the CPU with `--device cpu`; where that fails too, reinstall numpy and torch.",
    ),
    "RS440": Entry(
        "no number could be had",
        "Every row is undefined or skipped: too few tokens, numbers that are not finite, nothing to measure.",
        "The table and the report give the reason beside each row; give longer inputs or other measures.",
    ),
    # RS5xx notes about the numbers
    "RS510": Entry(
        "limits of the verdict",
        "A note, no fault: under which limits a stack is called collapsed or thinning.",
        "The limits are choices of this project. Judge by a recorded baseline or a requirement of your own.",
    ),
    "RS511": Entry(
        "tokens share a direction, their differences are rich",
        "A large mean token: cosines are near 1, but what is left after centring spreads over many directions.",
        "Look at the centred ranks beside the uncentred ones before calling it collapse.",
    ),
    "RS530": Entry(
        "one huge token",
        "One token's norm is many times the median: an attention sink or a massive activation. Ranks of the raw tokens see little else.",
        "Read the unit forms, on which the verdict is taken; this is no collapse.",
    ),
    "RS531": Entry(
        "gradients of which loss",
        "Says which loss the gradients are of, and over how many sequences.",
        "Choose another with --loss, more tokens with --grad-tokens.",
    ),
    "RS532": Entry(
        "no gradients",
        "The model cannot be differentiated, or not with this memory; the reason stands in the note. The rest of the report is whole.",
        "Leave gradients out with --measures forward.",
    ),
    # RS6xx output
    "RS601": Entry(
        "an output cannot be written",
        "The folder is missing or read-only, the disk is full, or the path is a folder.",
        "Create the folder or name another path. Nothing was left half-written.",
    ),
    "RS602": Entry(
        "not a report",
        "The file is no rankscope report, or was cut short.",
        "Give a file that `rankscope probe … -o report.json` wrote; measure again if it was cut.",
    ),
    "RS603": Entry(
        "another schema version",
        "The report was written by a version of rankscope with another report schema.",
        "Measure again with this version, or read it with the version that its `rankscope` field names.",
    ),
    "RS604": Entry(
        "unknown output format",
        "The suffix of an output file names no format.",
        "Use one of the suffixes that the error lists, or give --format.",
    ),
    "RS605": Entry(
        "a report cannot be read",
        "The file is missing, is a folder, or may not be read.",
        "Check the path.",
    ),
    # RS9xx internal
    "RS900": Entry(
        "a bug in rankscope",
        "Something happened that the program did not foresee.",
        "Run again with --debug and report what it prints.",
    ),
    "RS901": Entry(
        "out of memory",
        "The model, its inputs or a spectrum do not fit in memory.",
        "Give fewer or shorter sequences (--batch-size, --max-tokens), or measure fewer layers (--layers).",
    ),
}
