"""Labels and HDF5 files that name the file of their pixels: none reads a file outside its folder."""

from __future__ import annotations

import base64
import pathlib
import zlib

import numpy as np
import pytest
from helpers_cache import each_backend

from ndsampler.abstract_frames import SimpleFrames
from ndsampler.backends.detached import MAX_LABEL
from ndsampler.backends.source import open_source
from ndsampler.errors import SourceError

SIDE = 20

#: The bytes of the file that labels name.
SECRET = np.arange(SIDE * SIDE, dtype=np.uint16).astype(np.uint8)

#: An HDF5 file whose values are the bytes of "secret.dat".
HDF5 = zlib.decompress(
    base64.b85decode(
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvfHn5`dVe$!3nh{EOK<O1sFmXn(oCH){5NbZUx{x4OSCH!eXaHtU1`CAdU>F4>5qP*d27u@YC?A$ePcWgXt3XSS9u(Tk$iN0MixI}xfY3}30THM=Tr@M#rHoMbG9sm5Rv-=HGciF7Vh5Vb2vq~hF$Or&J1k#tKywr`BTQrhBdW>(n#O|!S~v%=psFiQO)g3;(Mw4zf$)R<{9Qo)g84^*c{ELv0{~qYLks"
    )
)

ERS = """DatasetHeader Begin
\tVersion = "6.0"
\tName = "a.ers"
\tDataFile = "NAME"
\tDataSetType = ERStorage
\tDataType = Raster
\tByteOrder = LSBFirst
\tRasterInfo Begin
\t\tCellType = Unsigned8BitInteger
\t\tNrOfLines = 20
\t\tNrOfCellsPerLine = 20
\t\tNrOfBands = 1
\tRasterInfo End
DatasetHeader End
"""

ISIS3 = """Object = IsisCube
  Object = Core
    ^Core = NAME
    StartByte = 1
    Format = BandSequential
    Group = Dimensions
      Samples = 20
      Lines = 20
      Bands = 1
    End_Group
    Group = Pixels
      Type = UnsignedByte
      ByteOrder = Lsb
      Base = 0.0
      Multiplier = 1.0
    End_Group
  End_Object
End_Object
End
"""

ISIS2 = """CCSD3ZF0000100000001NJPL3IF0PDS200000001 = SFDU_LABEL
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 512
FILE_RECORDS = 20
LABEL_RECORDS = 1
^QUBE = "NAME"
OBJECT = QUBE
  AXES = 3
  AXIS_NAME = (SAMPLE,LINE,BAND)
  CORE_ITEMS = (20,20,1)
  CORE_ITEM_BYTES = 1
  CORE_ITEM_TYPE = SUN_UNSIGNED_INTEGER
  CORE_BASE = 0.0
  CORE_MULTIPLIER = 1.0
  SUFFIX_ITEMS = (0,0,0)
END_OBJECT = QUBE
END
"""

PDS = """PDS_VERSION_ID = PDS3
RECORD_TYPE = FIXED_LENGTH
RECORD_BYTES = 20
FILE_RECORDS = 20
^IMAGE = "NAME"
OBJECT = IMAGE
  LINES = 20
  LINE_SAMPLES = 20
  SAMPLE_TYPE = UNSIGNED_INTEGER
  SAMPLE_BITS = 8
  BANDS = 1
END_OBJECT = IMAGE
END
"""

EIR = """IMAGINE_RAW_FILE
WIDTH 20
HEIGHT 20
NUM_LAYERS 1
PIXEL_FILES NAME
DATA_TYPE U8
BYTE_ORDER LSB
"""

#: A label for each format, by the ending of its name.
LABELS = {
    "a.ers": ERS,
    "a.cub": ISIS3,
    "quoted.cub": ISIS3.replace("NAME", '"NAME"'),
    "isis2.cub": ISIS2,
    "a.lbl": PDS,
    "tuple.lbl": PDS.replace('"NAME"', '("NAME", 1)'),
    "a.hdr": EIR,
}

