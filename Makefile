# `make report` makes the report on this machine, `make test` runs what CI runs.
# Both make .venv from the lock first; a second run starts at once.
PYTHON ?= python3
BIN := .venv/bin
UV := $(if $(shell uv --version 2>/dev/null),uv,$(BIN)/uv)
export PYTHONUNBUFFERED := 1
unexport PYTHONDONTWRITEBYTECODE  # else each of many processes compiles what it imports
BUILD := $(or $(HW2_BUILD),build)
NO_DOT := command -v dot >/dev/null || echo "Graphviz's dot is missing: the architecture drawings are left out"
NO_CHROMIUM := from helpers import browser; browser.program() or print("Chromium is missing: the page tests are left out")
FREE := import psutil; print(psutil.virtual_memory().available >> 20)
# The Snakefile holds a lock of its own, which no killed run leaves behind: --nolock.
SNAKEMAKE = $(BIN)/snakemake --cores all --resources mem_mb=$$($(BIN)/python -c '$(FREE)') \
  --rerun-triggers mtime --rerun-incomplete --nolock --quiet all
# The Snakefile and the notebooks' kernels call the environment's programs by their names.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: report pdf test verify faults lock clean

report: .venv/.made
	@$(NO_DOT)
	@$(SNAKEMAKE) -- report
	@echo "The report: file://$(CURDIR)/_build/html/index.html"

pdf: .venv/.made  ## the answers to hand in, in English and Chinese (Debian: fonts-noto-cjk)
	$(BIN)/jupyter-book build book/ --quiet
	@$(BIN)/python book/pdf.py

test: .venv/.made
	@$(NO_DOT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@PYTHONPATH=tests $(BIN)/python -c '$(NO_CHROMIUM)'
	HW2_SLOW=1 $(BIN)/python -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadfile --nbval-lax notebooks
	$(SNAKEMAKE) -- other_targets

.venv/.made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@mkdir -p .venv
	@p=$$(cat .venv/.making 2>/dev/null) && kill -0 $$p 2>/dev/null && \
	  { echo "process $$p makes the environment here: wait for it, or stop it first" >&2; exit 1; }; \
	  echo $$PPID >.venv/.making
	$(PYTHON) -m venv .venv
	@$(UV) --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv==0.13.9
	$(UV) pip install --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --python $(BIN)/python --no-build-isolation --no-deps -e .
	@rm .venv/.making
	@touch $@

verify: .venv/.made  ## recorded numbers, measured again with the shipped weights
	$(BIN)/hw2 verify

faults: .venv/.made  ## kills, full disks, bad inputs and damaged files: the long form, one table
	PYTHONPATH=tests:. $(BIN)/python -m faults.campaign

lock:  ## after a change of what pyproject.toml asks for
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate pyproject.toml --all-extras \
	  --group notebooks --group book --group graph --group test -o requirements.lock
	$(PYTHON) tests/helpers/environment.py > environment.yml

clean:  ## of a folder that HW2_BUILD names, only what is made here
	rm -rf _build .snakemake
	-test ! -d "$(BUILD)" || { cd "$(BUILD)" && rm -rf book.log cache data.txt papermill results runs && rmdir "$$PWD" 2>/dev/null; }
