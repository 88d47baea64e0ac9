# Everything the project can do, one target each. `make` alone lists them.
# Only Python (>= 3.11), git and make are needed: every target makes its own environment in .venv.

PYTHON ?= python3
OLDEST_PYTHON ?= python3.11
NEWEST_PYTHON ?= python3.13
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PIP_INSTALL := -m pip install -qq --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# two pips at once would break the environment they share
.NOTPARALLEL:

NOTEBOOKS := $(wildcard notebooks/[0-9]*.py)
SOURCES := $(shell find src/gammagrad -name '*.py')
CODE := src tests $(wildcard benchmarks) docs notebooks noxfile.py
# what must hold in single precision too
FLOAT32 := tests/core
# a test that needs gammapy has it in its name; the files that have such tests:
GAMMAPY_TESTS = $(shell grep -rl 'importorskip."gammapy' tests)
# where tests, notebooks and pages keep compiled code for later runs; empty: nowhere
export GAMMAGRAD_TEST_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gammagrad-tests
KEEP_CODE = $(BIN)/python tests/kept_code.py
WORKERS ?= auto
# neighbours run in one process, where they share what is compiled
PARALLEL = -n $(WORKERS) --dist worksteal
# tests/compiler.py: elsewhere tests trade the speed of compiled code for the time to compile it
AS_USERS = GAMMAGRAD_TEST_COMPILER=full

# ---------------------------------------------------------------- environment

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gammagrad needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	         "Point to another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making the environment $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module does not work; on Debian: apt install python3-venv"; exit 1; }
	@touch $@

# One stamp for each group and extra of pyproject.toml: .venv/installed/test is
# `pip install -e . --group test`, and .venv/installed/plot `pip install -e .[plot]`.
# Several at once, in one go: make .venv/installed/test,lint,plot
comma := ,
space := $(subst ,, )
IN_GROUPS := $(shell sed -n '/^\[dependency-groups\]/,/^\[project/s/^\([a-z]*\) = .*/\1/p' pyproject.toml)
words_of = $(subst $(comma), ,$1)
extras_of = $(subst $(space),$(comma),$(strip $(filter-out $(IN_GROUPS),$(words_of))))
groups_of = $(filter $(IN_GROUPS),$(words_of))
# PYTHON, NAMES OF GROUPS AND EXTRAS, OPTIONS OF PIP; pip older than 25.1 knows no groups
define install
@$(1) $(PIP_INSTALL) 'pip>=25.1'
@$(1) $(PIP_INSTALL) $(3) -e '.$(addprefix [,$(addsuffix ],$(call extras_of,$(2))))' \
  $(addprefix --group ,$(call groups_of,$(2)))
endef

$(INSTALLED)/%: pyproject.toml | $(VENV)/made
	@echo "Installing gammagrad and what it needs for $* into $(VENV)"
	$(call install,$(BIN)/python,$*,)
	@mkdir -p $(INSTALLED) && touch $@ $(addprefix $(INSTALLED)/,$(call words_of,$*))

# ---------------------------------------------------------------- what a person wants

.PHONY: help demo test
help:  ## list the targets
	@echo "Targets of this Makefile (each sets up $(VENV) by itself):"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED)/plot $(INSTALLED)/yaml  ## simulate a field, find its sources, write maps and pictures
	$(BIN)/gammagrad demo $(ARGS)

test: $(INSTALLED)/test  ## run the tests and the examples in docstrings (GAMMAPY_DATA adds real data)
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow' $(ARGS)

# ---------------------------------------------------------------- the other checks

.PHONY: test-slow fuzz test-float32 test-gammapy lint format format-check types review docs notebooks \
  oldest newest
test-slow: $(INSTALLED)/test  ## run the long studies that `make test` leaves out
	$(AS_USERS) $(BIN)/python -m pytest $(PARALLEL) -m slow $(ARGS)

fuzz: $(INSTALLED)/test  ## read damaged files and fit extreme arrays, drawn by a seed
	$(AS_USERS) $(BIN)/python tests/fuzz_files.py $(ARGS)
	$(AS_USERS) $(BIN)/python tests/fuzz_arrays.py $(ARGS)

test-float32: $(INSTALLED)/test  ## run the tests of the traced code in single precision
	GAMMAGRAD_TEST_PRECISION=float32 $(BIN)/python -m pytest $(PARALLEL) -m 'not slow' $(FLOAT32) $(ARGS)

# gammapy bounds the versions of scipy, astropy and regions: it has an environment of its own
.venv-gammapy/made: pyproject.toml
	@echo "Making the environment .venv-gammapy with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv-gammapy
	$(call install,.venv-gammapy/bin/python,test$(comma)gammapy,)
	@touch $@

test-gammapy: .venv-gammapy/made  ## run the tests that need gammapy itself, in .venv-gammapy
	.venv-gammapy/bin/python -m pytest $(PARALLEL) -k gammapy $(GAMMAPY_TESTS) $(ARGS)

lint: $(INSTALLED)/lint  ## look for mistakes with ruff, for misspelt words, and phrases that readers stumble over
	$(BIN)/ruff check $(CODE)
	$(BIN)/codespell $(CODE) .github *.md
	$(BIN)/python .ci/words.py

