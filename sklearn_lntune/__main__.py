"""``python -m sklearn_lntune`` is the command ``sklearn-lntune``."""

from __future__ import annotations

from sklearn_lntune.cli.main import main

if __name__ == "__main__":
    main()
