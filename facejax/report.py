"""What a run learned, on one page: curves, metrics, pictures, neighbours and a map of the embedding, settings.

    python -m facejax.report workdirs/demo
    python -m facejax.report workdirs/one workdirs/other --out=comparison.html

One file that opens in any browser without a network. A run that has not ended has a page too.
"""

from collections.abc import Sequence

from absl import logging
from etils import epath

from facejax import paths
from facejax.command_line import Parser
from facejax.errors import UserError, report_user_errors
from facejax.files import write_atomically
from facejax.log_output import log_to_stderr
from facejax.progress import phase

NAME = "report.html"


def write(workdirs: Sequence[epath.PathLike], out: epath.PathLike | None = None, faces: str = "") -> epath.Path:
    """Writes the page of one run, or of several side by side.

    Args:
      workdirs: of the runs, local paths or URLs.
      out: file to write; None: `report.html` in the workdir, for several in the current folder. Another report there
        is replaced.
      faces: folder of records that the encoders are looked at with; "": what the first run was evaluated or trained on.

    Returns:
      The file.

    Raises:
      UserError: a folder is not the workdir of a run, `faces` cannot be read, or `out` exists and is no report.
    """
    with phase("Importing JAX and Bokeh"):  # only now: a mistyped flag is reported without waiting for them
        from facejax.reports import page, run

    folders = [paths.resolve(workdir) for workdir in workdirs]
    target = paths.resolve(out if out else folders[0] / NAME if len(folders) == 1 else NAME, "--out")
    _check_free(target, page.GENERATOR)
    runs = [run.read(folder) for folder in folders]
    run.tell_apart(runs)
    looked_at, missing = _faces(runs, faces)
    write_atomically(target, page.render(runs, looked_at, missing))
    return target


def write_after_run(workdir: epath.PathLike) -> None:
    """Writes the page of a run that has just ended, on process 0, and says where; what is in the way is logged."""
    import jax

    if jax.process_index() > 0:
        return
    try:
        print(f"{'report':10}{write([workdir])}", flush=True)
    except UserError as error:
        logging.warning("There is no report: %s", error)


def _check_free(target: epath.Path, generator: str) -> None:
    if not target.exists():
        return
    with target.open("rb") as file:
        if generator.encode() not in file.read(4096):
            raise UserError(f"--out={target} exists and is no report: choose another name, or remove it first")


def _faces(runs, folder: str):
    """Faces to look at the encoders with; a line for each data set that could not be read."""
    from facejax.reports import faces

    if folder:
        return faces.read(folder, "test", {}), []
    missing = []
    for run in runs:
        if run.encoder and (place := faces.place_of(run.config)):
            try:
                return faces.read(*place, faces.names_of(run.config)), missing
            except UserError as error:
                missing.append(f"No neighbours and no map: {error}; name other records with --faces=DIR.")
    return None, list(dict.fromkeys(missing))


def parser() -> Parser:
    """The command line."""
    result = Parser("report", __doc__)
    result.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="of a run; several are compared")
    result.add_argument("--out", metavar="FILE", help=f"default: WORKDIR/{NAME}, for several workdirs {NAME} here")
    result.add_argument(
        "--faces", default="", metavar="DIR", help="records to look at the encoders with; default: the run's own"
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exit status 2 for an error of the user's."""
    log_to_stderr()
    with report_user_errors("report"):
        args = parser().parse_args(argv)
        from facejax import compilation_cache

        compilation_cache.enable()
        print(write(args.workdirs, args.out, args.faces))


if __name__ == "__main__":
    main()
