"""Worker: the process that measures points for a sweep with `--jobs`; it speaks in pickles with its parent alone."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rankscope.sweeps.jobs import Setup


def main() -> None:
    """Measure the points that come in, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who was interrupted is the parent, and ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a model prints is no answer
    serve(sys.stdin.buffer, answers)


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Read a setup, then points; write a measured point for each.

    Args:
        questions: pickles of the parent.
        answers: where to.
    """
    import torch

    from rankscope.sweeps.measuring import Measuring

    setup: Setup = pickle.load(questions)  # noqa: S301 - of the parent process
    torch.set_num_threads(setup.threads)
    measuring = Measuring(list(setup.batches), setup.load, setup.gathering, setup.options)
    measuring.told = setup.source
    while True:
        try:
            spot = pickle.load(questions)  # noqa: S301 - of the parent process
        except EOFError:
            return
        pickle.dump(measuring(spot), answers)
        answers.flush()


if __name__ == "__main__":
    main()
