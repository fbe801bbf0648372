"""AFLW2000-3D: 2 000 faces with pose and 68 points in 3D, to test on.

python -m data_prep.aflw2000 --source=DIR --out=DIR

--source is the folder `AFLW2000`, or its parent: `image00002.jpg`, ... with a `.mat` next to each (`Pose_Para`
as in 300W-LP, `pt3d_68`: 3 x 68). One split, `test`. Poses beyond 99 degrees are skipped, as in the protocol: 1 969
remain.
"""

import argparse
import dataclasses
from pathlib import Path

from data_prep import conversion, w300lp


def read(source: Path, args: argparse.Namespace):
    """All images of the folder."""
    folder = "AFLW2000" if (source / "AFLW2000").is_dir() else ""
    return w300lp.FEATURES, {"test": w300lp.posed_faces(source, folder, "pt3d_68")}


DATASET = dataclasses.replace(w300lp.DATASET, name="aflw2000", read=read, layout="the folder AFLW2000")

if __name__ == "__main__":
    conversion.main(DATASET)
