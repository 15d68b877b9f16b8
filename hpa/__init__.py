"""hpa: from four-channel microscope images of human cells to a scored competition entry."""

from hpa import messages

__version__ = "0.1.0"

messages.show()
