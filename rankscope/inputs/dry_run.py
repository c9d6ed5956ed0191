"""A dry run: one small forward that shows what a model takes, and leaves nothing behind.

Hooks on the modules that first meet the inputs tell which argument is looked up in which embedding, which is multiplied
by weights, and whether a module with ``batch_first=False`` receives the axes as they were given or exchanged.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankscope.inputs.arguments import TARGETS, Parameters, parameters
from rankscope.inputs.unchanged import eager, unchanged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECURRENT = (nn.RNNBase, nn.MultiheadAttention)  # what has a `batch_first` that decides; layers pass theirs down
WEIGHTED = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, *RECURRENT)


@dataclass(frozen=True, slots=True)
class Use:
    """What reached a module: the `name` of the argument (None where it is no argument itself), and the tensor."""

    name: str | None
    where: str
    module: nn.Module
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Lookup(Use):
    """What reached an embedding; `complete`: the whole argument, not part of it.

    An embedding with a forward of its own may do anything with it, and is `sure` of nothing.
    """

    module: nn.Embedding
    complete: bool

    @property
    def rows(self) -> int:
        """How many ids the embedding has."""
        return self.module.num_embeddings

    @property
    def sure(self) -> bool:
        """Whether the tensor is looked up as it is."""
        return type(self.module).forward is nn.Embedding.forward

    @property
    def trouble(self) -> str | None:
        """``dtype`` where there are no whole numbers, ``range`` where one is outside the embedding, else None."""
        if self.tensor.is_floating_point():
            return "dtype"
        if self.tensor.numel() == 0:
            return None
        inside = int(self.tensor.min()) >= 0 and int(self.tensor.max()) < self.rows
        return None if inside else "range"


@dataclass(slots=True)
class DryRun:
    """What was seen: embedding look-ups, the first weighted module, axes, error, calls finished, output.

    `tokens_first`: whether the inputs are (tokens, batch, …); None where a module that takes them so exists, but showed
    neither.
    """

    lookups: list[Lookup] = field(default_factory=list)
    weighted: Use | None = None
    tokens_first: bool | None = None
    error: Exception | None = None
    finished: int = 0
    output: Any = None

    @property
    def wrong(self) -> list[Lookup]:
        """The look-ups that fail."""
        chosen = [] if self.error is None else list(self.embeddings().values())
        return [use for use in self.lookups if use.trouble and (use.sure or any(use is one for one in chosen))]

    @property
    def runs(self) -> bool:
        """Whether nothing went wrong as far as it ran."""
        return self.error is None and not self.wrong

    def embeddings(self) -> dict[str, Lookup]:
        """Where each argument is looked up.

        Returns:
            The name of an argument to its look-up in the smallest embedding that is sure, else to its first one.
        """
        found: dict[str, Lookup] = {}
        for use in self.lookups:
            if use.name is None:
                continue
            other = found.setdefault(use.name, use)
            if use.sure and (not other.sure or use.rows < other.rows):
                found[use.name] = use
        return found


class _Enough(Exception):  # noqa: N818 - a signal, not an error
    """Everything to be seen was seen."""


@contextlib.contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """A forward that leaves no trace: eval mode, no gradients, no fast path, eager; random state and all put back.

    Args:
        model: the model to be run inside.

    Yields:
        Nothing.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(unchanged(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(eager())
        yield


def dry_run(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, whole: bool = False) -> DryRun:
    """Run a model and look at what happens to its arguments; targets that forward does not know are left out.

    Args:
        model: any module.
        args: by position.
        kwargs: by name.
        whole: run to the end, rather than to the first module that shows all there is to see.

    Returns:
        What was seen; an error of the model is part of it, not raised.

    Example:
        >>> seen = dry_run(torch.nn.Embedding(9, 2), (torch.zeros(1, 4, dtype=torch.int64),), {})
        >>> seen.embeddings()["input"].rows
        9
    """
    known = parameters(model)
    device = next((p.device for p in model.parameters() if p.device.type != "meta"), torch.device("cpu"))
    call = _copied((args, {k: v for k, v in kwargs.items() if k in known.names or k not in TARGETS}), device)
    deep = any(_undecided(module) for module in model.modules())
    seen = DryRun(tokens_first=None if deep else False)
    watch = _Watch(seen, known, *call, whole=whole, deep=deep)
    handles = watch.attach(model)
    try:
        with quiet(model):
            seen.output = model(*call[0], **call[1])
    except _Enough:
        pass
    except Exception as error:  # any model may raise anything; the caller decides what it means
        seen.error = error
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _copied(
    call: tuple[tuple[Any, ...], dict[str, Any]], device: torch.device
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments on the model's device, each tensor with a storage of its own, by which it is known again."""
    copied: tuple[tuple[Any, ...], dict[str, Any]] = torch.utils._pytree.tree_map_only(
        Tensor, lambda tensor: tensor.detach().to(device, copy=True), call
    )
    return copied


def _undecided(module: nn.Module) -> bool:
    """Whether a module takes tokens before sequences, so that the axes of the inputs are to be looked at."""
    return isinstance(module, RECURRENT) and not module.batch_first


class _Watch:
    """The hooks of one dry run."""

    def __init__(
        self, seen: DryRun, known: Parameters, args: tuple[Any, ...], kwargs: dict[str, Any], *, whole: bool, deep: bool
    ) -> None:
        self.seen = seen
        self.whole = whole
        self.deep = deep
        named = {name: v for name, v in known.named(args, kwargs).items() if isinstance(v, Tensor)}
        named = {name: tensor for name, tensor in named.items() if not tensor.is_nested}
        self.storages = {tensor.untyped_storage().data_ptr(): name for name, tensor in named.items()}
        self.sizes = {name: tensor.numel() for name, tensor in named.items()}
        self.shape = next((tensor.shape for tensor in named.values() if tensor.ndim >= 2), None)

    def attach(self, model: nn.Module) -> list[Any]:
        """Put a hook before every module that meets inputs, and one after every module that counts it."""
        handles: list[Any] = []
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # refuses hooks
                continue
            handles.append(module.register_forward_hook(self._count))
            if isinstance(module, nn.Embedding):
                handles.append(module.register_forward_pre_hook(self._lookup(name), with_kwargs=True))
            elif isinstance(module, WEIGHTED):
                handles.append(module.register_forward_pre_hook(self._multiply(name), with_kwargs=True))
        return handles

    def _count(self, *_: Any) -> None:
        self.seen.finished += 1

    def _use(self, where: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Use | None:
        tensor = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if tensor is None:
            return None
        return Use(self.storages.get(tensor.untyped_storage().data_ptr()), where, module, tensor)

    def _lookup(self, where: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            use = self._use(where, module, args, kwargs)
            if use is not None and isinstance(module, nn.Embedding):
                complete = use.tensor.numel() == self.sizes.get(use.name or "")
                found = Lookup(use.name, where, module, use.tensor, complete)
                self.seen.lookups.append(found)
                if found.sure and found.trouble:  # on a GPU the look-up itself would end the process
                    raise _Enough

        return hook

    def _multiply(self, where: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            use = self._use(where, module, args, kwargs)
            if self.seen.weighted is None:
                self.seen.weighted = use
            if use and self.seen.tokens_first is None and _undecided(module) and self.shape is not None:
                self.seen.tokens_first = _same_axes(tuple(self.shape[:2]), tuple(use.tensor.shape))
            if not self.whole and (not self.deep or _undecided(module)):
                raise _Enough

        return hook


def _same_axes(given: tuple[int, ...], arrived: tuple[int, ...]) -> bool | None:
    """Whether the first two axes arrived as they were given: True, exchanged: False; None where neither can be said."""
    if len(arrived) != 3:
        return None
    if given == arrived[:2]:
        return True
    return False if given == arrived[1::-1] else None
