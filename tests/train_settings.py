"""What `hpa.train` settles on, without training."""

from hpa import train
from hpa.settings import Settings
from hpa.training.choice import base_settings


def train_settings(*options: object) -> Settings:
    """Return the settings of the run that `hpa.train` would make with some options."""
    given = train.build_parser().parse_args([str(option) for option in options])
    return base_settings(given.preset, vars(given), given.task, given.data, given.runs)
