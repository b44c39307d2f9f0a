.DEFAULT_GOAL := help
.PHONY: help train test slow lint types docs format

help:    ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12
train:   ## the default run: generated people, a minute and a half
	uv run train.py
test:    ## the fast suite
	uv run pytest
slow:    ## the tests that train
	OMP_NUM_THREADS=1 uv run pytest -m slow -n auto --dist loadfile
lint:    ## format check, lint and import layers
	uv run --group dev ruff format --check . && uv run --group dev ruff check . && uv run --group dev lint-imports
types:   ## mypy
	uv run --group dev mypy && uv run --group dev mypy benchmarks
format:  ## apply format and safe fixes
	uv run --group dev ruff format . && uv run --group dev ruff check --fix .
docs:    ## the site, at localhost:8000
	uv run --group docs mkdocs serve