#: Labels whose pixels GDAL would open with any of its drivers, such as the one of web services.
ANY_DRIVER = {
    "a.ers": ERS.replace("ERStorage", "Translated"),
    "a.cub": ISIS3.replace("BandSequential", "GeoTIFF"),
    "comment.cub": ISIS3.replace("= BandSequential", "/* a */ = /* b */ GeoTIFF"),
    "broken.cub": ISIS3.replace("BandSequential", '"Geo-\n    TIFF"'),
    "a.lbl": 'PDS_VERSION_ID = PDS3\nOBJECT = COMPRESSED_FILE\n  FILE_NAME = "NAME"\n'
    "END_OBJECT = COMPRESSED_FILE\n"
    + PDS.replace("PDS_VERSION_ID = PDS3\n", "OBJECT = UNCOMPRESSED_FILE\n").replace(
        "END\n", "END_OBJECT = UNCOMPRESSED_FILE\nEND\n"
    ),
}

#: Other texts that name a file; GDAL looks for their pixels beside them, by the name of the text.
TEXTS = {
    "envi.hdr": "ENVI\nsamples = 20\nlines = 20\nbands = 1\ndata type = 1\ninterleave = bsq\n"
    "data file = NAME\n",
    "generic.hdr": "BANDS: 1\nROWS: 20\nCOLS: 20\nDATATYPE: U8\nINTERLEAVING: BSQ\nFILE: NAME\n",
    "esri.hdr": "NROWS 20\nNCOLS 20\nNBANDS 1\nNBITS 8\nLAYOUT BIL\nFILE NAME\n",
    "snodas.hdr": "Format version: NOHRSC GIS/RS raster file v1.1\nData file pathname: NAME\n"
    "Number of columns: 10\n"
    "Number of rows: 10\nData type: integer\nData bytes per pixel: 2\n",
    "saga.sgrd": "NAME\t= a\nDATAFORMAT\t= BYTE\nDATAFILE_NAME\t= NAME\nCELLCOUNT_X\t= 20\n"
    "CELLCOUNT_Y\t= 20\n",
    "r.grd": "[general]\ncreator=R\n[georeference]\nnrows= 20\nncols= 20\n[data]\ndatatype= INT1U\n"
    "filename= NAME\n",
    "ilwis.mpr": "\n[Ilwis]\nType=BaseMap\n[Map]\nSize=20 20\nType=MapStore\n[MapStore]\nData=NAME\n"
    "StoreType=Byte\n",
    "list.mpl": "; a\n[Ilwis]\nType=MapList\n[MapList]\nMaps=1\nMap0=NAME\nSize=20 20\n",
    "ndf.h1": "NDF_REVISION=2.00;\nNUMBER_OF_BANDS_IN_VOLUME=1;\nPIXELS_PER_LINE=20;\n"
    "LINES_PER_DATA_FILE=20;\n"
    "PIXEL_FORMAT=BYTE;\nBAND1_FILENAME=NAME;\nEND_OF_HDR;\n",
    "fast.hdr": "SATELLITE =LANDSAT7 SENSOR =ETM+ FILENAME =NAME " + " " * 2000,
    "mff.hdr": "IMAGE_FILE_FORMAT = MFF\nFILE_TYPE = IMAGE\nIMAGE_LINES = 20\nLINE_SAMPLES = 20\n"
    "FILE = NAME\nEND\n",
    "map.map": "OziExplorer Map Data File Version 2.2\nNAME\nNAME\n",
    "pds4.xml": "<Product_Observational><File><file_name>NAME</file_name></File></Product_Observational>",
    "usgs.dem": "NAME".ljust(1024),
    "rik.rik": "RIK3NAME",
}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, monkeypatch) -> pathlib.Path:
    """Return a folder of images, beside which there is a file that they must not read."""
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "secret.dat").write_bytes(SECRET.tobytes())
    monkeypatch.chdir(tmp_path)
    return folder


