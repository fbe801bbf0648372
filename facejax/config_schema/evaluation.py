"""The keys of an evaluation's config, experiments/evaluate/NAME.py."""

from typing import Annotated, Any

from pydantic import Field

from facejax.config_schema.experiment import SyntheticFaces
from facejax.config_schema.fields import PositiveCount, Section, Seed, Switch, Text, key
from facejax.config_schema.validation import plain_values, validated
from facejax.errors import UserError
from facejax.evaluation.protocols import PROTOCOLS
from facejax.evaluation.protocols.protocol import Settings

Tasks = Annotated[dict[Text, dict[str, Any]], Field(min_length=1, title="a dict of groups of keys, each by its name")]


class EvaluationConfig(Section):
    """What encoders are asked, on which records."""

    tasks: Tasks = key("protocols and the records that each looks at, by the name of the task")
    draws: PositiveCount = key("times that a test split is drawn again for the intervals", default=1000)
    seed: Seed = key("seed of these draws, and of whatever a protocol draws", default=0)
    skip_corrupt: Switch = key("skip damaged records and log them, instead of stopping", default=False)
    synthetic_faces: SyntheticFaces | None = key(
        "the embedded data set, rendered if it is needed and missing; a config may do without", default=None
    )


def check(config) -> tuple[EvaluationConfig, dict[str, Settings]]:
    """Checks an evaluation's config before anything is loaded.

    Args:
      config: its `ml_collections.ConfigDict`.

    Returns:
      Its values; the settings of each task as its protocol has them.

    Raises:
      UserError: a key that does not exist or is missing, a value of a wrong type or out of range, no such protocol.
    """
    values = validated(EvaluationConfig, plain_values(config))
    tasks = {}
    for name, settings in values.tasks.items():
        where, protocol = f"config.tasks.{name}", settings.get("protocol")
        if not isinstance(protocol, str) or protocol not in PROTOCOLS:
            raise UserError(f"{where}.protocol = {protocol!r}: there are: {', '.join(PROTOCOLS)}")
        tasks[name] = validated(PROTOCOLS[protocol].settings, settings, where)
    return values, tasks
