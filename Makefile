# `make report` makes the report on this machine, `make test` runs what CI runs.
# Both make .venv from the lock first; a second run starts at once.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
# The Snakefile and the notebooks' kernels call the environment's programs by their names.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: report test lock clean

report: .venv/.made
	@command -v dot >/dev/null || echo "Graphviz's dot is missing: the architecture drawings are left out"
	$(BIN)/snakemake --cores 1 --rerun-triggers mtime --quiet rules
	@echo "The report: file://$(CURDIR)/_build/html/index.html"

test: .venv/.made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n 2 --dist loadscope tests --ignore tests/test_page.py
	$(BIN)/python -m pytest -q --nbval-lax notebooks
	$(BIN)/snakemake --cores 1 --quiet rules -- build/papermill/dann-svhn.ipynb build/papermill/dann-usps.ipynb
	$(BIN)/jupyter-book build book/ --all -W -n --keep-going
	@command -v chromium >/dev/null || echo "Chromium is missing: the page tests are left out"
	$(BIN)/python -m pytest -q tests/test_page.py

.venv/.made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar on -r requirements.lock
	$(BIN)/python -m pip install --no-deps -e .
	touch $@

lock:  ## after a change of requirements.in
	uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate requirements.in -o requirements.lock
	$(PYTHON) tests/environment.py > environment.yml

clean:
	rm -rf build _build .snakemake
