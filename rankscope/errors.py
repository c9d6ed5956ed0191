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
        "Two options ask for different things, such as --config and --no-config.",
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
        "Take the key out of the file: trust is given on the command line alone.",
    ),
    "RS111": Entry(
        "the loss does not fit the output",
        "The output holds no floating tensor, or --loss lm was asked of a model whose output is not logits "
        "over the input ids.",
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
    "RS200": Entry(
        "more than one source of inputs",
        "--input, --random, --text and --inputs each name all the inputs of a run.",
        "Keep one of them.",
    ),
    "RS201": Entry(
        "an input option that cannot be used",
        "A value is outside its range, or the option belongs to a source that was not given.",
        "Give a value of the kind that the error names, or leave the option out.",
    ),
    "RS202": Entry(
        "--random not understood",
        "A spec is not of the form NAME=SHAPE[:DTYPE[:LOW..HIGH]], or asks for what cannot be drawn.",
        "Write x=8x128x64 for numbers, ids=8x128:int64:0..255 for token ids.",
    ),
    "RS203": Entry(
        "random whole numbers without a range",
        "The range is that of the embedding the numbers go to, and none was seen to take them.",
        "Give the range: ids=8x128:int64:0..255, both ends included.",
    ),
    "RS204": Entry(
        "inputs not found",
        "The file does not exist, is a folder, or may not be read.",
        "Check the path; it is read from the working directory.",
    ),
    "RS205": Entry(
        "not a file of inputs",
        "The content is no .npy, .npz, .safetensors or .pt, or the file is damaged or cut short.",
        "Save the arrays again with numpy.savez, safetensors or torch.save; give text with --text.",
    ),
    "RS206": Entry(
        "inputs that would run code",
        "The file holds pickled Python objects; reading those can run any code, so it is never done for inputs.",
        "Save plain arrays or tensors, or make the batches in your own code with --inputs file.py:name.",
    ),
    "RS207": Entry(
        "inputs of an unknown kind",
        "A batch is no tensor, tuple, dict or (args, kwargs), or an array holds text, dates or objects.",
        "Give tensors or arrays of numbers.",
    ),
    "RS208": Entry(
        "text not understood",
        "The file is empty or no UTF-8, or a record of a .jsonl file has no text in the named field.",
        "Save as UTF-8, one sequence a line; name the field of records with --text-field.",
    ),
    "RS209": Entry(
        "no tokenizer",
        "No tokenizer came with the model, its vocabulary is too large for bytes, or the tokenizer cannot be loaded.",
        "Give the folder of its tokenizer with --tokenizer; pip install 'rankscope[hf]' where a package is missing.",
    ),
    "RS210": Entry(
        "inputs chosen by rankscope",
        "No inputs were given, so those that came with the model or that it was seen to take are used.",
        "Give your own data with --input, --text or --inputs: random inputs are not like real ones.",
    ),
    "RS211": Entry(
        "no inputs could be inferred",
        "No inputs were given, and the model ran on none of those tried; its own error is quoted.",
        "Give inputs: --random for a quick look, --input, --text or --inputs for real data.",
    ),
    "RS212": Entry(
        "the code of --inputs failed",
        "The module or file could not be imported, or its code raised while it made batches.",
        "Run the callable by itself first; it takes no argument and yields batches.",
    ),
    "RS213": Entry(
        "an unknown argument",
        "The inputs hold a name that forward does not have; often a misspelt mask.",
        "Rename the array to a parameter of forward; the error lists them.",
    ),
    "RS214": Entry(
        "arguments that do not fit",
        "forward takes fewer values, needs others too, or one was given twice.",
        "Give each parameter of forward once; names in a file become keyword arguments.",
    ),
    "RS215": Entry(
        "an argument passed on with **kwargs",
        "forward takes any name, so a misspelt one would bind without an error and do nothing.",
        "Check the name against the documentation of the model.",
    ),
    "RS216": Entry(
        "token ids outside the vocabulary",
        "The text was encoded with another tokenizer, padding is negative, or sequences are longer than the model's "
        "table of positions.",
        "Use the model's own tokenizer, and sequences no longer than it was made for.",
    ),
    "RS217": Entry(
        "numbers where token ids are wanted",
        "The model looks its input up in an embedding, and got floats.",
        "Give whole numbers (int64): --random 'ids=8x128:int64', or save the array as int64.",
    ),
    "RS218": Entry(
        "token ids where numbers are wanted",
        "The model multiplies its input by weights, and got whole numbers, such as images saved as uint8.",
        "Save the array as float32, scaled as in training.",
    ),
    "RS219": Entry(
        "no batch",
        "The iterable or callable gave nothing, or was used up before.",
        "Give a list, a DataLoader, or a callable that makes a new iterator each time.",
    ),
    "RS220": Entry(
        "a mask of unknown sense",
        "Some libraries keep a token where a mask of this name is true, others drop it, and the data do not tell.",
        "Say it with --mask-sense keep or drop; --mask none where it is no padding mask.",
    ),
    "RS221": Entry(
        "a mask that cannot be used",
        "--mask or --mask-sense was given, but there is no mask of (batch, tokens) with two values to be used.",
        "Name an argument of that shape with --mask, or leave both options out.",
    ),
    "RS222": Entry(
        "a mask not read as padding",
        "An argument looks like a mask, but by its name, shape or values it does not mark padding.",
        "If it does mark padding: --mask NAME --mask-sense keep (or drop).",
    ),
    "RS223": Entry(
        "padding without a mask",
        "Sequences begin or end with the pad id, and no mask was given: padding counts as tokens in every number.",
        "Add the attention mask to the inputs.",
    ),
    "RS224": Entry(
        "text cut",
        "Sequences were longer than --max-tokens, or than the model takes.",
        "Raise --max-tokens where the model takes more; split long lines.",
    ),
    "RS225": Entry(
        "the last value taken as the target",
        "Batches of a data set are often (x, y); forward takes one value less, so y is kept for the loss.",
        "Give dicts, such as {'input': x, 'labels': y}, where that is wrong.",
    ),
    "RS226": Entry(
        "inputs not split",
        "Part of the model takes (tokens, batch, width), and whether the inputs are so too could not be seen.",
        "Say it with --layout tbd or btd; then large inputs run in batches of --batch-size.",
    ),
    "RS250": Entry(
        "no batch",
        "The inputs gave no batch at all: an empty file, or an iterator that is used up.",
        "Check the input file; an iterator must give its batches anew each time it is iterated.",
    ),
    # RS3xx model files
    "RS301": Entry(
        "asks to import code",
        "A pickle, or a Hugging Face directory, names code beyond that of torch.nn. Nothing of it was run.",
        "Save the weights alone with torch.save(model.state_dict(), 'weights.pt'), and name the class beside them.",
    ),
    "RS302": Entry(
        "a form that runs code",
        "TorchScript, torch.export, torch.package, DCP and plain pickles run code on load, or take no hooks.",
        "Give the class and its weights: `rankscope probe yourmodule:Net --weights weights.pt`.",
    ),
    "RS303": Entry(
        "no PyTorch model",
        "The content of the file is of another kind, whatever its suffix says: the error names it.",
        "Give the PyTorch model that it was made from; unpack an archive first; arrays are inputs (`--input`).",
    ),
    "RS304": Entry(
        "a training checkpoint",
        "The file wraps the weights together with the state of the training.",
        "Save its `state_dict` part alone, as the error shows, and give that with a factory.",
    ),
    "RS305": Entry(
        "a placeholder instead of the file",
        "git-lfs left its pointer, or the download brought a web page.",
        "`git lfs pull`, or download the file again from its own address.",
    ),
    "RS306": Entry(
        "a directory without a model",
        "There is no config.json, or no weights beside it.",
        "Name the weights file inside it and give the architecture with --arch.",
    ),
    "RS310": Entry(
        "no such file",
        "The path does not exist, or is read from another working directory.",
        "Check the path. A hub name needs the prefix hf:, an architecture the prefix zoo:.",
    ),
    "RS311": Entry(
        "cannot be read",
        "The file may not be read by this user, or is a pipe or a device.",
        "Check its permissions; copy what comes from a pipe into a file first.",
    ),
    "RS312": Entry(
        "truncated or empty",
        "The end of the file is missing: an interrupted download or copy, or a full disk.",
        "Get it again and compare its size; `git lfs pull` if git-lfs tracks it.",
    ),
    "RS313": Entry(
        "damaged",
        "The file is of a known kind, but its content does not hold together.",
        "Get it again, or save it again with the default options of torch.save.",
    ),
    "RS314": Entry(
        "larger than it looks",
        "The file would take far more memory than it has bytes: a packed archive, or tensors that repeat few numbers.",
        "Save an honest checkpoint again from contiguous tensors; do not open one of unknown origin.",
    ),
    "RS315": Entry(
        "not a plain module",
        "The pickled module carries hooks, replaces methods, calls classes on load, or nests without end.",
        "Remove the hooks and save the weights alone with `torch.save(model.state_dict(), 'weights.pt')`.",
    ),
    "RS316": Entry(
        "no state dict",
        "The file holds more than names and tensors: a whole module, a list, or a dict with the weights in it.",
        "Save the weights alone; the error shows the command where it sees them.",
    ),
    "RS320": Entry(
        "weights without an architecture",
        "A state dict or safetensors file holds tensors, and does not say how they are used.",
        "Add `--arch yourmodule:Net`, or probe the Hugging Face directory as a whole.",
    ),
    "RS321": Entry(
        "weights that do not fit",
        "A tensor is missing, unexpected, or of another shape or sort. A layer left random would look healthy.",
        "Add the --strip-prefix that the error proposes, or give the architecture that the weights were saved from.",
    ),
    "RS322": Entry(
        "a prefix that does not fit",
        "No name starts with the text of --strip-prefix, or two names would become one.",
        "Take a prefix from the names that the error lists, with its last dot.",
    ),
    "RS323": Entry(
        "weights without numbers",
        "Some tensors are on the meta device: they have a shape and no content.",
        "Build the model on the CPU, or give its weights with --weights.",
    ),
    "RS330": Entry(
        "module not imported",
        "The Python module or file is missing, or raised while it was imported.",
        "Mend what the error shows; a file is named with its suffix, as in `net.py:Net`.",
    ),
    "RS331": Entry(
        "no such factory",
        "The module has no function or class of that name.",
        "Take one of the names that the error lists.",
    ),
    "RS332": Entry(
        "a factory that needs arguments",
        "rankscope calls a factory without arguments.",
        "Write a function that calls it with yours, and name that.",
    ),
    "RS333": Entry(
        "the factory raised",
        "The user's code failed while it made the model; the error shows where and why.",
        "Run the factory by itself and mend it.",
    ),
    "RS334": Entry(
        "not a factory",
        "The name stands for something else than a function or class that gives an nn.Module.",
        "Give one that returns nn.Module or (nn.Module, example_inputs).",
    ),
    "RS335": Entry(
        "transformers is missing",
        "Hugging Face models are opened by the package transformers, an extra of rankscope.",
        "`pip install 'rankscope[hf]'`.",
    ),
    "RS336": Entry(
        "transformers could not make it",
        "The installed transformers does not know the model, or needs a further package; the error says which.",
        "Install what it asks for, or give the class and the weights file with --arch.",
    ),
    "RS337": Entry(
        "a path out of the directory",
        "A file of the directory names weights elsewhere, by a separator, '..' or an absolute path.",
        "Put the weights beside their index and name them plainly.",
    ),
    "RS338": Entry(
        "an option that does not fit the model",
        "--weights goes with a factory or the zoo; --init-only with what can be made anew.",
        "Leave the option out, or name a factory.",
    ),
    "RS339": Entry(
        "not in the local cache",
        "rankscope downloads nothing, and neither a directory nor the local Hugging Face cache holds the model.",
        "`hf download org/name` first, or give the path of its directory.",
    ),
    "RS340": Entry(
        "what a name was taken for",
        "A bare name is a path that exists, else an alias of the configuration, else a demo checkpoint.",
        "Nothing to do. `./NAME` forces the path, `demo:NAME` the demo.",
    ),
    "RS341": Entry(
        "weights as the factory returned them",
        "rankscope neither loads nor checks the weights that a factory returns; they may be random.",
        "Give trained weights with --weights where the factory makes random ones.",
    ),
    "RS342": Entry(
        "unused tensors in the file",
        "The file holds tensors for which the architecture has no place, such as a head that was left out.",
        "Nothing to do if the architecture is the one you mean.",
    ),
    "RS343": Entry(
        "no model named",
        "The model is neither a module nor the name of one, or an alias leads back to itself.",
        "Give an nn.Module, a path, or one of the forms that `rankscope probe --help` lists.",
    ),
    "RS344": Entry(
        "weights that differ from the file",
        "After loading, some tensors do not hold the numbers that stand under their names in the file.",
        "Check the layers named; another version of transformers may load them.",
    ),
    "RS350": Entry(
        "an architecture's options cannot be read",
        "In zoo:NAME,option=value,… an item has no `=`, stands before any option, or names an option twice.",
        "Write the name, then each option once: zoo:transformer,depth=12,norm=pre. A list goes on after commas.",
    ),
    "RS351": Entry(
        "not a value of this option",
        "An option of an architecture that takes a number was given something else, or more than one.",
        "Give a number of the kind that the error names.",
    ),
    "RS352": Entry(
        "sizes that do not fit together",
        "An architecture cannot be built so: a size below 1, heads that do not divide the width, a wrong length.",
        "Change the option that the error names; nothing was built.",
    ),
    # RS4xx capture
    "RS401": Entry(
        "the forward pass failed",
        "The model raised: inputs of another shape, dtype or range than it takes, or an error of its own.",
        "Give inputs that fit with --input, --random or --inputs; see the traceback with --debug.",
    ),
    "RS402": Entry(
        "the model cannot be watched",
        "The model runs, but raises while its operations are traced: custom kernels that do not accept it, "
        "for instance.",
        "Report it with the model's class; until then measure parts of it through a factory.",
    ),
    "RS403": Entry(
        "no hook fired",
        "The selected modules are never called as modules: children of a traced module, or code that calls "
        "forward itself.",
        "Name layers that run with --layers, or give the class in place of the traced module.",
    ),
    "RS404": Entry(
        "TorchScript",
        "A scripted or traced module runs outside Python: hooks on its parts are accepted and never called.",
        "Give the class that was traced, as yourmodule:Net, with its weights.",
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
        "If the model has skips all the same, they are gates or mixtures of streams; the measures are right "
        "either way.",
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
    "RS501": Entry(
        "random weights",
        "The architecture was made anew: a zoo: model, or --init-only.",
        "Nothing to do if the initialisation is what you study; else give trained weights.",
    ),
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
        "One token's norm is many times the median: an attention sink or a massive activation. Ranks of the "
        "raw tokens see little else.",
        "Read the unit forms, on which the verdict is taken; this is no collapse.",
    ),
    "RS531": Entry(
        "gradients of which loss",
        "Says which loss the gradients are of, and over how many sequences.",
        "Choose another with --loss, more tokens with --grad-tokens.",
    ),
    "RS532": Entry(
        "no gradients",
        "The model cannot be differentiated, or not with this memory; the reason stands in the note. The "
        "rest of the report is whole.",
        "Leave gradients out with --measures forward.",
    ),
    "RS533": Entry(
        "short sequences",
        "Some sequences have fewer than 4 real tokens: one token alone would read as total collapse.",
        "Nothing; they are left out of every number and counted. Give longer sequences if there are many.",
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
    "RS902": Entry(
        "the model's code ended the program",
        "A factory, an input function or a forward pass called sys.exit.",
        "Take the call out, or put it under `if __name__ == '__main__':`.",
    ),
}
