"""The optimizers, and the one of a run with the schedule of its learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpa.registry import OPTIMIZERS, SCHEDULES
from hpa.settings import Settings

if TYPE_CHECKING:
    import keras
    from keras.optimizers.schedules import LearningRateSchedule


def adamw(rate: float | LearningRateSchedule, weight_decay: float | None = None, **options: Any) -> keras.Optimizer:
    """Return AdamW, whose own default for the decay is another than none."""
    from keras.optimizers import AdamW

    return AdamW(rate, weight_decay or 0.0, **options)


def new_optimizer(settings: Settings, steps: int) -> keras.Optimizer:
    """Return the optimizer that the settings ask for.

    The rate rises in the epochs of the warm-up, from a hundredth of its height. The cosine schedule then falls to a
    hundredth of a per cent of it in the last step. An epoch has so many `steps`.
    """
    from keras.optimizers.schedules import CosineDecay

    rate, rise, end = settings.learning_rate, settings.warm_up * steps, SCHEDULES[settings.schedule].end
    if end < 1 or rise:
        fall = max(settings.epochs * steps - rise, 1)
        warm_up = {"warmup_target": rate, "warmup_steps": rise} if rise else {}
        rate = CosineDecay(rate / 100 if rise else rate, fall, end, **warm_up)
    options = {"weight_decay": settings.weight_decay or None, "global_clipnorm": settings.clip_norm or None}
    ema = {"use_ema": True, "ema_momentum": settings.ema_momentum} if settings.ema_momentum else {}
    return OPTIMIZERS[settings.optimizer](rate, **options, **ema)
