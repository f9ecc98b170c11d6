"""
Write the lowest versions that the requirement files allow, one ``name==version`` a line.

    python .ci/lowest_requirements.py requirements/runtime.txt requirements/headless.txt > lowest.txt
    pip install -c lowest.txt -e ".[headless,tests]"

Needs ``packaging``, which pip's own environments carry.
"""

from __future__ import annotations

import pathlib
import sys

from packaging.requirements import Requirement
from packaging.version import Version


def lowest_versions(text: str) -> dict[str, Version]:
    """Return the greatest lower bound of each package that applies to this interpreter.

    Args:
        text: the content of a requirements file.

    Returns:
        Package names and the version that ``>=`` names; lines whose marker is false are left out.

    Raises:
        ValueError: if a line has no lower bound.
    """
    lowest: dict[str, Version] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        bounds = [Version(spec.version) for spec in requirement.specifier if spec.operator == ">="]
        if not bounds:
            raise ValueError(f"{line!r} has no lower bound; write it as 'name>=version'")
        lowest[requirement.name] = max([*bounds, lowest.get(requirement.name, bounds[0])])
    return lowest


def main(paths: list[str]) -> None:
    """Print the lowest versions of all packages named in the files."""
    text = "\n".join(pathlib.Path(path).read_text(encoding="utf-8") for path in paths)
    for name, version in sorted(lowest_versions(text).items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main(sys.argv[1:])
