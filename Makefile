# make demo: upscale a photograph. make serve: the web page. make test: the tests. make slow: longer tests. make check: style, types, import contracts.
# Each sets up .venv first if it is missing or pyproject.toml has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo serve test slow check format clean
demo: $(READY)
	@$(BIN)/python examples/demo.py

serve: $(READY)
	@$(BIN)/superscale serve

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

slow: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "superscale needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
