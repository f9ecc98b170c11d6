"""``python -m ndsampler`` and the command ``ndsampler``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the words behind the name of the program; by default those it was started with.
    """
    from ndsampler import cli

    return cli.main(argv)


if __name__ == "__main__":
    sys.exit(main())
