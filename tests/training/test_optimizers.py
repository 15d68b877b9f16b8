import keras
import numpy as np
import pytest

from hpa.registry import OPTIMIZERS
from hpa.settings import Settings
from hpa.training.optimizers import new_optimizer

STEPS, EPOCHS, RATE = 10, 5, 0.5


def settings(**changes):
    return Settings(**{"epochs": EPOCHS, "learning_rate": RATE, "optimizer": "sgd"} | changes)


@pytest.mark.parametrize("warm_up", [0, 1, 2])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_rises_and_then_falls_or_stays(schedule, warm_up):
    optimizer = new_optimizer(settings(schedule=schedule, warm_up=warm_up), STEPS)
    steps, rise = np.arange(STEPS * EPOCHS + 1), warm_up * STEPS
    progress = (steps - rise) / (STEPS * EPOCHS - rise)
    rates = RATE * (1e-4 + (1 - 1e-4) * (1 + np.cos(np.pi * progress)) / 2) if schedule == "cosine" else np.full(51, RATE)
    rates[:rise] = RATE * np.linspace(0.01, 1, rise, endpoint=False)
    found = []
    for step in steps:
        optimizer.iterations.assign(step)
        found.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    assert found == pytest.approx(rates, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(("clip_norm", "moved"), [(0.0, 5.0), (2.0, 2.0), (10.0, 5.0)])
def test_the_gradient_is_clipped_by_its_norm_over_all_weights(clip_norm, moved):
    variables = [keras.Variable([0.0]), keras.Variable([0.0])]
    new_optimizer(settings(clip_norm=clip_norm), STEPS).apply([np.array([3.0]), np.array([4.0])], variables)
    step = -np.array([float(variable[0]) for variable in variables]) / RATE
    assert step == pytest.approx(moved * np.array([0.6, 0.8]), rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_weights_decay_only_as_far_as_is_asked_for(name, weight_decay):
    variable = keras.Variable([1.0])
    new_optimizer(settings(optimizer=name, weight_decay=weight_decay), STEPS).apply([np.array([0.0])], [variable])
    assert float(variable[0]) == pytest.approx(1 - RATE * weight_decay)
