"""LAFS' three stages in turn on synthetic faces: how much pre-training helps with few images per person.

    python -m experiments.lafs_chain --workdir=workdirs/lafs_chain

Runs the demos of part_fvit_supervised.py and lafs_part_fvit.py, then that of lafs_finetune.py with 1, 4 and 10 images
of each person, from the teacher of stage 2 and from a random transformer; each run in its own folder, with the same
files as from `facejax.main`. It ends with a table, also written to few_shot.json. Re-run the same command to resume.
"""

import argparse

from facejax import interruptions

if __name__ == "__main__":  # the other imports take seconds
    interruptions.guard_command("lafs_chain")

from absl import logging
from etils import epath

from experiments import lafs_finetune, lafs_part_fvit, part_fvit_supervised
from facejax import compilation_cache, paths, train
from facejax.config_schema.check import check
from facejax.errors import report_user_errors
from facejax.files import write_json
from facejax.log_output import log_to_stderr

IMAGES = (1, 4, 10)  # of a person
# The same number of steps for each, that of 10 images of 250 people, so that all share one compiled and cached step.
EPOCHS, STEPS_PER_EPOCH = 8, 78
STARTS = ("random", "pre-trained")  # transformers


def run(config, workdir: epath.Path) -> dict[str, float]:
    """The metrics of the trained encoder; trains it unless they exist."""
    logging.info("--- %s", workdir)
    return train.train(config, workdir)["trained"]


def configs(folder: epath.Path) -> dict:
    """Configs of all runs in order, by the run's folder within `folder`."""
    part_fvit, lafs = part_fvit_supervised.get_config("demo"), lafs_part_fvit.get_config("demo")
    lafs.landmark_network = str(folder / "part_fvit")
    runs = {"part_fvit": part_fvit, "lafs": lafs}
    for count in IMAGES:
        for start in STARTS:
            config = runs[finetuned(count, start)] = lafs_finetune.get_config("demo")
            config.epochs, config.min_steps_per_epoch = EPOCHS, STEPS_PER_EPOCH
            config.data.images_per_class = count
            config.initialize_from.landmark_network = str(folder / "part_fvit")
            config.initialize_from.transformer = str(folder / "lafs") if start == "pre-trained" else "random"
    return runs


def finetuned(count: int, start: str) -> str:
    """Folder of a run of stage 3."""
    return f"finetuned_{count}_{start}"


def chain(folder: epath.Path) -> list[dict]:
    """All runs, in folders within `folder`; a row for each number of images and each start.

    Raises:
      UserError: see `train.train`; a config of any stage is checked before the first stage begins.
    """
    runs = configs(folder)
    for config in runs.values():
        check(config)
    metrics = {name: run(config, folder / name) for name, config in runs.items()}
    return [
        {"images": count, "transformer": start, **metrics[finetuned(count, start)]}
        for count in IMAGES
        for start in STARTS
    ]


def table(rows: list[dict]) -> str:
    """Plain text: a line for each number of images and metric, comparing random and pre-trained."""
    found = {(row["images"], row["transformer"]): row for row in rows}
    lines = [f"{'images of a person':20}{'metric':36}" + "".join(f"{start:>13}" for start in STARTS)]
    for count in IMAGES:
        for metric in [key for key in rows[0] if key not in ("images", "transformer")]:
            values = "".join(f"{found[count, start][metric]:13.4f}" for start in STARTS)
            lines.append(f"{count:<20}{metric:36}{values}")
    return "\n".join(lines)


def main() -> None:
    """Entry point; exit status 2 for a user's error."""
    parser = argparse.ArgumentParser(prog="python -m experiments.lafs_chain", description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="folder of the runs")
    workdir = parser.parse_args().workdir
    log_to_stderr()
    compilation_cache.enable()
    with report_user_errors("lafs_chain"):
        folder = paths.resolve(workdir, "--workdir")
        rows = chain(folder)
        write_json(folder / "few_shot.json", rows)
    print(table(rows))


if __name__ == "__main__":
    main()
