# Only for setting up: daily work uses `just` (see justfile).
PYTHON ?= python3
BIN := .venv/bin
# uv has its own variable for extra wheel folders; take the value of the one that pip users set.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: setup demo test

setup: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "expected Python 3.11 to 3.13; got $$($(PYTHON) --version). Cure: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet -r requirements.lock -e .
	@touch $@

demo: setup
	$(BIN)/just demo

test: setup
	$(BIN)/just test
