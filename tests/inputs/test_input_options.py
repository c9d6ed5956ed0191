from __future__ import annotations

from pathlib import Path

import pytest
from input_models import Ids, mlp, source

from rankscope.errors import UsageError
from rankscope.inputs import InputOptions, from_python, gather


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (InputOptions(random=("x=8x4",), text=Path("a.txt")), r"one source, but 2 were given \[RS200\]"),
        (InputOptions(input=Path("a.npz"), inputs="a:b"), r"given  --input, --inputs"),
        (InputOptions(batches=0), r"--batches 0 cannot be used: expected a whole number of at least 1 \[RS201\]"),
        (InputOptions(batch_size=-1), r"--batch-size -1"),
        (InputOptions(max_tokens=0), r"--max-tokens 0"),
        (InputOptions(layout="bdt"), r"--layout bdt cannot be used: expected one of btd, tbd"),
        (InputOptions(mask_sense="hide"), r"--mask-sense hide cannot be used: expected one of keep, drop"),
        (InputOptions(text_field="text"), r"--text-field text cannot be used: expected it together with --text"),
        (InputOptions(tokenizer=Path("dir")), r"--tokenizer dir cannot be used: expected it together with --text"),
        (InputOptions(mask="none", mask_sense="keep"), r"expected no --mask none beside it"),
    ],
)
def test_options_that_cannot_be_used(options: InputOptions, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        gather(source(mlp()), options)


def test_options_are_checked_from_python_too() -> None:
    with pytest.raises(UsageError, match="batch-size 0"):
        from_python(source(Ids()), [], InputOptions(batch_size=0))
