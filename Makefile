# Everything a newcomer needs: `make demo` and `make test`. Neither needs the other.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-aarch64 lint format lock clean

VENV := .venv
RUN := $(VENV)/bin
WORKERS := $(shell expr $$(nproc) \* 2)

help:
	@echo "make demo       set up, then run the whole loop on real text (about 6 minutes on 2 cores)"
	@echo "make test       set up, then run the tests"
	@echo "make test-slow  set up, then run the tests that take minutes (environments of all roles)"
	@echo "make test-aarch64  optional: train and test on emulated ARM (10 minutes; docs/aarch64.md)"
	@echo "make lint       set up, then check style and types"
	@echo "make format     rewrite the code in the house style"
	@echo "make setup      only set up: leaves $(RUN)/keychorus"
	@echo "make lock       write requirements/*.txt anew from requirements/*.in"
	@echo "make clean      remove the environment and everything that was generated"

setup:
	@./requirements/setup.sh workstation $(VENV)

demo: setup
	@$(RUN)/keychorus demo

test: setup
	$(RUN)/python -m pytest -m "not slow" -n $(WORKERS) --maxprocesses 8 --dist worksteal

test-slow: setup
	$(RUN)/python -m pytest -m slow --durations=20

test-aarch64: setup
	tests/aarch64/run.sh

lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: setup
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

lock:
	./requirements/lock.sh

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info reports
