"""Where the documentation is, for the links in scikit-learn's displays."""

from __future__ import annotations

from typing import ClassVar

#: The root of the built site.
SITE = "https://sklearn-lntune.readthedocs.io/en/stable"


class Documented:
    """Adds the link to the reference to the HTML display of an estimator."""

    _doc_link_module = "sklearn_lntune"
    _doc_link_template = f"{SITE}/api/generated/{{module}}.{{name}}.html"
    #: The module that publishes the class, which may be defined deeper.
    _public_module: ClassVar[str] = "sklearn_lntune"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"module": self._public_module, "name": type(self).__name__}
