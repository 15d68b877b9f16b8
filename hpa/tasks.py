"""What is classified: the classes, the channels, and how a sample's files are named."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A classification task.

    Attributes:
        name: short name, written into stores and run folders.
        classes: class names; a class number is an index into them.
        channels: channel names in the order of the last image axis. A sample's files are `<id>_<channel>.png`.
    """

    name: str
    classes: tuple[str, ...]
    channels: tuple[str, ...]


HPA = Task(
    name="hpa",
    classes=(
        "Nucleoplasm",
        "Nuclear membrane",
        "Nucleoli",
        "Nucleoli fibrillar center",
        "Nuclear speckles",
        "Nuclear bodies",
        "Endoplasmic reticulum",
        "Golgi apparatus",
        "Peroxisomes",
        "Endosomes",
        "Lysosomes",
        "Intermediate filaments",
        "Actin filaments",
        "Focal adhesion sites",
        "Microtubules",
        "Microtubule ends",
        "Cytokinetic bridge",
        "Mitotic spindle",
        "Microtubule organizing center",
        "Centrosome",
        "Lipid droplets",
        "Plasma membrane",
        "Cell junctions",
        "Mitochondria",
        "Aggresome",
        "Cytosol",
        "Cytoplasmic bodies",
        "Rods & rings",
    ),
    channels=("red", "green", "blue", "yellow"),
)
