"""hpa: from four-channel microscope images of human cells to a scored competition entry.

`hpa.Run` trains and predicts, `hpa.blend` makes a competition entry of several runs; `hpa.api` shows both in six lines.
What is named here is loaded when it is first used, so that importing hpa takes no time.
"""

import importlib
from typing import TYPE_CHECKING

from hpa import messages

if TYPE_CHECKING:
    from hpa.api import Run, blend, load_model
    from hpa.settings import Settings
    from hpa.tasks import HEP2, HPA, Task

__version__ = "0.1.0"
__all__ = ["HEP2", "HPA", "Run", "Settings", "Task", "blend", "load_model"]

_MODULES = {
    **dict.fromkeys(("Run", "blend", "load_model"), "hpa.api"),
    "Settings": "hpa.settings",
    **dict.fromkeys(("HEP2", "HPA", "Task"), "hpa.tasks"),
}

messages.show()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'hpa' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
