# Two commands do everything: `make demo` and `make test`. Both make .venv if it is not there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two processes of one thread each (tests/conftest.py). A process takes neighbouring tests, which share what a module sets up.
# They write bytecode, whatever the environment says: tests start a hundred processes, which would compile all they import.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal --durations 20

.PHONY: demo test test-slow test-oldest test-all gate lint types docs wheel clean

demo: $(VENV)/.installed
	$(BIN)/capsbench run --suite demo --out results/demo
	$(BIN)/capsbench report --out results/demo

test: $(VENV)/.installed-dev
	$(PYTEST) -m 'not slow'

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m slow

# The oldest torch supported, with its Triton and the NumPy that knows of both. The rest is that of $(VENV), CUDA's libraries too.
OLDEST ?= .venv-oldest
OLDEST_PACKAGES = torch==2.11.0 triton==3.6.0 numpy==2.3.5 nvidia-curand==10.4.0.35

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -n 2 tests/kernels/passes/triton/test_launch.py tests/kernels/passes/triton/test_compile.py

test-all: test test-slow test-oldest

# A cell that fails is the gate's to report, beside what it says of the others.
gate: $(VENV)/.installed
	rm -rf results/gate
	-$(BIN)/capsbench run --suite ci --out results/gate
	$(BIN)/capsbench check --against results/reference/ci --out results/gate --summary results/gate/summary.md

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# The documentation site, in build/docs; a warning is an error. Sphinx wants a newer requests than torchattacks: it has an
# environment of its own, on top of the other.
DOCS ?= .venv-docs
DOCS_PACKAGES = sphinx==9.0.4 myst-parser==5.2.0 myst-nb==1.4.0 furo==2025.12.19

docs: $(DOCS)/.installed
	$(BIN)/python .ci/reference --check
	$(BIN)/python .ci/findings --check
	$(DOCS)/bin/python -m sphinx -n -W --keep-going -q -b html docs build/docs

wheel: $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --wheel

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "capsbench needs Python 3.11 or later; this is `$(PYTHON) --version`. Name another: make demo PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[attacks]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What stands in a .pth file is looked at after the environment's own packages.
ADD_REST = $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	`$(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'`/rest.pth

$(OLDEST)/.installed: Makefile $(VENV)/.installed-dev
	$(BIN)/python -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --no-deps $(OLDEST_PACKAGES)
	$(ADD_REST)
	@touch $@

$(DOCS)/.installed: Makefile $(VENV)/.installed-dev
	$(BIN)/python -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip install $(DOCS_PACKAGES)
	$(ADD_REST)
	@touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(DOCS) build dist
