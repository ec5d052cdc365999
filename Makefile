.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup:  ## the environment (.venv) and the small model
	@scripts/setup.sh

demo: setup  ## the main job on real input: about 300 problems, a real model, published sets, a short SFT
	@.venv/bin/cuvee run demo
	@.venv/bin/cuvee train demo

test: setup  ## the tests, at most 12 minutes on two cores
	@.venv/bin/python -m pytest -n 2 --dist loadfile

lint: setup  ## ruff and mypy
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

format: setup  ## what ruff mends by itself
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

test-slow: setup  ## one slow group: make test-slow GROUP=faults
	@.venv/bin/python -m pytest --override-ini addopts="-ra --strict-markers" tests/slow/$(GROUP)
