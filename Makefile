# Everything a contributor needs is a target of this file, and continuous integration runs these targets and nothing else.
# `make help` lists them.

VENV ?= .venv
PORT ?= 8000
# Processes for pytest; the tests are written so that any number works.
JOBS ?= 2

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
PY := $(BIN)/python

# Pytest and the kernels use all cores already; BLAS threads on top of them only wait for each other.
export OPENBLAS_NUM_THREADS ?= 1

# Keras wants to be told which framework to compute with before it is imported, by the API page too.
export KERAS_BACKEND ?= torch

STAMP := $(VENV)/.installed
BOOK := _build/html/index.html

.DEFAULT_GOAL := help
.PHONY: help install book test test-package test-paths test-browser notebooks lint format bench gpu-is-there test-gpu bench-gpu serve lab package clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null || \
	grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv and install everything into it

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

book: $(STAMP) ## execute every notebook and build the book; warnings are errors
	rm -rf _build/html/_modules # Sphinx would keep source pages that are newer than their module, with an old frame
	LSTM_NUMBA_BOOK=1 $(BIN)/jupyter-book build --all -W -n --keep-going .
	@echo "The book is in $(BOOK)"

test: test-package notebooks ## run the whole test suite, and every notebook
	@if [ -f $(BOOK) ]; then $(MAKE) test-browser; else echo "No built book: 'make book' first to test its pages too."; fi

test-package: $(STAMP)
	$(PY) -m pytest -n $(JOBS) tests --ignore=tests/browser

# Numba compiles for the processor that these two variables name, and the kernels' tiles follow.
NARROW := NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=$(CURDIR)/_build/kernels
PARITY := tests/cpu $(addprefix tests/layers/test_,recurrent_against_torch.py other_cells.py stream.py checkpoint.py)

test-paths: $(STAMP) ## test the kernels as on x86 processors with AVX2, and with 128-bit vectors; compiles everything anew
	$(NARROW) NUMBA_CPU_FEATURES=+avx2,+fma $(PY) -m pytest $(PARITY)
	$(NARROW) NUMBA_CPU_FEATURES= $(PY) -m pytest $(PARITY)

test-browser: $(STAMP) ## open every page of the built book in headless Chromium
	$(PY) -m pytest -n $(JOBS) tests/browser

notebooks: $(STAMP) ## run every notebook from top to bottom
	$(PY) -m pytest -n $(JOBS) --nbmake --nbmake-timeout=300 notebooks

lint: $(STAMP) ## check style, and that no notebook carries outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb
	$(PY) -m mypy

format: $(STAMP) ## let ruff fix and format the code, and strip the notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

bench: $(STAMP) ## time the kernels; writes benchmarks/results/, the README's table and book/targets.md
	$(PY) -m benchmarks
	$(PY) -m benchmarks report --update

gpu-is-there: $(STAMP)
	@$(PY) -m lstm_numba.gpu

test-gpu: gpu-is-there ## test the kernels on this machine's NVIDIA GPU; fails without one
	LSTM_NUMBA_GPU=required $(PY) -m pytest -n $(JOBS) tests/gpu/on_device
	$(PY) -m pytest -n $(JOBS) tests/layers tests/test_explain.py tests/test_gradcheck.py -k cuda

bench-gpu: gpu-is-there ## time the kernels on this machine's NVIDIA GPU against cuDNN, into benchmarks/results/cuda.json
	$(PY) -m benchmarks.cuda_speed

serve: $(STAMP) ## show the built book in a browser (PORT=8000)
	@test -f $(BOOK) || { echo "No built book: 'make book' first."; exit 1; }
	@echo "The book is at http://127.0.0.1:$(PORT)/ ; Ctrl-C stops."
	@$(PY) -m webbrowser -t "http://127.0.0.1:$(PORT)/" >/dev/null 2>&1 || true
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

lab: $(STAMP) ## open the notebooks in JupyterLab
	$(BIN)/jupyter-lab --notebook-dir=.

package: $(STAMP) ## build the sdist and the wheel into dist/
	rm -rf dist
	$(PY) -m build --outdir dist .

clean: ## remove what the build and the tests wrote
	rm -rf _build dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	rm -rf $(VENV)