def write_label(folder: pathlib.Path, name: str, text: str, data: str) -> pathlib.Path:
    """Write a label that names a file."""
    path = folder / name
    path.write_text(text.replace("NAME", data).ljust(700))
    return path


@each_backend
@pytest.mark.parametrize("name", LABELS)
def test_a_label_reads_the_pixels_in_its_folder(name, backend, folder):
    (folder / "pixels.dat").write_bytes(SECRET.tobytes())
    path = write_label(folder, name, LABELS[name], "pixels.dat")
    pixels = SimpleFrames({1: str(path)}, folder / "work", backend).load_region(1)
    assert (pixels[..., 0] == SECRET.reshape(SIDE, SIDE)).all()


@pytest.mark.parametrize(
    ("stated", "backend"),
    [("absolute", None), ("link", None), ("relative", None), ("relative", "npy"), ("relative", "cog")],
)
@pytest.mark.parametrize("name", LABELS)
def test_a_label_reads_no_file_outside_its_folder(name, stated, backend, folder):
    (folder / "link.dat").symlink_to(folder.parent / "secret.dat")
    absolute = str(folder.parent / "secret.dat")
    data = {"absolute": absolute, "relative": "../secret.dat", "link": "link.dat"}[stated]
    path = write_label(folder, name, LABELS[name], data)
    frames = SimpleFrames({1: str(path)}, folder / "work", backend)
    for read in (frames.load_region, frames.load_image):
        with pytest.raises(SourceError):
            read(1)


@pytest.mark.parametrize("data", ["pixels.dat", "../secret.dat"])
@pytest.mark.parametrize("name", TEXTS)
def test_the_name_of_a_file_in_another_text_is_not_followed(name, data, folder):
    (folder / "pixels.dat").write_bytes(SECRET.tobytes())
    path = write_label(folder, name, TEXTS[name], data)
    with pytest.raises(SourceError):
        open_source(str(path))


@pytest.mark.parametrize("name", ANY_DRIVER)
def test_a_label_does_not_lead_to_another_format(name, folder):
    service = '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>'
    (folder / "a.xml").write_text(service)
    path = write_label(folder, name, ANY_DRIVER[name], "a.xml")
    with pytest.raises(SourceError, match="it is a label of an image of another format"):
        open_source(str(path))


def test_a_label_of_links_is_read_as_its_target_is(folder):
    (folder / "pixels.dat").write_bytes(SECRET.tobytes())
    write_label(folder, "a.lbl", PDS, "pixels.dat")
    links = folder.parent / "links"
    links.mkdir()
    for name in ("a.lbl", "pixels.dat"):
        (links / name).symlink_to(folder / name)
    pixels = open_source(str(links / "a.lbl")).read(0, SIDE, 0, SIDE)
    assert (pixels[..., 0] == SECRET.reshape(SIDE, SIDE)).all()


def test_a_label_of_endless_text_is_refused(folder):
    path = write_label(
        folder, "a.cub", ISIS3.replace("    Format", f"/*{'x' * (MAX_LABEL + 2**17)}*/ Format"), "a.xml"
    )
    with pytest.raises(SourceError, match="its label has more than"):
        open_source(str(path))


@each_backend
@pytest.mark.parametrize(("name", "start"), [("a.h5", 0), ("a.nc", 0), ("a.tif", 512), ("a", 4096)])
def test_an_hdf5_file_has_its_values_in_itself(name, start, backend, folder):
    path = folder / name
    path.write_bytes(bytes(start) + HDF5)
    frames = SimpleFrames({1: str(path)}, folder / "work", backend)
    with pytest.raises(SourceError, match="as the file of its values|cannot be opened"):
        frames.load_region(1)
    (folder.parent / "secret.dat").unlink()
    path.write_bytes(bytes(start) + HDF5.replace(b"secret.dat", b"nofile.dat"))
    with pytest.raises(SourceError) as caught:
        frames.load_region(1)
    assert "as the file of its values" not in str(caught.value)
