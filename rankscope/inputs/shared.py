"""Shared inputs: batches gathered once with the first model, and given to every other one as it calls them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rankscope.inputs.arguments import Parameters, parameters
from rankscope.inputs.choose import from_python, gather
from rankscope.inputs.fingerprint import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.inputs.options import InputOptions
    from rankscope.records import Batch, Inputs, Source


class SharedInputs:
    """The same batches for every model of a run.

    Args:
        given: from Python, as `rankscope.probe` takes them; None where the options name a source, or none does.
        options: where the inputs come from.
    """

    def __init__(self, given: Any, options: InputOptions) -> None:
        self._given, self._options = given, options
        self._inputs: Inputs | None = None
        self._parameters = Parameters((), (), (), False, False)
        self.sha256 = ""

    def of(self, source: Source) -> Inputs:
        """The batches for one model; the first one's gathers them.

        Args:
            source: the model.

        Returns:
            Its inputs; the batches are kept, since a source that draws anew on each pass would give others to each.
        """
        own = parameters(source.model)
        if self._inputs is not None:
            batches = [renamed(batch, self._parameters, own) for batch in self._inputs.batches]
            found = from_python(source, batches, replace(self._options, batches=None), self._inputs.source)
            return replace(found, seed=self._inputs.seed, notes=())
        options = self._options
        found = gather(source, options) if self._given is None else from_python(source, self._given, options)
        self._inputs, self._parameters = replace(found, batches=tuple(found.batches)), own
        self.sha256 = fingerprint_of(self._inputs.batches)
        return self._inputs


def fingerprint_of(batches: Iterable[Batch]) -> str:
    """The fingerprint of all batches of a run.

    Args:
        batches: in their order.

    Returns:
        64 hexadecimal digits.
    """
    fingerprint = Fingerprint()
    for batch in batches:
        fingerprint.update(batch)
    return fingerprint.hexdigest()


def renamed(batch: Batch, first: Parameters, own: Parameters) -> Batch:
    """A batch with the name of the first argument as the model has it, where it does not know the given one.

    Args:
        batch: a call of the first model.
        first: the parameters of its forward.
        own: those of the model that is to be called.

    Returns:
        The batch, or a copy.
    """
    if not first.positional or not own.positional:
        return batch
    old, new = first.positional[0], own.positional[0]
    if old not in batch.kwargs or old in own.names or new in batch.kwargs:
        return batch
    kwargs = {new if name == old else name: value for name, value in batch.kwargs.items()}
    return replace(batch, kwargs=kwargs)
