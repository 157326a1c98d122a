"""``evaluate``: how well a classifier does on labelled rows."""

from __future__ import annotations

from sklearn_lntune.cli import options
from sklearn_lntune.cli.data import Columns, read_labelled
from sklearn_lntune.cli.figures import check_figure, draw_confusion
from sklearn_lntune.cli.models import load_classifier
from sklearn_lntune.cli.output import check_free, verbosity, write_json
from sklearn_lntune.cli.scores import predicted, print_report, report


def evaluate(
    classifier: options.Classifier,
    data: options.Data,
    text: options.TextColumn = "text",
    label: options.LabelColumn = "label",
    text_pair: options.PairColumn = None,
    data_format: options.DataFormat = None,
    json_file: options.JsonFile = None,
    plot: options.PlotFile = None,
    backbone: options.MovedBackbone = None,
    device: options.Device = "auto",
    trust_remote_code: options.TrustCode = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Show precision, recall and F1 of each class, and the confusion matrix.

    With --plot, the confusion matrix is drawn, too.

    Example:

        sklearn-lntune evaluate tickets.zip test.csv --plot confusion.png
    """
    check_free(json_file, plot, overwrite=overwrite)
    check_figure(plot)
    clf = load_classifier(
        classifier, backbone=backbone, device=device, trust_remote_code=trust_remote_code
    )
    rows = read_labelled(data, Columns(text, text_pair, label), data_format)
    found = report(rows.labels, predicted(clf.set_params(verbose=verbosity(quiet)), rows))
    print_report(found)
    if json_file is not None:
        write_json(json_file, found)
    if plot is not None:
        draw_confusion(plot, list(found["classes"]), found["confusion"])
