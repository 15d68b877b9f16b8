import keras
import numpy as np
from scipy.spatial.distance import cdist

from hpa.models.radial_basis import similarities


def test_similarities_are_those_of_the_distances():
    random = np.random.default_rng(0)
    features = random.random((50, 480), np.float32)
    origin, factors = features.mean(axis=0).astype(float), 480**-0.5 / features.std(axis=0).astype(float)
    centers = factors * (features[:20] - origin)
    inputs = keras.Input((480,))
    model = keras.Model(inputs, similarities(inputs, origin, factors, centers, "similarities"))
    found = model.predict(features, verbose=0)
    expected = np.exp(-cdist(factors * (features - origin), centers, "sqeuclidean"))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(found[range(20), range(20)], 1, atol=2e-6)
    assert found.dtype == np.float32
