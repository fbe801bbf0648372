"""Images from files into records and from records into training, beside the plain way, on the same cores in one run.

    python -m benchmarks.input_pipeline [--images=3000] [--repeats=3] [--folder=DIR]

(a) conversion, bytes passed through, against copying the same files;
(b) what the host does for a training image of FRA, 256 px JPEG to the array that goes to the device, which makes the
    two 224 px views there, against the official way: Pillow opens the file and makes both views on the host. Then also
    with the views that JAX's first device makes, which on a machine without an accelerator are work of the same cores;
(c) reading TFRecord against ArrayRecord, at random and in order.

Each is done by one process. What runs against each other takes turns, and the best of the repeats counts: in wall time,
and in processor time summed over the cores, which says less of what else the machine is doing. Files are in the page
cache after the first turn: disks are not measured. Below each, where the time goes.
"""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import jax
import numpy as np
import simplejpeg
from PIL import Image

from benchmarks.views import pillow_view
from data_prep import conversion, image_folder, pictures, sources
from experiments import fra_r50
from facejax import processors
from facejax.data import images, pipeline, records, views
from facejax.files import write_atomically

SIDE = 256
_BATCH = 64


def best(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Least wall and least processor seconds of each of some functions, which take turns."""
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                run()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: np.min(values, axis=0) for name, values in seconds.items()}


def make_images(folder: Path, count: int) -> None:
    """JPEGs of 256 px, about 20 kB each: smooth pictures with the noise of a camera."""
    rng = np.random.default_rng(0)
    for i in range(count):
        smooth = cv2.resize(rng.integers(0, 256, (12, 12, 3)).astype(np.float32), (SIDE, SIDE))
        image = np.clip(smooth + rng.normal(scale=5, size=smooth.shape), 0, 255).astype(np.uint8)
        data = simplejpeg.encode_jpeg(image, quality=90, colorspace="RGB", colorsubsampling="420")
        path = folder / f"n{i // 50:06}" / f"{i % 50:04}_01.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def report(title: str, count: int, seconds: Mapping[str, np.ndarray], ours: str, theirs: str, expected: str) -> None:
    """Rates and their ratio."""
    print(f"\n{title}")
    for name, (wall, processor) in seconds.items():
        print(f"  {name:42} {count / wall:9.0f} images/s   {count / processor:9.0f} images/s of a core")
    wall, processor = seconds[theirs] / seconds[ours]
    print(f"  ratio {wall:.2f} in wall time, {processor:.2f} in processor time ({expected})")


def report_stages(seconds: Mapping[str, np.ndarray], count: int, apart: int = 0) -> None:
    """Microseconds an image of each stage, the longest named; the last `apart` are no stages."""
    for name, (wall, processor) in seconds.items():
        print(f"    {name:40} {1e6 * wall / count:7.0f} us an image, {1e6 * processor / count:7.0f} us of a core")
    stages = list(seconds)[: len(seconds) - apart]
    print(f"    limited by: {max(stages, key=lambda name: seconds[name][1])}")


def compare_conversion(source: Path, work: Path, names: list[str], repeats: int) -> None:
    """(a)"""
    dataset = image_folder.DATASET
    parser = conversion.parser(dataset)

    def convert():
        shutil.rmtree(work / "records", ignore_errors=True)
        conversion.convert(dataset, parser.parse_args([f"--source={source}", f"--out={work}/records", "--workers=0"]))

    def copy():
        shutil.rmtree(work / "copy", ignore_errors=True)
        shutil.copytree(source, work / "copy")

    report(
        "(a) conversion, pass-through, against a plain copy of the files",
        len(names),
        best({"conversion": convert, "copy": copy}, repeats),
        "conversion",
        "copy",
        "expected: at least 0.5",
    )
    data = [(source / name).read_bytes() for name in names]
    examples = [{"image": image, "file": name} for image, name in zip(data, names, strict=True)]
    features = records.open_split(work / "records", "train").features

    def write():
        shutil.rmtree(work / "again", ignore_errors=True)
        records.write(work / "again", records.Info("again", features), {"train": examples})

    stages = {
        "list folders": lambda: list(sources.image_names(source)),
        "read files, safely within the source": lambda: [conversion.File(name).read(source) for name in names],
        "look at headers": lambda: [pictures.convert(image, pictures.Change()) for image in data],
        "serialise, checksum, write, fsync": write,
        "for comparison: the bytes into one file": lambda: write_atomically(work / "blob", b"".join(data)),
    }
    report_stages(best(stages, repeats), len(names), apart=1)


def compare_training_input(source: Path, work: Path, names: list[str], repeats: int) -> None:
    """(b)"""
    config = fra_r50.get_config()
    recipes = [config.view1.to_dict(), config.view2.to_dict()]
    common = {"size": config.image_size, "mean": config.mean, "std": config.std}
    some = names[: min(len(names), 4 * _BATCH)]
    opened = records.open_split(work / "records", "train")
    order = pipeline.GlobalShuffle(opened, _BATCH, seed=0)

    def official():
        rng = np.random.default_rng(0)
        for name in some:
            with Image.open(source / name) as image:
                image = image.convert("RGB")
                for recipe in recipes:
                    pillow_view(rng, image, view=recipe, **common)

    def ours():
        loader = pipeline.TrainingBatches(opened, order, pipeline.Reading(_BATCH, SIDE))
        for _ in range(len(some) // _BATCH):
            next(loader)
        loader.close()

    @jax.jit
    def make_views(key, batch):
        keys = jax.random.split(key)
        return [
            views.make_view(k, batch["image"], batch["size"], views.View(**common, **recipe))
            for k, recipe in zip(keys, recipes, strict=True)
        ]

    def ours_and_views():
        loader = pipeline.TrainingBatches(opened, order, pipeline.Reading(_BATCH, SIDE))
        for step in range(len(some) // _BATCH):
            batch = {name: value for name, value in next(loader).items() if name in ("image", "size")}
            jax.block_until_ready(make_views(jax.random.key(step), batch))
        loader.close()

    count = len(some) // _BATCH * _BATCH
    some = some[:count]
    with contextlib.redirect_stderr(io.StringIO()):
        ours_and_views()  # compiles
    report(
        f"(b) training input for FRA's two {config.image_size} px views from {SIDE} px JPEGs",
        count,
        best(
            {
                "ours, on the host": ours,
                "Pillow and NumPy, all on the host": official,
                f"ours and the views, on the {jax.devices()[0].device_kind}": ours_and_views,
            },
            repeats,
        ),
        "ours, on the host",
        "Pillow and NumPy, all on the host",
        "expected: at least 4",
    )
    encoded = [opened[i]["image"] for i in range(count)]
    decoded = [images.decode(data) for data in encoded]

    def stack():
        for start in range(0, count, _BATCH):
            np.stack([images.fit(image, SIDE)[0] for image in decoded[start : start + _BATCH]])

    stages = {
        "read and parse records": lambda: [opened[i] for i in range(count)],
        "decode JPEGs": lambda: [images.decode(data) for data in encoded],
        "fit into squares, stack": stack,
    }
    report_stages(best(stages, repeats), count)


def compare_formats(work: Path, repeats: int) -> None:
    """(c)"""
    source = records.open_split(work / "records", "train")
    examples = [source[i] for i in range(len(source))]
    records.write(
        work / "array", records.Info("again", source.features), {"train": examples}, records.Shards("array_record")
    )
    array = records.open_split(work / "array", "train")
    shuffled = np.random.default_rng(0).permutation(len(source)).tolist()
    for title, order in (("at random", shuffled), ("in order", list(range(len(source))))):
        runs = {
            "TFRecord": lambda order=order: [source[i] for i in order],
            "ArrayRecord": lambda order=order: [array[i] for i in order],
        }
        report(f"(c) reading records {title}", len(order), best(runs, repeats), "TFRecord", "ArrayRecord", "TFRecord's")
    raw = [source._read(i) for i in range(len(source))]
    for name, opened in (("TFRecord", source), ("ArrayRecord", array)):
        stages = {
            f"{name}: bytes, checksums": lambda opened=opened: [opened._read(i) for i in shuffled],
            "parse tf.train.Example": lambda: [source._codec.decode(record) for record in raw],
        }
        report_stages(best(stages, repeats), len(source))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input_pipeline")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where to put the images for a while; default: the system's temporary folder")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        work = Path(folder)
        source = work / "source"
        make_images(source, args.images)
        names = list(sources.image_names(source))
        size = sum((source / name).stat().st_size for name in names) / len(names)
        cores = processors.count()
        print(
            f"{len(names)} JPEGs of {SIDE} px, {size / 1e3:.1f} kB each; {cores} cores, load {os.getloadavg()[0]:.1f}"
        )
        compare_conversion(source, work, names, args.repeats)
        compare_training_input(source, work, names, args.repeats)
        compare_formats(work, args.repeats)


if __name__ == "__main__":
    main()
