"""The layer before the last one of a support vector machine with radial basis functions: similarities to its vectors."""

from keras import layers, ops, saving


@saving.register_keras_serializable("hpa")
class RadialBasis(layers.Layer):
    """The similarities exp(-|factors * (x - origin) - center|^2) of features x to some centers.

    They are computed in float32, whatever precision the features come in. The weights are, in this order, origin and factors
    [features] and centers [centers, features].
    """

    def __init__(self, centers: int, dtype: str = "float32", **options) -> None:
        super().__init__(dtype=dtype, **options)
        self.count = centers

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Make the weights for features [B, features]."""
        features = input_shape[-1]
        self.origin = self.add_weight((features,), name="origin")
        self.factors = self.add_weight((features,), name="factors")
        self.centers = self.add_weight((self.count, features), name="centers")

    def call(self, inputs):
        """Return float32 [B, centers] from features [B, features]."""
        scaled = self.factors * (inputs - self.origin)
        squares = ops.sum(scaled**2, axis=1, keepdims=True) + ops.sum(self.centers**2, axis=1)
        return ops.exp(2 * ops.matmul(scaled, ops.transpose(self.centers)) - squares)

    def get_config(self) -> dict:
        """Return what the layer is made with."""
        return super().get_config() | {"centers": self.count}
