"""The code that comes with a backbone and runs with ``trust_remote_code=True``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_import_files
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

from sklearn_lntune.backbone.digests import digest_of
from sklearn_lntune.backbone.resolve import IMAGE_PROCESSOR_FILES

#: The entries of ``auto_map`` that may be loaded.
_USED = (
    *("AutoConfig", "AutoImageProcessor", "AutoModel", "AutoModelForImageClassification"),
    *("AutoModelForSequenceClassification", "AutoTokenizer"),
)


def code_digest(folder: Path, classes: Iterable[type]) -> str | None:
    """SHA-256 of the Python files that ``auto_map`` in ``folder`` names or ``classes`` are from.

    Files imported relatively by these are included. None if there are no files.
    """
    files = {folder / f"{module}.py" for module in _modules(folder)}
    files |= {Path(inspect.getfile(each)) for each in classes if _is_remote(each)}
    files |= {Path(more) for file in list(files) for more in _imported(file)}
    # A file may occur twice: in the folder, and where transformers has copied it to import it.
    content = sorted(
        {(file.name, file.read_text("utf-8", "replace")) for file in files if file.is_file()}
    )
    return digest_of(content) if content else None


def _modules(folder: Path) -> set[str]:
    """Names of the modules in ``folder`` that the configurations there refer to."""
    named: list[Any] = []
    for name in ("config.json", "tokenizer_config.json", *IMAGE_PROCESSOR_FILES):
        file = folder / name
        said = json.loads(file.read_text("utf-8")).get("auto_map") if file.is_file() else None
        # In old tokenizer files it is not a mapping, but a list of the slow and fast class.
        entries = said if isinstance(said, dict) else {"AutoTokenizer": said}
        for entry in map(entries.get, _USED):
            named += entry if isinstance(entry, list) else [entry]
    # "repository--module.Class" is not in the folder; its files are found through the class.
    own = (each for each in named if isinstance(each, str) and "--" not in each)
    return {each.rpartition(".")[0] for each in own}


def _is_remote(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == TRANSFORMERS_DYNAMIC_MODULE_NAME


def _imported(file: Path) -> list[str]:
    return get_relative_import_files(file) if file.is_file() else []
