"""Attending: values and attention maps go in, inside the hook; one number a sequence, measure and head stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

from rankscope.collection import given
from rankscope.groups import Group, groups, with_float64
from rankscope.spectra import spectrum
from rankscope.spectra.cpu import in_threads, slices, together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from rankscope.collection import Collection
    from rankscope.measures import Request
    from rankscope.records import Layer, Spectrum
    from rankscope.spectra.engine import Method

NO_FIRST = "the values of the first layer could not be read"
Masks = tuple["Tensor | None", "Tensor | None"]


class Maps(Protocol):
    """Attention maps by sequence, each computed when it is asked for."""

    @property
    def bytes_each(self) -> int:
        """What the map of one sequence, all heads, takes in float32."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]: ...


def reduce_values(
    collection: Collection,
    layer: Layer,
    found: Mapping[str, Tensor | None],
    keep: Tensor | None,
    number: int,
    method: Method = "auto",
    at_once: int | None = None,
) -> None:
    """Reduce the values of a layer, all heads side by side and, where asked for, each head by itself.

    Args:
        collection: where samples go.
        layer: the layer.
        found: `value`, `mixed_value` and `first_value`, (batch, heads, tokens, width) each; the last is None where it
            could not be read. A tensor given twice is measured once.
        keep: (batch, tokens), true at real tokens; None where all are.
        number: of the first sequence in the run.
        method: how spectra are computed.
        at_once: the most sequences to work on at a time on a CPU; as many as there are threads where None.
    """
    value = found["value"]
    assert value is not None
    heads, width = value.shape[1], value.shape[3]
    requests = []
    for request in collection.at("value"):
        if reason := _mismatch(request, found):
            collection.fail([request], layer, "undefined", reason, heads=range(heads))
        else:
            requests.append(request)
    names = {"value" if need == "values_spectrum" else need for request in requests for need in request.measure.needs}
    tensors = {id(tensor): tensor for name in sorted(names) if (tensor := found[name]) is not None}
    if not tensors:
        return
    sizes = [tensor.shape[1] * tensor.shape[3] for tensor in tensors.values()]

    def reduce(group: Group) -> None:
        finite = collection.finite(layer, requests, group, value.dtype, heads=range(heads))
        if finite.numbers:
            parts = dict(zip(tensors, torch.split(finite.tokens, sizes, dim=-1), strict=True))
            material = _Values({name: parts[id(found[name])] for name in names}, heads, method, value.dtype)
            whole = Group(finite.tokens[..., : heads * width], finite.numbers)
            collection.collect(layer, requests, whole, value.dtype, material, heads=range(heads))

    def several(some: slice) -> None:
        joined = _side_by_side([with_float64(tensor[some]) for tensor in tensors.values()])
        for group in groups(joined, None if keep is None else keep[some], number + some.start):
            reduce(group)

    each = 8 * value.shape[2] * sum(sizes)
    if value.is_cuda:
        several(slice(0, len(value)))
    elif any("values_spectrum" in request.measure.needs for request in requests):
        in_threads(several, slices(len(value), each, at_once), at_once)
    else:  # sums alone, which torch's own threads share without being woken for it
        whole = together(len(value), each, at_once)
        for start in range(0, len(value), whole):
            several(slice(start, start + whole))


def _side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """All heads of all tensors (batch, heads, tokens, width) in one float64 tensor, written once."""
    sizes = [tensor.shape[1] * tensor.shape[3] for tensor in tensors]
    batch, _, tokens, _ = tensors[0].shape
    joined = tensors[0].new_empty(batch, tokens, sum(sizes), dtype=torch.float64)
    for part, tensor in zip(torch.split(joined, sizes, dim=-1), tensors, strict=True):
        torch.unflatten(part, -1, (tensor.shape[1], tensor.shape[3])).copy_(tensor.transpose(1, 2))
    return joined


