# make demo   trains on the embedded corpus, translates and scores
# make test   lint, types and the quick tests; make check is lint and types alone
# make slow   the other tests: fault runs, crash points, whole tables
# Every target makes .venv first, with plain venv and pip.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo check test slow bench bench-decode bench-train bench-products bench-ancestors bench-gpu docs format clean

# Under the name it had before, the program would own the same command.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip uninstall -qq --yes seq2seq
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch .venv/installed

demo: .venv/installed
	$(BIN)/seq2seq train --config data/recipes/phrasebook.toml -o demo/phrasebook
	printf '%s\n' 'Der kleine Hund schläft im Garten.' 'Morgen kauft meine Schwester einen roten Hut.' \
	    'Er sagt, dass wir das alte Haus verkauft haben.' 'Wir müssen morgen um halb acht aufstehen.' \
	  | $(BIN)/seq2seq translate demo/phrasebook
	$(BIN)/seq2seq eval demo/phrasebook data/phrasebook/test

check: .venv/installed
	$(BIN)/ruff format --check seq2seq tests data docs
	$(BIN)/ruff check seq2seq tests data docs
	$(BIN)/mypy

# Two test processes; one that runs out of tests takes half of the other's remaining ones.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

test: check
	$(PYTEST)

slow: .venv/installed
	$(PYTEST) -m slow

bench: .venv/installed
	$(BIN)/python -m pytest -m benchmark -s

# What translating promises, counted, and its speed beside CTranslate2's: make bench-decode RUN=... CORPUS=...
RUN ?= demo/phrasebook
CORPUS ?= data/phrasebook/test

bench-decode: .venv/installed
	$(BIN)/python tests/benchmarks/decode_contracts.py $(RUN) $(CORPUS)
	$(BIN)/python tests/benchmarks/decode_speed.py $(RUN) $(CORPUS)
	$(BIN)/python tests/benchmarks/engine_speed.py $(RUN) $(CORPUS)

# Target tokens a second beside a straightforward loop: make bench-train TRAIN=... LANGS=...
TRAIN ?= data/phrasebook/train
LANGS ?= de-en

bench-train: .venv/installed
	$(BIN)/python tests/benchmarks/train_speed.py $(TRAIN) $(LANGS)

# Products of weights by each library, from which the table of seq2seq/model/products.py is made
bench-products: .venv/installed
	$(BIN)/python tests/benchmarks/product_speed.py

# The Transformer beside the RNN and the CNN that it replaced: make bench-ancestors TRAIN=... VALID=... LANGS=...
MINUTES = 10 30
bench-ancestors: .venv/installed
	$(BIN)/python tests/benchmarks/ancestors.py $(TRAIN) $(VALID) $(LANGS) $(MINUTES)

# All that one NVIDIA GPU can tell, within 8 minutes, as a document to paste: make bench-gpu, or with
# TRAIN=... LANGS=... (a real corpus), RUN=... (a trained run), LIMIT=... (seconds)
# Without the network: PYTHONPATH=. python3 tests/benchmarks/gpu_speed.py
LIMIT ?= 480
given = $(if $(findstring command,$(origin $(1))),$(2))
bench-gpu: .venv/installed
	$(BIN)/python tests/benchmarks/gpu_speed.py --seconds $(LIMIT) \
	    $(call given,TRAIN,--train $(TRAIN) --langs $(LANGS)) $(call given,RUN,--run $(RUN))

# The tables of docs/ that follow from the code
docs: .venv/installed
	$(BIN)/python docs/make.py

format: .venv/installed
	$(BIN)/ruff format seq2seq tests data docs
	$(BIN)/ruff check --fix seq2seq tests data docs

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
