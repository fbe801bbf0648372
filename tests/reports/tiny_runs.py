"""Workdirs as runs leave them, without training: what they logged is made up, their encoders are random."""

import json
import pathlib
from html.parser import HTMLParser

import cv2
import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from random_inputs import generator, random_like

from facejax import reporting
from facejax.architectures import ARCHITECTURES
from facejax.data import records
from facejax.encoder import Encoder
from facejax.files import write_json
from facejax.preprocessing import Preprocessing

SIZE, COUNT, STEPS = 32, 12, 30
EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>'\""
ENCODERS = {
    "fra": ("fra", {"backbone": "resnet18", "width": 4, "embedding_dim": 8, "hidden_dim": 8, "num_regions": 3}),
    "pcl": ("pcl", {"width": 4, "decoder_size": 16}),
    "lafs": ("part_fvit", {"size": "nano", "num_points": 9}),
}


def write_faces(folder: pathlib.Path, *, labelled: bool = True) -> None:
    """Records with labels of every kind, one of which has an evil name."""
    features = {"image": tfds.features.Image(encoding_format="png")}
    if labelled:
        features |= {
            "identity": np.int64,
            "expression": tfds.features.ClassLabel(names=["calm", EVIL]),
            "pose": tfds.features.Tensor(shape=(3,), dtype=np.float32),
            "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
            "file": tfds.features.Text(),
        }
    rng = generator()

    def row(index):
        image = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        labels = {
            "identity": index // 3,
            "expression": index % 2,
            "pose": rng.normal(size=3).astype(np.float32),
            "landmarks": np.zeros((5, 2), np.float32),
            "file": f"{index}.jpg",
        }
        return {"image": cv2.imencode(".png", image)[1].tobytes()} | (labels if labelled else {})

    info = records.Info("faces", features)
    records.write(folder, info, {"test": [row(index) for index in range(COUNT)]})


def config(method: str, faces: pathlib.Path, **changes) -> ml_collections.ConfigDict:
    """A config of which a report reads where the faces are."""
    judged = {"label": "pose", "data": str(faces), "names": ["yaw", "pitch", "roll"]}
    values = {
        "method": method,
        "epochs": 3,
        "data": {"folder": str(faces), "split": "train"},
        "evaluations": {"pose": judged},
    }
    return ml_collections.ConfigDict(values | changes)


def write_run(workdir: pathlib.Path, method: str, faces: pathlib.Path, *, ended: bool = True, **changes) -> dict:
    """What a run of STEPS steps leaves; the content of results.json."""
    rng = generator()
    reporting.claim_workdir(workdir, config(method, faces, **changes))
    reporter = reporting.Reporter(workdir, 0)
    for step in range(10, STEPS + 1, 10):
        reporter.scalars(step, {"total": 1 / step, "images_per_second": 50.0 + step, "seconds_per_step": 0.5})
    for step in (0, 10, STEPS):
        reporter.picture(step, method, rng.integers(0, 256, (20, 30, 3), np.uint8))
    reporter.parameters({"kernel": np.zeros((3, 4), np.float32)})
    reporter.close()
    metrics = ("identity/pooled/top1_accuracy", "pose/pooled/mae", "pose/pooled/mae_yaw")
    ends = [{metric: float(rng.uniform()) for metric in metrics} for _ in range(2)]
    for step, measured in zip((0, 20, STEPS), (ends[0], ends[1], ends[1]), strict=True):
        if ended or step < STEPS:
            write_json(workdir / "evaluations" / f"step_{step:08d}.json", measured)
    results = {"method": method, "steps": STEPS, "untrained": ends[0], "trained": ends[1]}
    if ended:
        write_json(workdir / "results.json", results)
        name, settings = ENCODERS[method]
        architecture = ARCHITECTURES[name](**settings)
        variables = random_like(architecture.shapes(SIZE))  # as quick as it gets: nothing is compiled
        card = {"method": method, "steps": STEPS}
        Encoder(architecture, variables, Preprocessing(size=SIZE), card).save(workdir / "encoder")
    return results


class Page(HTMLParser):
    """What a test asks of a page.

    Attributes:
      elements: (tag, attributes) of all.
      scripts: their texts.
      rows: (group, name, values) of each row of the table of metrics, without what is only shown.
      missing: lines on what is missing.
      text: all that is to be read.
    """

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.scripts, self.rows, self.missing, self.text = [], [], [], [], ""
        self._inside, self._group, self._in_metrics = None, "", False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        self._inside = tag, attributes
        if tag == "script":
            self.scripts.append("")
        if tag == "table":
            self._in_metrics = attributes["class"] == "metrics"
        if tag == "tr" and self._in_metrics:
            self.rows.append([self._group, "", []])
        if tag == "data" and self._in_metrics:
            self.rows[-1][2].append(float(attributes["value"]))
        if attributes.get("class") == "missing":
            self.missing.append("")

    def handle_data(self, data):
        tag, attributes = self._inside or ("", {})
        if tag == "script":
            self.scripts[-1] += data
        elif tag != "style":
            self.text += data
        if self._in_metrics and attributes.get("scope") == "rowgroup":
            self._group += data
            self.rows[-1][0] = self._group = self._group.strip()
        elif self._in_metrics and (attributes.get("scope") == "row" or tag == "wbr"):
            self.rows[-1][1] = (self.rows[-1][1] + data).strip()
        if attributes.get("class") == "missing":
            self.missing[-1] += data

    def handle_endtag(self, tag):
        if tag == "tbody":
            self._group = ""
        if tag in ("p", "script", "style", "table"):
            self._inside = None

    @property
    def policy(self) -> str:
        """The page's Content-Security-Policy."""
        (found,) = [a["content"] for t, a in self.elements if a.get("http-equiv") == "Content-Security-Policy"]
        return found

    @property
    def data(self) -> dict:
        """What the page's script gets."""
        return json.loads(self.scripts[0])
