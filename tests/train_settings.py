"""What `hpa.train` settles on, without training."""

from hpa import train
from hpa.options import given_settings
from hpa.settings import Settings
from hpa.training.resolve import resolve


def train_settings(*options: object) -> Settings:
    """Return the settings of the run that `hpa.train` would make with some options."""
    given = train.build_parser().parse_args([str(option) for option in options])
    return resolve(given.preset, given_settings(given), given.task, given.data, given.runs)
