# make demo: the main job on the shipped data.  make test: the tests.  Both set up .venv first.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: setup setup-dev demo test test-all lint images clean

setup: .venv/.installed
setup-dev: .venv/.installed-dev

.venv/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; name one with PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: setup
	$(PY) train.py --model starter --data sample --run demo --overwrite
	$(PY) create_confusion_matrix.py --run demo --split test
	$(PY) create_ensemble_submission.py demo --output submission.csv

test: setup-dev
	$(PY) -m pytest -n auto

test-all: setup-dev
	$(PY) -m pytest -n auto -m ''

lint: setup-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

images: setup
	$(PY) -m images.make

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
