import cv2
import pandas as pd

from hpa.labels import LABELS
from hpa.training.curves import write_curves


def test_curves_are_a_picture_that_follows_the_history(tmp_path):
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [0.5, 0.4, 0.3],
            "f1": [0.1, 0.2, 0.3],
            "validation_loss": [0.6, 0.5, 0.45],
            "validation_f1": [0.05, 0.1, 0.15],
            "validation_f1_best": [0.1, 0.2, 0.25],
        }
    )
    pictures = []
    for column in (None, "validation_loss", "validation_f1", "f1"):
        changed = history if column is None else history.assign(**{column: [0.1, 0.5, 0.2]})
        write_curves(tmp_path / "curves.png", changed, "0 base", LABELS["many"].monitor)
        pictures.append(cv2.imread(str(tmp_path / "curves.png")))
    assert pictures[0].shape == (400, 1000, 3)
    assert len({picture.tobytes() for picture in pictures}) == 4
