"""Serve many classifiers over HTTP: one backbone, one queue, one page to try them.

Needs the extra ``serve``. No other package imports this one.
"""

try:
    from sklearn_lntune.serving.app import create_app
    from sklearn_lntune.serving.running import serve
except ModuleNotFoundError as error:
    if error.name and error.name.startswith("sklearn_lntune"):
        raise
    raise ImportError(
        f"sklearn_lntune.serving needs {error.name}: pip install 'sklearn-lntune[serve]'."
    ) from error
from sklearn_lntune.serving.limits import Limits

__all__ = ["Limits", "create_app", "serve"]
