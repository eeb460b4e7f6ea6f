# make book: train the thesis's five rows small, execute the notebooks, build the book
# make test: lint, types, the book, and all tests, on two WORKERS=; make test WING=human: one folder of them
# make serve: the book at http://127.0.0.1:8000/, or at another PORT=
# make pdf, make epub: the whole book in one file
# make archive: what a release carries, with checksums
# make reference DATA=cifar10-jpeg.npz PRETRAIN=tiny-imagenet-32.npz: the reference runs that results/
#     lacks; hours, resumable
# Set-up is part of both: the first call makes .venv and installs what constraints.txt pins.

PYTHON ?= python3
CORES ?= all
PROFILE ?= quick
PORT ?= 8000
WORKERS ?= 2
BIN := .venv/bin
export DATA PRETRAIN # so that the shell quotes them
SNAKEMAKE = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --cores $(CORES) --quiet rules --rerun-incomplete --nolock

.PHONY: book test lint plan reference serve pdf epub archive clean
.DEFAULT_GOAL := book

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed; this is {v[0]}.{v[1]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

.venv/axe: tests/fetch_axe.py .venv/ready
	$(BIN)/python tests/fetch_axe.py
	touch $@

book: .venv/ready
	$(SNAKEMAKE) book --config profile=$(PROFILE)
	@echo "Open in a browser: file://$(CURDIR)/_build/html/index.html"

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

pdf: book
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python book/_tools/make_prints.py pdf

epub: book
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python book/_tools/make_prints.py epub

archive: book
	$(BIN)/python book/_tools/make_archive.py

plan: .venv/ready
	$(SNAKEMAKE) book --dry-run --config profile=$(PROFILE)

reference: .venv/ready
	@test -f "$$DATA" || { echo "make reference needs DATA=FILE.npz, the data set's file; got '$$DATA'"; exit 2; }
	@test -f "$$PRETRAIN" || { echo "make reference needs PRETRAIN=FILE.npz, Tiny-ImageNet's; got '$$PRETRAIN'"; exit 2; }
	$(SNAKEMAKE) reference --keep-going --config data="$$DATA" pretrain="$$PRETRAIN" \
		reference_profile=$$($(BIN)/python -c 'import torch; print("reference" if torch.cuda.is_available() else "cpu-reference")')

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One folder of tests, in seconds or a minute: make test WING=human
ifdef WING
test: lint .venv/axe
	$(BIN)/pytest tests/$(WING)
else
test: lint book .venv/axe
	ATTNLIB_BOOK_HTML="$(CURDIR)/_build/html" OMP_NUM_THREADS=1 \
		$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --nbval-lax tests notebooks
endif

clean:
	rm -rf _build book/runs .snakemake
