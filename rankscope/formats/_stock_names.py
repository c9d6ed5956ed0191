"""The names of a pickle that are torch's own: what torch's restricted reader builds, and the modules of torch.nn.

`rankscope.sources` decides what is loaded, by the classes themselves; here they are told by their names, without torch.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ACTIVATIONS = (
    "celu|celu_|elu|elu_|gelu|glu|hard(sigmoid|swish|tanh)|leaky_relu|log_softmax|logsigmoid|log_sigmoid|mish|relu6?"
    "|selu|sigmoid|silu|soft(max|min|plus|shrink|sign)|tanh|tanhshrink"
)
_STOCK = re.compile(
    "|".join(
        (
            r"torch\.nn\.modules\.\w+\._?[A-Z]\w*",
            rf"torch(\.nn\.functional|\._C\._nn|\._C\._VariableFunctions)?\.({_ACTIVATIONS})",
            r"torch\.nn\.parameter\.(Parameter|Buffer|Uninitialized\w+)",
            r"torch\._(utils|tensor)\._rebuild_\w+",
            r"torch\.(storage\.)?(cuda\.)?(sparse\.)?\w+(Storage|Tensor)",
            r"torch\.(Size|Tensor|device|dtype|_C\.Generator|serialization\._get_layout|_tensor\.Tensor)",
            r"torch\.(u?int|b?float|complex|q?u?int|bits)\d\w*",
            r"torch\.(bool|double|float|half|long|int|short|uint8|cfloat|cdouble|chalf)",
            r"torch\.\w*(per_tensor|per_channel)\w*",
            r"(collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(set|bytearray|complex))",
        )
    )
)

# Nothing that a model is made of lies here: a file that names it wants to act on the machine.
_HARMFUL = re.compile(
    r"(os|posix|nt|sys|subprocess|shutil|socket|ctypes|pty|runpy|importlib|webbrowser)\..*"
    r"|(builtins|__builtin__)\.(exec|eval|compile|open|__import__|input|breakpoint)"
)


def foreign(names: Iterable[str]) -> list[str]:
    """The names that are not torch's own.

    Args:
        names: dotted names, as a pickle gives them.

    Returns:
        Those that torch's restricted reader refuses unless they are allowed, sorted.

    Example:
        >>> foreign(["torch.nn.modules.linear.Linear", "common.Net", "os.system"])
        ['common.Net', 'os.system']
    """
    return sorted(name for name in names if not _STOCK.fullmatch(name))


def is_users(name: str) -> bool:
    """Whether a name may be a class of the user's own, going by its module and its spelling.

    Args:
        name: a dotted name.

    Returns:
        False for the standard library, numpy, torch, and what does not begin with a capital.

    Example:
        >>> [is_users(name) for name in ("common.Net", "os.system", "__main__.Net", "torch.jit.ScriptModule")]
        [True, False, True, False]
    """
    module, _, last = name.rpartition(".")
    top = module.partition(".")[0]
    others = {*sys.stdlib_module_names, *sys.builtin_module_names, "__builtin__", "numpy", "torch"} - {"__main__"}
    parts = [*module.split("."), last]
    return top not in others and last[:1].isupper() and all(part.isidentifier() for part in parts)


def flags(names: Iterable[str]) -> str:
    """The ``--allow`` flags that would let a file's names in.

    Args:
        names: the foreign names of a pickle.

    Returns:
        The flags, or nothing where one of the names cannot be a class of the user's own.

    Example:
        >>> flags(["common.Net", "common.Block"]), flags(["common.Net", "os.system"])
        ("--allow 'common.*'", '')
    """
    names = list(names)
    if not all(is_users(name) for name in names):
        return ""
    tops = sorted({name.partition(".")[0] for name in names})
    return " ".join(f"--allow '{top}.*{'=yourscript.py' if top == '__main__' else ''}'" for top in tops)


def harmful(names: Iterable[str]) -> list[str]:
    """The names that no model needs, since they act on the machine.

    Args:
        names: dotted names.

    Returns:
        Those of the system, of processes and of the network, sorted.

    Example:
        >>> harmful(["common.Net", "posix.system"])
        ['posix.system']
    """
    return sorted(filter(_HARMFUL.fullmatch, names))
