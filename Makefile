# make demo: set up, then the whole path on simulated photos.   make test: set up, then the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STARTED := $(shell date +%s)

.PHONY: demo test lint clean

demo: $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.demo --started $(STARTED)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(VENV)/.installed-demo: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,data,eval]'
	touch $@

$(VENV)/.installed-dev: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo
