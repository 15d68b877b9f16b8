import keras
import pytest

from hpa.training import presets
from hpa.training.fit import computing_in


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("flags\t\t: fpu amx_bf16 amx_tile", "mixed_bfloat16"), ("flags\t\t: fpu avx512_bf16", "float32"), (None, "float32")],
)
def test_the_precision_follows_the_processor(flags, precision, tmp_path, monkeypatch):
    if flags:
        (tmp_path / "cpuinfo").write_text(flags + "\n")
    monkeypatch.setattr(presets, "PROCESSOR", tmp_path / "cpuinfo")
    assert presets.fastest_precision() == precision


def test_layers_made_in_a_precision_keep_their_weights_in_float32():
    with computing_in("mixed_bfloat16"):
        layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert (layer.compute_dtype, layer.kernel.dtype) == ("bfloat16", "float32")
    assert keras.layers.Dense(2).compute_dtype == "float32"
    with pytest.raises(ZeroDivisionError), computing_in("mixed_bfloat16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"
