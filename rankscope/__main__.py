"""`python -m rankscope` is the command `rankscope`."""

from __future__ import annotations

import sys

from rankscope.cli import main

sys.exit(main())
