"""Similarities to the vectors of a support vector machine with radial basis functions, in Keras' own layers."""

import keras
import numpy as np
from keras import layers


def similarities(
    features: keras.KerasTensor, origin: np.ndarray, factors: np.ndarray, centers: np.ndarray, name: str
) -> keras.KerasTensor:
    """Return exp(-|factors * (x - origin) - center|^2) of features x [B, features] and some centers, float32 [B, centers].

    They are computed in float32, whatever precision the features come in. `origin` and `factors` are arrays [features], the
    `centers` [centers, features]; the layers' names begin with `name`.
    """
    made = {"dtype": "float32"}
    x = layers.Rescaling(1.0, (-origin).tolist(), name=f"{name}_centered", **made)(features)
    x = layers.Rescaling(factors.tolist(), name=f"{name}_scaled", **made)(x)
    products = layers.Dense(len(centers), name=f"{name}_products", **made)
    y = products(x)  # 2 x.c - |c|^2
    products.set_weights([2 * centers.T, -np.sum(centers**2, axis=1)])
    squares = layers.Dot(axes=1, name=f"{name}_squares", **made)([x, x])  # |x|^2
    y = layers.Subtract(name=f"{name}_exponents", **made)([y, squares])
    return layers.Activation("exponential", name=name, **made)(y)
