"""hpa: from four-channel microscope images of human cells to a scored competition entry."""

__version__ = "0.1.0"
