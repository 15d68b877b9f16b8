import keras
import numpy as np
import pytest

from hpa.models.catalog import build
from hpa.models.gapnet import VARIANTS
from hpa.registry import DENSE_PART

# Every row of the report's table: layer kind, output shape without the batch, parameters.
REPORT = [
    ("InputLayer", (256, 256, 4), 0),
    ("BatchNormalization", (256, 256, 4), 16),
    ("Conv2D", (254, 254, 32), 1184),
    ("BatchNormalization", (254, 254, 32), 128),
    ("MaxPooling2D", (127, 127, 32), 0),
    ("Dropout", (127, 127, 32), 0),
    ("BatchNormalization", (127, 127, 32), 128),
    ("Conv2D", (63, 63, 64), 18496),
    ("BatchNormalization", (63, 63, 64), 256),
    ("Conv2D", (61, 61, 64), 36928),
    ("BatchNormalization", (61, 61, 64), 256),
    ("Conv2D", (59, 59, 64), 36928),
    ("BatchNormalization", (59, 59, 64), 256),
    ("MaxPooling2D", (29, 29, 64), 0),
    ("Dropout", (29, 29, 64), 0),
    ("BatchNormalization", (29, 29, 64), 256),
    ("Conv2D", (27, 27, 128), 73856),
    ("BatchNormalization", (27, 27, 128), 512),
    ("Conv2D", (25, 25, 128), 147584),
    ("BatchNormalization", (25, 25, 128), 512),
    ("Conv2D", (23, 23, 128), 147584),
    ("Dropout", (23, 23, 128), 0),
    ("GlobalAveragePooling2D", (32,), 0),
    ("GlobalAveragePooling2D", (64,), 0),
    ("GlobalAveragePooling2D", (128,), 0),
    ("Concatenate", (224,), 0),
    ("BatchNormalization", (224,), 896),
    ("Dense", (256,), 57600),
    ("Dropout", (256,), 0),
    ("BatchNormalization", (256,), 1024),
    ("Dense", (256,), 65792),
    ("Dropout", (256,), 0),
    ("Dense", (28,), 7196),
    ("Activation", (28,), 0),
]


@pytest.fixture(scope="module")
def variant_0():
    return build("gapnet", 256, 4, 28, variant=0)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_every_row_of_the_reports_table(variant_0):
    # Scaling to [0, 1] is a layer of ours, without parameters, so that a model takes pixels as they are.
    layers = [layer for layer in variant_0.layers if type(layer).__name__ != "Rescaling"]
    assert [(type(layer).__name__, tuple(layer.output.shape[1:]), layer.count_params()) for layer in layers] == REPORT


def test_the_reports_totals(variant_0):
    assert variant_0.count_params() == 597_388
    assert count(variant_0.trainable_weights) == 595_268
    assert count(variant_0.non_trainable_weights) == 2_120


def test_the_reports_connections(variant_0):
    layers = [layer for layer in variant_0.layers if type(layer).__name__ == "GlobalAveragePooling2D"]
    dropouts = [layer for layer in variant_0.layers if type(layer).__name__ == "Dropout"][:3]
    for pooling, dropout in zip(layers, dropouts, strict=True):
        assert pooling.input is dropout.output


def test_activations_and_padding(variant_0):
    kinds = {layer.name: layer for layer in variant_0.layers}
    convolutions = [layer for layer in kinds.values() if isinstance(layer, keras.layers.Conv2D)]
    assert {(layer.activation.__name__, layer.padding) for layer in convolutions} == {("relu", "valid")}
    dense = [layer.activation.__name__ for layer in kinds.values() if isinstance(layer, keras.layers.Dense)]
    assert dense == ["relu", "relu", "linear"]
    assert variant_0.layers[-1].activation.__name__ == "sigmoid"


PARAMETERS = [597_388, 426_460, 340_748, 340_748, 597_388, 582_484]  # of the report's variants 0 to 5


@pytest.mark.parametrize(("variant", "parameters"), list(enumerate(PARAMETERS)))
def test_the_reports_variants(variant, parameters):
    model = build("gapnet", 256, 4, 28, variant=variant)
    assert model.count_params() == parameters
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    convolutional, *dense = VARIANTS[variant].dropout
    assert rates == [convolutional] * 3 + dense


def test_all_eight_variants_are_distinct():
    assert len(set(VARIANTS)) == 8


def test_the_network_takes_raw_pixels():
    model = build("gapnet", 48, 4, 28, variant=2)
    assert model.layers[1].scale == 1 / 255
    probabilities = model.predict(np.full((2, 48, 48, 4), 255, np.uint8), verbose=0)
    assert probabilities.shape == (2, 28)
    assert probabilities.dtype == np.float32
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_the_skip_connection_joins_a_deep_map_and_an_earlier_one():
    plain, skipping = build("gapnet", 128, 4, 28, variant=0), build("gapnet-fcn", 128, 4, 28, variant=0)
    [add] = [layer for layer in skipping.layers if isinstance(layer, keras.layers.Add)]
    earlier, upsampled = add.input
    assert earlier.shape == upsampled.shape == (None, 27, 27, 64)  # from before the second pooling
    # One 1x1 convolution from 128 to 64 channels, and 64 more features for the batch normalisation and the dense layer.
    assert skipping.count_params() - plain.count_params() == (128 * 64 + 64) + 64 * 4 + 64 * 256


def test_four_parallel_kernel_sizes():
    model = build("parallel-kernels", 128, 4, 28)
    [concatenate] = [layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
    branches = [tensor._keras_history.operation.input._keras_history.operation for tensor in concatenate.input]
    assert [branch.kernel_size for branch in branches] == [(1, 1), (3, 3), (5, 5), (7, 7)]
    assert len({id(branch.input) for branch in branches}) == 1


@pytest.mark.parametrize("name", ["gapnet", "gapnet-fcn", "parallel-kernels"])
def test_the_dense_part_begins_at_the_joined_features(name):
    model = build(name, 128, 4, 28, **({} if name == "parallel-kernels" else {"variant": 0}))
    is_dense = [layer.name.startswith(DENSE_PART) for layer in model.layers]
    first = is_dense.index(True)
    assert all(is_dense[first:])
    assert not any(isinstance(layer, keras.layers.Dense) for layer in model.layers[:first])
    assert not any(isinstance(layer, keras.layers.Conv2D) for layer in model.layers[first:])
