"""What the tests of the converters share: small pictures, files laid out as in a data set, one call to convert."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import conversion
from facejax.data import records


def picture(seed: int, height: int = 24, width: int = 20, form: str = "JPEG") -> bytes:
    """A smooth RGB picture, encoded."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    image = Image.fromarray(corners).resize((width, height), Image.BILINEAR)
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 30000 x 30000 pixels."""
    data = bytearray(picture(0, form="PNG"))
    data[16:24] = (30000).to_bytes(4, "big") * 2
    return bytes(data)


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    """Writes files, with their folders, below a new or an existing folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def convert(dataset, source: Path, *options: str) -> tuple[dict, dict[str, list[dict]]]:
    """Converts to a new folder next to the source.

    Returns:
      The summary of each split, and its records.
    """
    out = source.parent / f"records{len(list(source.parent.iterdir()))}"
    args = conversion.parser(dataset).parse_args([f"--source={source}", f"--out={out}", *options])
    summary = conversion.convert(dataset, args)["splits"]
    read = {
        split: list(map(records.open_split(out, split).__getitem__, range(summary[split]["records"])))
        for split in summary
    }
    assert not list(source.parent.glob(f".{out.name}*"))  # nothing half-written is left
    return summary, read


def refused(dataset, source: Path, *options: str, capsys: pytest.CaptureFixture) -> str:
    """The one line that the command ends with for an error of the user's."""
    out = source.parent / "refused"
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        conversion.main(dataset, [f"--source={source}", f"--out={out}", *options])
    assert stopped.value.code == 2 and not out.exists()
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"{dataset.name}: ")
    return line


def skipped(summary: dict) -> dict[str, str]:
    """Reason by place."""
    return {item["where"]: item["reason"] for item in summary["skipped"]}
