# Plain Make, venv and pip; uv, where it is installed, is quicker and used instead.
#
#   make lab                  install the lab and open it
#   make lab EXTRAS=cuda13    the same with other extras of pyproject.toml (cuda12, hub);
#                             remembered until `make clean`
#   make test PYTHON=...      the same for any target: a Python of your choice

# Works with GNU Make 3.81, which macOS ships: so no .SHELLFLAGS, no .ONESHELL.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= $(shell cat $(VENV)/.extras 2>/dev/null)
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

comma := ,
with_extras = $(1)$(if $(EXTRAS),$(comma)$(EXTRAS))
LAB_STAMP := $(VENV)/.lab-stamp$(if $(EXTRAS),-$(EXTRAS))
TEST_STAMP := $(VENV)/.test-stamp$(if $(EXTRAS),-$(EXTRAS))
BOOK_STAMP := $(VENV)/.book-stamp$(if $(EXTRAS),-$(EXTRAS))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Nothing but packages is ever downloaded: no Python by uv, no browser by playwright.
export UV_PYTHON_DOWNLOADS := never
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1

# A file stays with one worker: its cells and fixtures belong together.
WORKERS ?= 2
workers = -n $(WORKERS) --dist loadfile

# A phase of the tests says how long it took; .ci/run collects these lines.
timed = @set -e; trap 'echo "== $@: $$SECONDS s"' EXIT;

.PHONY: help lab doctor bench bench-check test lint format test-unit test-notebooks test-browser \
	coverage book test-book clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' Makefile

# ---- the lab ----

lab: $(LAB_STAMP) ## install, report on this machine, open JupyterLab
	@$(BIN)/lmxlab doctor || true # advice: it does not stop the lab
	@exec $(BIN)/lmxlab lab

doctor: $(LAB_STAMP) ## report on this machine: device, BLAS, compiler, widgets
	@$(BIN)/lmxlab doctor

bench: $(LAB_STAMP) ## measure the training step and the live plot here
	@$(BIN)/lmxlab bench

bench-check: $(LAB_STAMP) ## fail if the step has become much slower than it was
	@$(BIN)/lmxlab bench --quick --check

# ---- the tests ----

test: lint test-unit test-notebooks test-browser ## everything that follows

lint: $(TEST_STAMP) ## ruff, mypy, spelling, notebooks free of outputs
	$(timed) $(BIN)/ruff check .; \
	$(BIN)/ruff format --check .; \
	$(BIN)/mypy; \
	$(BIN)/codespell *.md Makefile book lmxlab notebooks tests; \
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify --keep-id $(NOTEBOOKS))

test-unit: $(TEST_STAMP) ## unit tests, and the examples in docstrings
	$(timed) LMXLAB_RUNS=off $(BIN)/python -m pytest --ignore=tests/browser \
		$(workers) --durations=10

# On notebooks without stored outputs --nbval-lax compares nothing: that each cell runs,
# and the assertions in the cells, are the test; and, through the plugin, that nothing
# fails behind them, in a button's callback or a task.
test-notebooks: $(TEST_STAMP) ## every notebook, run whole
	$(timed) LMXLAB_RUNS=off PYTHONWARNINGS=error::UserWarning \
		PYTHONPATH=tests/notebooks OPENBLAS_NUM_THREADS=1 \
		$(BIN)/python -m pytest -p nbval_background --nbval-lax --nbval-current-env \
		--nbval-cell-timeout=120 $(workers) --durations=15 notebooks

test-browser: $(TEST_STAMP) ## buttons and sliders, in JupyterLab in Chromium
	$(timed) $(BIN)/python -m pytest --durations=10 tests/browser

coverage: $(TEST_STAMP) ## the lines that the unit tests do not reach
	@LMXLAB_RUNS=off $(BIN)/python -m pytest --ignore=tests/browser --cov=lmxlab

# ---- the book ----

# The source root is the repository: notebooks are neither copied nor linked.
book: $(BOOK_STAMP) ## run the notebooks and build the book into _build/html/book
	$(timed) export LMXLAB_RUNS=off; \
	OPENBLAS_NUM_THREADS=1 $(BIN)/python book/execute.py; \
	$(BIN)/python -m sphinx -W --keep-going -n -q -c book . _build/html
	@echo "The book: _build/html/book/index.html"

test-book: book $(TEST_STAMP) ## the built book in Chromium
	$(timed) LMXLAB_REQUIRE_BOOK=1 $(BIN)/python -m pytest --durations=10 \
		tests/browser/test_book.py

format: $(TEST_STAMP) ## format the code, clear the notebooks
	@$(BIN)/ruff check --fix --exit-zero . && $(BIN)/ruff format .
	@$(if $(NOTEBOOKS),$(BIN)/nbstripout --keep-id $(NOTEBOOKS))

clean: ## remove what Make and the tools made; your runs stay
	rm -rf $(VENV) build dist _build htmlcov .coverage .hypothesis .jupyter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the environment: a stamp is written last, so a failed install leaves none ----

$(LAB_STAMP): pyproject.toml | $(VENV)/.python-stamp
	$(call install,lab)

$(TEST_STAMP): pyproject.toml | $(VENV)/.python-stamp
	$(call install,test)

$(BOOK_STAMP): pyproject.toml | $(VENV)/.python-stamp
	$(call install,book)

# MLX's CPU and CUDA backends own the same file; the CUDA one must be installed last.
define install
@echo "Installing lmxlab[$(call with_extras,$(1))] into $(VENV) ..."
@set -e; if command -v uv >/dev/null; then \
	pip=(uv pip install --quiet --python $(BIN)/python); reinstall=--reinstall; \
else \
	pip=($(BIN)/python -m pip install --quiet); reinstall=--force-reinstall; \
fi; \
"$${pip[@]}" --editable '.[$(call with_extras,$(1))]'; \
for cuda in 12 13; do case ',$(EXTRAS),' in *,cuda$$cuda,*) \
	mlx=$$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("mlx"))'); \
	"$${pip[@]}" $$reinstall --no-deps "mlx-cuda-$$cuda==$$mlx";; esac; done
@echo '$(EXTRAS)' > $(VENV)/.extras
@touch $@
endef

# A name on PATH may be a shim that runs nothing, so each candidate is tried.
$(VENV)/.python-stamp:
	@found=; for python in $(PYTHON) $(if $(PYTHON),,python3.13 python3.12 python3.11 \
			python3.14 python3 python); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			>/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "lmxlab needs Python 3.11 or newer, and $(if $(PYTHON),$(PYTHON) is \
	not,none was found on PATH). Install one (python.org, Homebrew, or your system's \
	packages), or name it: make $(or $(MAKECMDGOALS),lab) PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	set -e; if command -v uv >/dev/null; then \
		uv venv --quiet --clear --seed --python "$$("$$found" -c \
			'import sys; print(sys.executable)')" $(VENV); \
	else \
		"$$found" -m venv --clear $(VENV) || { rm -rf $(VENV); echo "$$found could not \
	make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
			exit 1; }; \
	fi
	@touch $@
