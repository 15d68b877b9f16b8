"""Batch normalisation that uses TensorFlow's fused kernel while it learns."""

import keras

# In bfloat16 the kernel is quick for multiples of this alone; 4 channels took it seven times as long as in float32.
CHANNELS_AT_ONCE = 16


@keras.saving.register_keras_serializable("hpa")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer for images, channels last, with statistics, scaling and their gradients in one kernel.

    Keras 3 builds them from a dozen passes over the activations; on a CPU these take longer than the convolutions. The
    numbers are Keras' own but for rounding. On other backends than TensorFlow, and where the statistics are those of
    several devices (`synchronized`), it is Keras' layer.
    """

    def call(
        self, inputs: keras.KerasTensor, training: bool | None = None, mask: keras.KerasTensor | None = None
    ) -> keras.KerasTensor:
        """Return the normalised images; in training, update the moving statistics."""
        if not (training and self.trainable and keras.backend.backend() == "tensorflow") or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        x = inputs if inputs.shape[-1] % CHANNELS_AT_ONCE == 0 else tf.cast(inputs, "float32")
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        pixels = tf.size(x) // x.shape[-1]
        variance *= tf.cast((pixels - 1) / pixels, "float32")  # as Keras and the other backends have it
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return tf.cast(outputs, inputs.dtype)
