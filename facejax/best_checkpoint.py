"""The state with the best evaluation, stored next to the newest ones."""

import math

from absl import logging

from facejax.checkpoints import Checkpoints
from facejax.errors import UserError
from facejax.evaluation.protocols import higher_is_better


class BestCheckpoint:
    """Keeps the state with the best evaluation in `workdir/best`, from which weights can be loaded as from a workdir.

    Args:
      workdir: folder of the run.
      metrics: names of the metrics whose mean decides, negated where lower is better; (): nothing is stored.
      evaluator: the run's, which has the metrics of earlier evaluations.
      before_save: called before anything is written; raises to prevent it.
    """

    def __init__(self, workdir, metrics: tuple[str, ...], evaluator, *, before_save=lambda: None):
        self._metrics, self._evaluator, self._best = metrics, evaluator, -math.inf
        self._found: tuple[int, dict[str, float]] | None = None
        self._checkpoints = Checkpoints(workdir / "best", keep=1, before_save=before_save) if metrics else None

    @property
    def found(self) -> dict | None:
        """Step and metrics of the best state so far; None where nothing was kept, or nobody knows how good it was."""
        return self._found and dict(zip(("step", "metrics"), self._found, strict=True))

    def resume(self, step: int, untrained: dict[str, float], state, position) -> None:
        """Finds the best so far; `step`, where the run resumes, may have been evaluated and not yet saved.

        Raises:
          UserError: one of the metrics is not evaluated.
        """
        if self._checkpoints is None:
            return
        self._score(untrained)  # fail now, not after hours of training
        best = self._checkpoints.newest
        if best and (metrics := self._evaluator.cached(best)):  # otherwise its metrics are unknown
            self._best, self._found = self._score(metrics), (best, metrics)
        if step and (metrics := self._evaluator.cached(step)):
            self.offer(step, metrics, state, position)

    def offer(self, step: int, metrics: dict[str, float], state, position) -> None:
        """Saves the state if its metrics are the best so far; arguments as in `Checkpoints.save`."""
        if self._checkpoints is not None and (score := self._score(metrics)) > self._best:
            self._best, self._found = score, (step, metrics)
            logging.info("Step %d is the best so far: stored in %s", step, self._checkpoints.folder)
            self._checkpoints.save(step, state, position)

    def close(self) -> None:
        """Waits until everything is on disk."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def _score(self, metrics) -> float:
        for name in self._metrics:
            if name not in metrics:
                raise UserError(
                    f"config.checkpoint.best: no evaluation gives '{name}'; there are: {', '.join(sorted(metrics))}"
                )
        return sum(metrics[name] * (1 if higher_is_better(name) else -1) for name in self._metrics) / len(self._metrics)
