# All set-up happens here: each target makes or updates .venv as it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DATA := $(or $(SKLEARN_LNTUNE_DATA),$(wildcard ../shared/data))
export SKLEARN_LNTUNE_DATA := $(and $(DATA),$(abspath $(DATA)))
export TOKENIZERS_PARALLELISM := false

.PHONY: help demo test test-lowest fuzz bench docs wheel clean

help:
	@echo "make demo   install and run examples/quickstart.py"
	@echo "make test   ruff, mypy, pytest with doctests and examples"
	@echo "make test-lowest   the tests with the oldest dependencies that pyproject.toml allows"
	@echo "make fuzz   20,000 random inputs, parameters, files and folders; FUZZ_EXAMPLES=..."
	@echo "make bench  speed and memory beside peers, under 15 minutes; BENCH_ARGS=--full for all"
	@echo "make docs   the documentation, in docs/_build/html"
	@echo "make wheel  build the wheel and list what is in it"

# torch first and alone: the pin picks one build, and no later step replaces it.
$(VENV)/.torch: constraints.txt
	@echo "Making $(VENV) and installing torch into it; the first time takes some minutes ..."
	$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) torch
	@touch $@

# One mark an extra: .venv/.demo, .venv/.test, .venv/.bench, .venv/.docs
$(VENV)/.%: $(VENV)/.torch pyproject.toml
	@echo "Installing sklearn-lntune with its extra '$*' ..."
	@$(PIP) --editable '.[$*]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	HF_HUB_OFFLINE=1 $(BIN)/pytest --numprocesses 2 --dist worksteal --durations 15 $(PYTEST_ARGS)

# In a virtual environment of its own, which constraints.txt does not bind.
test-lowest: .venv-lowest/.installed
	HF_HUB_OFFLINE=1 .venv-lowest/bin/pytest --numprocesses 2 --dist worksteal $(PYTEST_ARGS)

.venv-lowest/.installed: pyproject.toml tests/lowest.py
	@echo "Making .venv-lowest and installing the oldest dependencies into it ..."
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python tests/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/lowest.txt --editable '.[test]'
	@touch $@

fuzz: $(VENV)/.test
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.fuzz

bench: $(VENV)/.bench
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/speed.py $(BENCH_ARGS)

docs: $(VENV)/.docs
	HF_HUB_OFFLINE=1 $(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

wheel: $(VENV)/.test
	$(PIP) build
	rm -rf dist
	$(BIN)/python -m build --wheel
	$(BIN)/python -m zipfile --list dist/*.whl

clean:
	rm -rf $(VENV) .venv-lowest build dist docs/_build docs/auto_examples docs/api/generated *.egg-info
