"""
Detects the format of a file by its first bytes, and chooses which GDAL drivers may open it.

By default, GDAL tries all of its drivers. Some of them follow references in a file to other files or to hosts
on the network, or run code that the file contains. This library therefore allows only drivers that read
pixels from local files, and for a file of a known format only the drivers of that format.

References:
    https://gdal.org/en/stable/drivers/raster/index.html
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from stat import S_ISREG

from ndsampler.backends.formats.png_check import SIGNATURE as PNG_SIGNATURE
from ndsampler.errors import MissingSourceError, SourceError
from ndsampler.utils.logs import get_logger

logger = get_logger(__name__)

#: Number of bytes at the start of a file from which its format is detected.
HEAD_BYTES = 1024

#: Maximum number of files for which a logged mismatch is remembered.
MAX_WARNED = 10_000

#: Drivers of formats without a known signature. Each reads only local files of its own format, and runs no
#: code from a file. GDAL ignores the names of drivers that it lacks.
LOCAL_DRIVERS = (
    *("HFA", "ENVI", "EHdr", "GenBin", "ISCE", "netCDF", "HDF5", "HDF5Image", "HDF4", "HDF4Image"),
    *("BAG", "S102", "S104", "S111", "GRIB", "FITS", "FIT", "SAR_CEOS", "CEOS", "JAXAPALSAR", "GFF"),
    *("ELAS", "AIG", "AAIGrid", "GRASSASCIIGrid", "ISG", "SDTS", "DTED", "JDEM", "GIF", "BIGGIF"),
    *("ESAT", "BSB", "XPM", "BMP", "AirSAR", "PCIDSK", "PCRaster", "ILWIS", "SGI", "SRTMHGT"),
    *("Leveller", "Terragen", "ISIS3", "ISIS2", "PDS", "VICAR", "ERS", "L1B", "RMF", "MSGN", "RST"),
    *("GSAG", "GSBG", "GS7BG", "COSAR", "COASP", "R", "WEBP", "CALS", "PNM", "DOQ1", "DOQ2", "PAux"),
    *("MFF", "MFF2", "GSC", "FAST", "BT", "LAN", "CPG", "NDF", "EIR", "DIPEx", "LCP", "GTX", "LOSLAS"),
    *("NTv2", "CTable2", "ACE2", "SNODAS", "KRO", "ROI_PAC", "RRASTER", "BYN", "NOAA_B", "NSIDCbin"),
    *("RIK", "USGSDEM", "GXF", "NWT_GRD", "NWT_GRC", "ADRG", "SRP", "BLX", "SAGA", "XYZ", "HF2", "CTG"),
    *("ZMap", "NGSGEOID", "IRIS", "SIGDEM", "TGA", "RPFTOC", "JPEG", "JPEGXL", "EXR", "DDS", "KTX2"),
    *("BASISU"),
)


@dataclass(frozen=True)
class Content:
    """A format that is recognized by the first bytes of a file."""

    name: str
    """Name of the format in messages."""
    drivers: tuple[str, ...] = ()
    """The GDAL drivers that read it; empty for text files and for formats that GDAL does not read."""
    endings: tuple[str, ...] = ()
    """The file name extensions of the format."""
    is_whole: bool = False
    """Whether OpenCV decodes it as a whole image."""
    is_text: bool = False
    """Whether it is text, which may refer to other files."""
    is_certain: bool = True
    """Whether its signature is too long to occur in raw pixels by chance."""


TIFF = Content("TIFF", ("GTiff",), (".tif", ".tiff", ".ptif", ".gtiff"))
JPEG2000 = Content("JPEG 2000", ("JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID"), (".jp2", ".j2k"))
NITF = Content("NITF", ("NITF", "RPFTOC"), (".ntf", ".nitf"))
ERDAS = Content("Erdas Imagine", ("HFA",))
PNG = Content("PNG", ("PNG",), (".png", ".apng"), is_whole=True)
GIF = Content("GIF", ("GIF", "BIGGIF"), (".gif",), is_whole=True)
JPEG = Content("JPEG", ("JPEG",), (".jpg", ".jpeg", ".jpe", ".jfif"), is_whole=True, is_certain=False)
BMP = Content("BMP", ("BMP",), (".bmp", ".dib"), is_whole=True, is_certain=False)
WEBP = Content("WebP", ("WEBP",), (".webp",), is_whole=True)
AVIF = Content("AVIF", ("AVIF",), (".avif",), is_whole=True)
NETPBM = Content(
    "netpbm or PFM image",
    ("PNM",),
    (".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".pfm"),
    is_whole=True,
    is_certain=False,
)
SUN = Content("Sun raster", (), (".ras", ".sr"), is_whole=True)
RADIANCE = Content("Radiance image", (), (".hdr",), is_whole=True)
VRT = Content("VRT", ("VRT",), (".vrt",), is_text=True)
XML = Content("XML", is_text=True)
JSON = Content("JSON", is_text=True)
TEXT = Content("text", LOCAL_DRIVERS, is_text=True)

#: Signatures at the start of files, and the format that each identifies.
SIGNATURES = (
    *((magic, TIFF) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((magic, JPEG2000) for magic in (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    *((magic, NITF) for magic in (b"NITF0", b"NSIF0")),
    (b"EHFA_HEADER_TAG", ERDAS),
    (PNG_SIGNATURE, PNG),
    *((magic, GIF) for magic in (b"GIF87a", b"GIF89a")),
    (b"\xff\xd8\xff", JPEG),
    (b"BM", BMP),
    (b"\x59\xa6\x6a\x95", SUN),
    *((magic, RADIANCE) for magic in (b"#?RADIANCE", b"#?RGBE")),
)

#: Formats that have their own file name extensions.
_KNOWN = (TIFF, JPEG2000, NITF, PNG, GIF, JPEG, BMP, WEBP, AVIF, NETPBM, SUN, VRT)

#: The format of each file name extension.
BY_ENDING = {ending: content for content in _KNOWN for ending in content.endings}

#: Paths of the files for which a mismatch was logged.
_warned: dict[str, None] = {}


def find_content(head: bytes) -> Content | None:
    r"""Return the format of a file; None if its first bytes do not identify one.

    Args:
        head: the first :data:`HEAD_BYTES` of the file.

    Example:
        >>> find_content(b"II*\0").name, find_content(b"<VRTDataset>").name, find_content(b"\0\1\2")
        ('TIFF', 'VRT', None)
    """
    for magic, content in SIGNATURES:
        if head.startswith(magic):
            return content
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return AVIF
    if head[:1] == b"P" and head[1:2] in b"123456fF7" and head[2:3].isspace():
        return NETPBM
    return _find_text(head)


def _find_text(head: bytes) -> Content | None:
    """Return the kind of text that a file starts with; None for binary data."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    # GDAL treats a file as a VRT if the root element appears anywhere in its first bytes.
    if b"<VRTDataset" in head:
        return VRT
    if start.startswith((b"<", b"\xff\xfe<", b"\xfe\xff\0<")):
        return XML
    if start.startswith((b"{", b"[")) and _is_text(head):
        return JSON
    return TEXT if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether bytes are printable ASCII."""
    return bool(head) and all(32 <= byte < 127 or byte in b"\t\n\r\f" for byte in head)


def stat_source(path: str) -> os.stat_result:
    """Return the size, the modification time and the other file status of a source.

    Args:
        path: path of the file.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file cannot be accessed, or is a folder, a pipe or a device.
    """
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as ex:
        raise MissingSourceError(f"{path} does not exist") from ex
    except (OSError, ValueError) as ex:
        raise SourceError(f"{path!r} cannot be reached: {ex}") from ex
    if not S_ISREG(stat.st_mode):
        # Reading a pipe or a device may never end.
        raise SourceError(f"{path} is a folder, a pipe or a device; expected an image file")
    return stat


def read_head(path: str) -> bytes:
    """Return the first :data:`HEAD_BYTES` of a file.

    Args:
        path: a local file.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if it cannot be read, or is a folder, a pipe or a device.
    """
    stat_source(path)
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as ex:
        raise MissingSourceError(f"{path} does not exist") from ex
    except (OSError, ValueError) as ex:
        raise SourceError(f"{path!r} cannot be read: {ex}") from ex


def ending_of(path: str) -> str:
    """Return the ending of a file name in lower case.

    Example:
        >>> ending_of('/data/a.b.TIF')
        '.tif'
    """
    return os.path.splitext(path)[1].lower()


def inspect_content(path: str) -> Content | None:
    """Return the format of a source, and log a warning once if its extension belongs to another format.

    Args:
        path: a local file.

    Returns:
        The format; None if the first bytes do not identify one.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if the file cannot be read, or is a text file or refers to other files although its
            extension belongs to an image format.
    """
    content = find_content(read_head(path))
    expected = BY_ENDING.get(ending_of(path))
    if content is None or content is expected:
        return content
    if content is VRT:
        raise SourceError(
            f"{path} cannot be opened as an image: it is a VRT, which refers to other files, and a VRT is "
            "read only if its name ends in .vrt. Rename it, or convert it with gdal_translate"
        )
    if content in (XML, JSON):
        raise SourceError(
            f"{path} cannot be opened as an image: it holds {content.name}, which may refer to other files "
            "or hosts. Convert it with gdal_translate"
        )
    if expected is not None:
        _note_mismatch(path, content, expected)
    return content


def _note_mismatch(path: str, content: Content, expected: Content) -> None:
    """Log a warning that a file has the extension of another format; raise a SourceError for a text file."""
    if content.is_text:
        raise SourceError(
            f"{path} cannot be opened as an image: it holds {content.name}; expected {expected.name} because "
            "of its extension"
        )
    if path in _warned:
        return
    if len(_warned) >= MAX_WARNED:
        _warned.clear()
    _warned[path] = None
    logger.warning(
        "%s is read as %s, which its first bytes identify; its extension belongs to %s",
        path,
        content.name,
        expected.name,
    )


def choose_drivers(path: str) -> tuple[str, ...]:
    """Return the drivers of GDAL that may open a source.

    Args:
        path: a local file.

    Raises:
        MissingSourceError: if there is no such file.
        SourceError: if no driver may open it.
    """
    from ndsampler.backends.detached import check_label
    from ndsampler.backends.hdf5_files import check_external_files
    from ndsampler.backends.pages import check_pages
    from ndsampler.backends.references import check_side_files, check_vrt

    content = inspect_content(path)
    check_side_files(path)
    if content is None or not content.is_certain or content is TEXT:
        check_label(path)
        check_external_files(path)
    if content is None:
        return LOCAL_DRIVERS
    if content is TIFF:
        check_pages(path)
    if content is VRT:
        check_vrt(path)
    if not content.drivers:
        raise SourceError(f"{path} cannot be opened as an image by GDAL: it holds a {content.name}")
    return content.drivers if content.is_certain else (*content.drivers, *LOCAL_DRIVERS)
