"""The optimizer with the schedule of its learning rate."""

import keras
from keras.optimizers.schedules import CosineDecay

from hpa.settings import Settings

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": lambda *rate, weight_decay, **options: keras.optimizers.AdamW(*rate, weight_decay or 0.0, **options),
    "sgd": lambda *rate, **options: keras.optimizers.SGD(*rate, momentum=0.9, **options),
}


def new_optimizer(settings: Settings, steps: int) -> keras.Optimizer:
    """Return the optimizer that the settings ask for.

    The rate rises in the epochs of the warm-up, from a hundredth of its height. The cosine schedule then falls to a
    hundredth of a per cent of it in the last step.

    Args:
        settings: give optimizer, learning rate, schedule, warm-up, weight decay, clipping and EMA momentum.
        steps: steps an epoch.
    """
    rate, rise = settings.learning_rate, settings.warm_up * steps
    if settings.schedule == "cosine" or rise:
        fall, end = max(settings.epochs * steps - rise, 1), 1e-4 if settings.schedule == "cosine" else 1.0
        warm_up = {"warmup_target": rate, "warmup_steps": rise} if rise else {}
        rate = CosineDecay(rate / 100 if rise else rate, fall, end, **warm_up)
    options = {"weight_decay": settings.weight_decay or None, "global_clipnorm": settings.clip_norm or None}
    ema = {"use_ema": True, "ema_momentum": settings.ema_momentum} if settings.ema_momentum else {}
    return OPTIMIZERS[settings.optimizer](rate, **options, **ema)
