import itertools

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from hpa.scoring.plots import draw_class_f1, draw_confusion, draw_sheet, draw_sweep, write_figure
from hpa.tasks import HEP2, HPA


def laid_out(figure):
    """Draw the figure, so that its parts have their places."""
    FigureCanvasAgg(figure).draw()
    return figure


def assert_readable(figure, texts):
    """No text reaches out of the picture or into another one."""
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    width, height = figure.bbox.size
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    edges = np.array([box.extents for box in boxes])
    apart = (edges[:, None, 2:] <= edges[None, :, :2]).any(axis=2)
    apart |= apart.T
    np.fill_diagonal(apart, True)
    assert apart.all()


@pytest.mark.parametrize(
    "classes",
    [("no", "yes"), HEP2.classes, HPA.classes, tuple(f"$a class {number}$" for number in range(40))],
    ids=len,
)
def test_confusion_matrices_are_readable(classes):
    count = len(classes)
    matrix = np.diag(np.full(count, 12345))
    matrix[0, :2] = 1, 54321
    figure = laid_out(draw_confusion(matrix, classes, "accuracy 0.9876, mean class accuracy 0.9876, macro F1 0.9876"))
    assert_readable(figure, figure.findobj(Text))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(classes)
    cell = axes.get_window_extent().width / count
    assert all(text.get_window_extent().width < cell for text in axes.texts)


def test_a_confusion_matrix_says_what_it_holds():
    matrix = np.array([[2, 6, 0], [0, 3, 1], [0, 0, 0]])  # the last class does not occur
    axes = draw_confusion(matrix, ("a", "b", "c"), "title").axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0, 0]])
    written = {text.get_position(): text.get_text() for text in axes.texts}  # by (predicted, true)
    assert written == {(0, 0): "2", (1, 0): "6", (1, 1): "3", (2, 1): "1"}
    assert {text.get_text() for text in axes.texts if text.get_color() == "white"} == {"6", "3"}  # on the dark cells
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a (8)", "b (4)", "c (0)"]


def test_the_bars_are_the_classes_f1():
    table = pd.DataFrame({"class": HPA.classes, "rows": np.arange(28) * 500, "f1": np.linspace(0, 1, 28)})
    figure = laid_out(draw_class_f1(table, "macro F1 0.5000"))
    axes = figure.axes[0]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], table["f1"])
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "Rods & rings (13500)"
    assert axes.lines[0].get_xdata()[0] == pytest.approx(0.5)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first class stands at the top
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(boxes))


@pytest.mark.parametrize("count", [1, 11])
def test_a_sheet_shows_every_image_with_its_caption(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), np.uint8)
    captions = [
        f"some $id {number}$\ntrue Microtubule organizin… 0.012\npredicted Nucleoli fibrillar ce… 0.988"
        for number in range(count)
    ]
    figure = laid_out(draw_sheet(images, captions))
    assert_readable(figure, [axes.title for axes in figure.axes])
    assert [axes.get_title() for axes in figure.axes] == captions
    for image, axes in zip(images, figure.axes, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
    places = [axes.get_window_extent() for axes in figure.axes]
    for title, place in zip((axes.title for axes in figure.axes), places, strict=True):
        assert title.get_window_extent().y0 >= place.y1  # above its image
    assert not any(a.overlaps(b) for a in places for b in places if a is not b)


def test_a_figure_is_written_as_it_is_sized(tmp_path):
    write_figure(tmp_path / "new" / "sheet.png", draw_sheet(np.zeros((9, 4, 4, 3), np.uint8), ["a\nb\nc"] * 9))
    assert cv2.imread(tmp_path / "new" / "sheet.png").shape == (600, 1920, 3)
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["sheet.png"]


@pytest.mark.parametrize("changed", [[np.nan, 5.0, 12000.0], [np.nan] * 3])
def test_a_sweep_says_what_it_holds(changed):
    table = pd.DataFrame(
        {"cross_validated": [0.4, 0.41, 0.3], "low": 0.2, "high": 0.5, "resubstituted": 0.45, "changed": changed},
        index=pd.Index([0.3, 0.32, 0.34], name="shift"),
    )
    figure = laid_out(draw_sweep(table, "title"))
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.lines[0].get_xydata(), [[0.3, 0.4], [0.32, 0.41], [0.34, 0.3]])
    bars = [bar for bar in lower.patches if bar.get_width()]  # a change lies between two shifts
    np.testing.assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in bars], [0.31, 0.33])
    assert [bar.get_height() for bar in bars] == np.nan_to_num(changed)[1:].tolist()
    legend = figure.legends[0].get_texts()
    assert [text.get_text() for text in legend] == ["95 % interval", "cross-validated", "resubstituted"]
    assert_readable(figure, [*legend, upper.title, upper.yaxis.label, lower.yaxis.label, lower.xaxis.label])
