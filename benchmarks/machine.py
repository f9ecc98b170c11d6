"""What the rows were measured on: processors, disk, limits, versions and the block cache of GDAL."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

#: Packages whose versions matter.
PACKAGES = ("ndsampler", "numpy", "kwcoco", "kwimage", "opencv-python-headless", "rasterio", "torch")

#: File systems whose files are on another machine.
REMOTE = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3")


def describe(data_dir: Path, command: str) -> dict[str, Any]:
    """What a run was measured on, and how.

    Args:
        data_dir: where its data is.
        command: what was typed, without paths of this machine.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "command": command,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": _memory_gb(),
        "file_system": _file_system(data_dir),
        "open_files": _open_files(),
        **_gdal(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str | None:
    """The name of the first processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _memory_gb() -> int | None:
    with contextlib.suppress(AttributeError, ValueError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    return None


def _file_system(dpath: Path) -> dict[str, Any] | None:
    """The type of the file system of a folder, and whether it is on this machine."""
    path, found = os.path.realpath(dpath), (-1, "")
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mounted, kind = line.split()[:3]
            if Path(path).is_relative_to(mounted) and len(mounted) > found[0]:
                found = (len(mounted), kind)
    return {"type": found[1], "local": found[1] not in REMOTE} if found[1] else None


def _open_files() -> int | None:
    """How many files the process may open."""
    with contextlib.suppress(ImportError):
        import resource

        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None


def _gdal() -> dict[str, Any]:
    """The version of the GDAL that reads, and the size of its block cache as it is in force."""
    with contextlib.suppress(ImportError):
        import rasterio
        from rasterio.env import get_gdal_config

        return {"gdal": rasterio.__gdal_version__, "gdal_cache_bytes": get_gdal_config("GDAL_CACHEMAX")}
    with contextlib.suppress(ImportError):
        from osgeo import gdal

        return {"gdal": gdal.__version__, "gdal_cache_bytes": gdal.GetCacheMax()}
    return {"gdal": None, "gdal_cache_bytes": None}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
