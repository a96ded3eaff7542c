# `make report` makes the report on this machine, `make test` runs what CI runs.
# Both make .venv from the lock first; a second run starts at once.
PYTHON ?= python3
BIN := .venv/bin
UV := $(if $(shell uv --version 2>/dev/null),uv,$(BIN)/uv)
export PYTHONUNBUFFERED := 1
unexport PYTHONDONTWRITEBYTECODE  # else each of many processes compiles what it imports
NO_DOT := command -v dot >/dev/null || echo "Graphviz's dot is missing: the architecture drawings are left out"
NO_CHROMIUM := from helpers import browser; browser.program() or print("Chromium is missing: the page tests are left out")
BUILD := from hw2lib.io.paths import build_dir; print(build_dir())
PROFILE ?= profiles/local
PRESET ?= full
FREE := import psutil; print(psutil.virtual_memory().available >> 20)
# The Snakefile holds a lock of its own, which no killed run leaves behind: --nolock.
SNAKEMAKE = $(BIN)/snakemake --cores all --resources mem_mb=$$($(BIN)/python -c '$(FREE)') \
  --rerun-triggers mtime --rerun-incomplete --nolock --quiet all
# The Snakefile and the notebooks' kernels call the environment's programs by their names.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: report record pdf test notebooks_lax other_targets verify faults cluster lock clean

report: .venv/.made
	@$(NO_DOT)
	@$(SNAKEMAKE) -- report
	@echo "The report: file://$$PWD/_build/html/index.html"

record: .venv/.made  ## the whole recording; also PROFILE=profiles/slurm, PRESET=quick | weights
	@$(BIN)/python benchmarks/recording.py check $(PRESET) $(PROFILE)
	@$(BIN)/snakemake -s record.smk --profile $(PROFILE) --config preset=$(PRESET) \
	  $(if $(filter %local,$(PROFILE)),--resources mem_mb=$$($(BIN)/python -c '$(FREE)')) -- record

pdf: .venv/.made  ## the answers to hand in, in English and Chinese (Debian: fonts-noto-cjk)
	$(BIN)/jupyter-book build book/ --quiet
	@$(BIN)/python book/pdf.py

test: .venv/.made
	@$(NO_DOT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@PYTHONPATH=tests $(BIN)/python -c '$(NO_CHROMIUM)'
	HW2_SLOW=1 $(BIN)/python -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder tests
	@$(MAKE) --no-print-directory -j 2 notebooks_lax other_targets
	$(BIN)/python -m pytest -q -rs -p no:nbval -p no:xdist tests/studies/test_dann_order.py

notebooks_lax:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadfile --nbval-lax notebooks

other_targets:
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

cluster: .venv/.made  ## the recording through a Slurm of two nodes; as root, with Debian's slurm packages
	HW2_CLUSTER=1 $(BIN)/python -m pytest -q -rs -n 0 tests/cluster

lock:  ## after a change of what pyproject.toml asks for
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate pyproject.toml --all-extras \
	  --group notebooks --group book --group graph --group test -o requirements.lock
	$(PYTHON) tests/helpers/environment.py > environment.yml

clean:  ## what was made here; of a folder that HW2_BUILD names, only if it was made here, too
	rm -rf _build .snakemake
	@b=$$($(PYTHON) -c '$(BUILD)') || exit; test -d "$$b" || exit 0; \
	  test -z "$$HW2_BUILD" || test -f "$$b/.hw2lib" || \
	  { echo "$$b was not made here: remove from it yourself" >&2; exit 1; }; \
	  cd "$$b" && rm -rf book.log book.tsv cache data.txt papermill record results runs .hw2lib && \
	  { rmdir "$$b" 2>/dev/null || true; }
