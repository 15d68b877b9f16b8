import zipfile

import pytest

from hpa.errors import BadInput
from hpa.models.catalog import build, load
from hpa.models.variants import VARIANTS, require_size


@pytest.mark.parametrize("variant", [None, *range(8)])
def test_the_smallest_size_is_just_large_enough(variant):
    model = "parallel-kernels" if variant is None else "gapnet"
    smallest = 94 if variant is None else VARIANTS[variant].smallest_size
    assert build(model, variant, smallest, 4, 28).output.shape == (None, 28)
    with pytest.raises(BadInput, match=f"at least {smallest} pixels"):
        require_size(model, variant, smallest - 1)


def test_below_the_smallest_size_keras_itself_fails(monkeypatch):
    for variant, settings in enumerate(VARIANTS):
        monkeypatch.setattr("hpa.models.catalog.require_size", lambda *arguments: None)
        with pytest.raises(ValueError, match=r"zero or negative|negative dimension"):
            build("gapnet", variant, settings.smallest_size - 1, 4, 28)


def test_a_damaged_model_file(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(BadInput) as caught:
        load(path)
    assert str(caught.value) == f"{path}: cannot be read (No such file or directory); train the run, or restore the file"
    build("gapnet", 2, 48, 4, 28).save(path)
    assert load(path).count_params() == build("gapnet", 2, 48, 4, 28).count_params()
    whole = path.read_bytes()
    for content in (b"", b"not a model", whole[:1000], whole[:-100]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"model\.keras: damaged \(File is not a zip file\); delete the run folder"):
            load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no model")
    with pytest.raises(BadInput, match=r"model\.keras: damaged \(.*config\.json"):
        load(path)
