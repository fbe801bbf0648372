"""Checks a config against its schema, before a run does anything else."""

from facejax.config_schema.experiment import Experiment
from facejax.config_schema.validation import plain_values, validated
from facejax.errors import UserError
from facejax.methods import METHODS


def check(config) -> Experiment:
    """Checks a config before anything is computed: each key alone, then combinations of keys.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.

    Returns:
      The values, as an instance of the method's schema.

    Raises:
      UserError: see `check_keys`; also values that contradict each other, and missing starting weights.
    """
    experiment = check_keys(config)
    experiment.check_together()
    return experiment


def check_keys(config) -> Experiment:
    """Checks every key of a config alone.

    Args:
      config: an experiment's `ml_collections.ConfigDict`.

    Returns:
      The values, as an instance of the method's schema.

    Raises:
      UserError: a key that does not exist or is missing, a value of a wrong type or out of range. It names the key, the
        value and what it must be.
    """
    values = plain_values(config)
    if "method" not in values:
        raise UserError(f"config.method is missing: one of {', '.join(METHODS)}")
    method = values["method"]
    if not isinstance(method, str) or method not in METHODS:
        raise UserError(f"config.method = {method!r}: unknown method; there are: {', '.join(METHODS)}")
    return validated(METHODS[method].schema, values)
