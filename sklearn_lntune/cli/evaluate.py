"""``evaluate``: how well a classifier, regressor or tagger does on labelled rows."""

from __future__ import annotations

from sklearn_lntune.cli import options
from sklearn_lntune.cli.data import Columns, read_labelled
from sklearn_lntune.cli.figures import check_figure, draw_figures
from sklearn_lntune.cli.models import load_classifier
from sklearn_lntune.cli.output import check_free, verbosity, write_json
from sklearn_lntune.cli.scores import figures, predicted, print_report
from sklearn_lntune.cli.targets import SEPARATOR, target_of


def evaluate(
    classifier: options.Classifier,
    data: options.Data,
    text: options.TextColumn = "text",
    label: options.LabelColumn = "label",
    separator: options.Separator = SEPARATOR,
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
    """Show precision, recall and F1 of each class, and the confusion matrix; or errors of numbers.

    With --plot, the confusion matrix is drawn, too; of several labels the F1 of each, and of a
    regressor the predictions beside the numbers.

    Example:

        sklearn-lntune evaluate tickets.zip test.csv --plot confusion.png
    """
    check_free(json_file, plot, overwrite=overwrite)
    check_figure(plot)
    clf = load_classifier(
        classifier, backbone=backbone, device=device, trust_remote_code=trust_remote_code
    )
    target = target_of(clf)
    rows = read_labelled(data, Columns(text, text_pair, label, target, separator), data_format)
    answers = predicted(clf.set_params(verbose=verbosity(quiet)), rows.texts, target)
    found = figures(target, rows.targets, answers)
    print_report(found)
    if json_file is not None:
        write_json(json_file, found)
    if plot is not None:
        draw_figures(plot, found, rows.targets, answers)
