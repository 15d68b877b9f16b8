"""hpa: from four-channel microscope images of human cells to a scored competition entry."""

import importlib
import sys

__version__ = "0.1.0"

# With layers that a saved network may hold; Keras finds those alone that were imported before it loads one.
LAYERS = ("hpa.models.normalization", "hpa.models.radial_basis")


class _ImportedWithKeras:
    """A finder that imports `LAYERS` as soon as Keras is imported, so that `import hpa` need not load Keras itself."""

    def find_spec(self, name, path=None, target=None):
        """Return the spec of Keras as the other finders do, with a loader that imports the layers after it."""
        if name != "keras":
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec:
            load = spec.loader.exec_module

            def load_all(module):
                load(module)
                _import_layers()

            spec.loader.exec_module = load_all
        return spec


def _import_layers() -> None:
    for layer in LAYERS:
        importlib.import_module(layer)


if "keras" in sys.modules:
    _import_layers()
else:
    sys.meta_path.insert(0, _ImportedWithKeras())
