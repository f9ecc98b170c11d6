# Each target works from a bare clone: the virtual environment is made when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
FUZZ_SECONDS ?= 60

.PHONY: help format check test clients soak fuzz docs bench bench-check demo clean

help:
	@echo "make format   put code and imports in order"
	@echo "make check    ruff and mypy"
	@echo "make test     all tests, doctests included, with coverage"
	@echo "make clients  programs that train through this library, on it as it is; takes a quarter of an hour"
	@echo "make soak     the fault suite at full length; takes some twenty minutes"
	@echo "make fuzz     random targets, datasets, files and commands for a minute; FUZZ_SECONDS=600 for ten"
	@echo "make docs     the documentation, in docs/build/html"
	@echo "make bench    speeds, each beside its limit, measured in one run"
	@echo "make bench-check  which counts of opens, blocks, bytes and calls have moved; takes seconds"
	@echo "make demo     samples of a toy dataset as a picture, and a table of speeds"
	@echo "make clean    remove what the above have made, the virtual environment aside"

$(READY): pyproject.toml $(wildcard requirements/*.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e ".[headless,tests,docs,bench]"
	touch $(READY)

format: $(READY)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

check: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

test: $(READY)
	$(BIN)/python run_tests.py --cov=ndsampler --cov-report=term-missing:skip-covered

clients:
	bash .ci/clients

soak: $(READY)
	$(BIN)/python -m pytest tests/faults --faults=soak

fuzz: $(READY)
	$(BIN)/python tests/fuzz --seconds $(FUZZ_SECONDS)

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -b html docs/source docs/build/html

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-check: $(READY)
	$(BIN)/python -m benchmarks.counts

demo: $(READY)
	$(BIN)/python -m ndsampler demo

clean:
	rm -rf build dist *.egg-info docs/build htmlcov .coverage .coverage.* \
		.pytest_cache .hypothesis .mypy_cache .ruff_cache ndsampler_demo benchmarks/results
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
