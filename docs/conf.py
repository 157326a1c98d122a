"""Sphinx configuration. Builds without network: no intersphinx, no notebook badges."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import sklearn_lntune

sys.path.insert(0, str(Path(__file__).parent))  # for the modules of this folder

project = "sklearn-lntune"
author = "The sklearn-lntune developers"
copyright = "2026, the sklearn-lntune developers"
version = release = sklearn_lntune.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "Thumbs.db", "figures"]
default_role = "literal"
nitpicky = False

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more
numpydoc_show_class_members = False  # the class template lists them
numpydoc_xref_param_type = False

# The fits of the examples take some minutes; an example that has not changed is not run again.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r".*",
    "within_subsection_order": "gallery_order.ReadingOrder",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "default_thumb_file": str(Path(__file__).parent / "figures" / "thumbnail.png"),
    "ignore_pattern": r"__init__\.py",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"sklearn-lntune {release}"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Pages without a section of their own need no left sidebar.
_alone = (
    *("index", "installation", "command_line", "serving", "architecture", "results", "trust"),
    "changelog",
)
html_sidebars: dict[str, list[str]] = {page: [] for page in _alone}

# transformers and torch may warn of their own deprecations while autodoc imports them.
warnings.filterwarnings("ignore", category=DeprecationWarning)