class _Values:
    """The values of one group of sequences as a request needs them; each spectrum is solved once."""

    def __init__(self, parts: Mapping[str, Tensor], heads: int, method: Method, dtype: torch.dtype) -> None:
        self._parts, self._heads, self._method, self._dtype = parts, heads, method, dtype
        self._spectra: dict[bool, Spectrum] = {}  # a closure here would be a cycle, and outlive the hook

    def __call__(self, request: Request, need: str) -> Any:
        per_head = request.per_head
        if need != "values_spectrum":
            return self._of(need, per_head)
        if per_head not in self._spectra:
            values = self._of("value", per_head)
            self._spectra[per_head] = spectrum(values, method=self._method, source_dtype=self._dtype)
        return self._spectra[per_head]

    def _of(self, name: str, per_head: bool) -> Tensor:
        """(batch, tokens, width), or (batch, heads, tokens, width of a head)."""
        tensor = self._parts[name]
        return torch.unflatten(tensor, -1, (self._heads, -1)).transpose(1, 2) if per_head else tensor


def _mismatch(request: Request, found: Mapping[str, Tensor | None]) -> str | None:
    """Why a request cannot be had of values of these shapes."""
    value = found["value"]
    assert value is not None
    for name in request.measure.needs:
        other = value if name == "values_spectrum" else found[name]
        if other is None:
            return NO_FIRST
        here, there = _shape(value, request.per_head), _shape(other, request.per_head)
        if here != there:
            return f"the values are {here}, those {'of layer 1' if name == 'first_value' else 'after the mix'} {there}"
    return None


def _shape(values: Tensor, per_head: bool) -> tuple[int, ...]:
    """(tokens, width) with the heads side by side, or (heads, tokens, width)."""
    heads, tokens, width = values.shape[1:]
    return (heads, tokens, width) if per_head else (tokens, heads * width)


def reduce_attention(
    collection: Collection,
    layer: Layer,
    maps: Maps,
    keep: Masks,
    number: int,
    parameter: str | None = None,
) -> None:
    """Reduce the attention maps of a layer, one sequence at a time: the mean over heads, and each head where asked for.

    Args:
        collection: where samples go.
        layer: the layer.
        maps: of each sequence the weights (heads, queries, keys) and where a query may attend (queries, keys).
        keep: (batch, queries) and (batch, keys), true at real tokens; None where all are.
        number: of the first sequence in the run.
        parameter: ``cross`` for cross-attention.
    """
    together = [request for request in collection.at("attention") if not request.per_head]
    apart = [request for request in collection.at("attention") if request.per_head]
    for index in range(len(maps)):
        weights, allowed = _real(*maps[index], [None if mask is None else mask[index] for mask in keep])
        heads = range(len(weights))
        # Summed in place, head by head: a float64 copy of all heads would be many times the map.
        mean = torch.zeros(weights.shape[1:], dtype=torch.float64, device=weights.device)
        for head in heads:
            mean += weights[head]
        mean /= len(weights)
        group = Group(mean.unsqueeze(0), [number + index])
        if not collection.finite(layer, [*together, *apart], group, weights.dtype, parameter, heads).numbers:
            continue
        whole = given(attention=group.tokens, allowed=allowed.unsqueeze(0))
        collection.collect(layer, together, group, weights.dtype, whole, parameter)
        for head in heads if apart else ():
            one = given(attention=weights[head].double()[None, None], allowed=allowed[None, None])
            collection.collect(layer, apart, group, weights.dtype, one, parameter, heads=[head])


def _real(weights: Tensor, allowed: Tensor, keep: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    """A map without the queries and keys that are padding."""
    weights, allowed = (
        with_float64(weights.detach()),
        allowed.to("cpu" if weights.device.type == "mps" else weights.device),
    )
    for axis, mask in enumerate(keep):
        if mask is not None:
            at = mask.nonzero().flatten().to(weights.device)
            weights, allowed = weights.index_select(axis + 1, at), allowed.index_select(axis, at)
    return weights, allowed
