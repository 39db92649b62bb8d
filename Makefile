# make demo: the main job on the shipped data.  make test: the tests.  Both set up .venv first.
PYTHON ?= python3
PY := .venv/bin/python
TORCH = $(shell sed -n 's/^torch==//p' constraints.txt)
PIP = $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: setup setup-dev demo test test-all test-oldest lint runs bundle images clean

setup: .venv/.installed
setup-dev: .venv/.installed-dev

.venv/.installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; name one with PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "Installing into .venv what requirements.txt names, as constraints.txt has it. To download: on Linux about 3 GB,"
	@echo "since torch from PyPI brings CUDA (0.2 GB where .venv has torch $(TORCH) already, see README); elsewhere 0.4 GB."
	$(PIP) -r requirements.txt
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@

demo: setup
	$(PY) train.py --model starter --data sample --run demo --overwrite
	$(PY) create_confusion_matrix.py --run demo --split test
	$(PY) create_ensemble_submission.py demo --output submission.csv

test: setup-dev
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-all: setup-dev
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m ''

# The lowest versions of requirements.txt, in an environment of their own; torch: the lowest that was tried
OLDEST := .venv-oldest
OLDEST_TORCH ?= 2.13.0
test-oldest:
	$(PYTHON) -m venv $(OLDEST)
	sed -nE 's/^torch>=.*/torch==$(OLDEST_TORCH)/p; s/^([a-z-]+)>=([0-9.]+).*/\1==\2/p' requirements.txt > $(OLDEST)/lowest.txt
	grep -E '^(pytest|pytest-xdist|hypothesis|selenium|accelerate)==' constraints.txt >> $(OLDEST)/lowest.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(OLDEST)/lowest.txt
	TEST_OLDEST=1 $(OLDEST)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: setup-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

runs: setup
	@$(PY) -m common.overview $(if $(DATA),--data $(DATA))

# For machines without internet: make bundle MODEL=gbert-base; python -m notebooks.bundle --help says more
MODEL ?= gbert-base
bundle: setup
	$(PY) -m notebooks.bundle --model $(MODEL)

images: setup
	$(PY) -m images.make

clean:
	rm -rf .venv .venv-oldest .pytest_cache .ruff_cache .mypy_cache .hypothesis
