"""``python -m ndsampler`` and the command ``ndsampler``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: arguments without the name of the program; by default those of this process.
    """
    from ndsampler.cli.main import main as run_command

    return run_command(argv)


if __name__ == "__main__":
    sys.exit(main())