format: $(INSTALLED)/lint  ## rewrite the code in the project's format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

format-check: $(INSTALLED)/lint  ## fail where `make format` would change something
	$(BIN)/ruff format --check $(CODE)

types: $(INSTALLED)/types  ## check the types with mypy
	$(BIN)/mypy

# what reviewers of scientific Python ask for (repo-review), workflows, Markdown
review: $(INSTALLED)/review  ## look at the repository as a reviewer does
	$(BIN)/repo-review .
	$(BIN)/zizmor --offline --quiet .
	$(BIN)/rumdl check .

# Every notebook runs in a clean kernel; its outputs become a page of the documentation.
notebooks: docs/tutorials/made  ## execute every notebook

# those that changed; all, if something else did
docs/tutorials/made: $(NOTEBOOKS) notebooks/execute.py $(SOURCES) | $(INSTALLED)/notebooks
	@echo "Executing notebooks: about 4 minutes on 2 cores, 2 if compiled code was kept"
	$(KEEP_CODE) $(BIN)/python notebooks/execute.py $(if $(filter-out $(NOTEBOOKS),$?),$(NOTEBOOKS),$?)
	@touch $@

docs: $(INSTALLED)/docs docs/tutorials/made  ## build docs/_build/html; a warning fails
	@echo "Building pages and figures: about 3 minutes on 2 cores, 1.5 if compiled code was kept," \
	  "and seconds where nothing changed"
	$(KEEP_CODE) $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# Old releases warn about their own dependencies, so warnings of others do not fail here.
oldest: pyproject.toml  ## run the tests with the oldest supported versions, in .venv-oldest
	$(call fresh,.venv-oldest,OLDEST_PYTHON,-c .ci/oldest.txt)
	$(AS_USERS) .venv-oldest/bin/python -m pytest $(PARALLEL) -m 'not slow' -o filterwarnings=default $(ARGS)

newest: pyproject.toml  ## run the tests with the newest Python and versions, in .venv-newest
	$(call fresh,.venv-newest,NEWEST_PYTHON,)
	$(AS_USERS) .venv-newest/bin/python -m pytest $(PARALLEL) -m 'not slow' $(ARGS)

# FOLDER, NAME OF THE PYTHON'S VARIABLE, OPTIONS OF PIP: an environment made anew for the tests
define fresh
@$($(2)) -c '' || { echo "'$($(2))' does not run; point to another Python: make $@ $(2)=..."; exit 1; }
@echo "Making the environment $(1) with $$($($(2)) --version)"
@$($(2)) -m venv --clear $(1)
$(call install,$(1)/bin/python,test,$(3))
endef

# ---------------------------------------------------------------- how long it takes

# A page of the documentation is made from what they write to benchmarks/results.
.PHONY: bench bench-parts bench-phases bench-options bench-gradients bench-background bench-shapes \
  bench-history
bench: $(INSTALLED)/gammapy  ## time gammagrad against gammapy on GAMMAPY_DATA (an hour; ARGS=--quick: minutes)
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python docs/make_performance.py

bench-parts: $(INSTALLED)/gammapy  ## time imports and first runs, convolution, both engines on JAX's device
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/convolution.py
	$(BIN)/python benchmarks/device.py
	$(BIN)/python docs/make_performance.py

bench-phases: $(INSTALLED)/test  ## time the phases of a run, and the parts of the fits inside
	$(BIN)/python benchmarks/phases.py $(ARGS)
	$(BIN)/python docs/make_performance.py

bench-options: $(INSTALLED)/test  ## time each optional output, and count what it computes
	$(BIN)/python benchmarks/options.py $(ARGS)
	$(BIN)/python docs/make_performance.py

bench-gradients: $(INSTALLED)/test  ## time gradients of a map as multiples of the map
	$(BIN)/python benchmarks/gradients.py $(ARGS)
	$(BIN)/python docs/make_performance.py

bench-background: $(INSTALLED)/test  ## time the background loop against the same loop in scipy
	$(BIN)/python benchmarks/background.py $(ARGS)
	$(BIN)/python docs/make_performance.py

bench-shapes: $(INSTALLED)/test  ## time maps of many shapes in one process, and count mappings and memory
	$(BIN)/python benchmarks/shapes.py $(ARGS)

bench-history: $(INSTALLED)/test  ## time simulated maps, and add a line to the history of all commits
	$(BIN)/python benchmarks/history.py $(ARGS)

.PHONY: ci clean
ci:  ## run all that continuous integration runs
	bash .ci/run

clean:  ## remove environments, caches and everything built
	rm -rf .venv .venv-gammapy .venv-oldest .venv-newest build dist docs/_build docs/tutorials
	rm -rf .pytest_cache .mypy_cache .ruff_cache .rumdl_cache .nox .hypothesis src/gammagrad.egg-info
	$(if $(GAMMAGRAD_TEST_CACHE),rm -rf "$(GAMMAGRAD_TEST_CACHE)"/compiled-*)
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
