"""Small datasets, decoded images, and commands that run in this process, for the tests of the demo."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np

from ndsampler.__main__ import main


def run_cli(capsys, *argv):
    """Run a command in this process and return its exit code, stdout and stderr."""
    code = main([str(word) for word in argv])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def write_dataset(folder, annotations=(), categories=(), videos=(), size=(90, 70), count=3, dtype=np.uint8):
    """Write some images and a kwcoco file; return its path."""
    folder.mkdir(exist_ok=True)
    images = []
    for number in range(1, count + 1):
        name = f"frame_{number}.png"
        pixels = np.random.default_rng(number).integers(0, 200, (size[1], size[0], 3)).astype(dtype)
        (folder / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        image = {"id": number, "name": f"frame_{number}", "file_name": name}
        image |= {"width": size[0], "height": size[1]}
        if videos:
            image |= {"video_id": 1, "frame_index": number}
        images.append(image)
    path = folder / "data.kwcoco.json"
    parts = {"images": images, "annotations": list(annotations), "categories": list(categories)}
    path.write_text(json.dumps({**parts, "videos": list(videos)}))
    return path


def decode(path):
    """Return the RGB pixels of an image file, decoded by OpenCV."""
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def table_rows(text):
    """Return the cells of each row of the printed table, by the name of the backend."""
    lines = text.splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
    rows = [re.split(r"  +", line.strip()) for line in lines[rule + 1 : rule + 4]]
    return {cells[0]: cells for cells in rows}
