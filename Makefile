# make demo: set up, then the whole path on simulated photos.   make test: set up, then the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STARTED := $(shell date +%s)

.PHONY: demo test test-beam lint clean

demo: $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.demo --started $(STARTED)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Apache Beam holds protobuf and numpy back, so it has an environment of its own.
test-beam: $(VENV)-beam/.installed
	$(VENV)-beam/bin/python -m pytest tests/test_beam.py tests/data_prep/test_build.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/.installed-demo: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,data,eval]'
	touch $@

$(VENV)/.installed-dev: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)-beam/.installed: setup.py constraints-beam.txt
	$(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-beam.txt \
		-e '.[beam]' hypothesis pytest pytest-timeout
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-beam demo
