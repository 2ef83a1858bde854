# Quadfire: `make` lists what there is to do. Everything is installed into .venv, built in build/.

PYTHON ?= python3
CONFIG ?= default
BOARD  ?= ulx3s-85f
JOBS   ?= 2

VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready
BENCH  := $(VENV)/.ready-bench
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo resnet19 train test-fast test test-full verilog sim fuzz lint bench bench-fast \
        bitstream clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  CONFIG=$(CONFIG) names the array (tiny, small, medium, default, wide, large)"
	@echo "  BOARD=$(BOARD) names the board (ulx3s-85f, icebreaker)"

setup: $(READY)  ## make .venv and install everything into it

$(READY): requirements.txt requirements-peers.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it by PYTHON=..."; exit 1; }
	@command -v $${CXX:-g++} > /dev/null || \
		{ echo "A C++ compiler is needed: install g++, or name one by CXX=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-peers.txt
	@touch $@

$(BENCH): requirements-bench.txt $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

demo: $(READY)  ## run a trained network on the generated Verilog, compare bit for bit
	$(RUN) -m sim demo

resnet19: $(READY)  ## one image through a whole ResNet-19 in RTL, every spike compared
	$(RUN) -m sim deep resnet19

train: $(READY)  ## train the network of the demo again
	$(RUN) -m models train

test-fast: $(READY)  ## the tests to run while editing, under two minutes
	$(RUN) -m pytest -n $(JOBS) -m "fast and not slow"

test: $(READY)  ## all tests but the slow ones
	$(RUN) -m pytest -n $(JOBS) -m "not slow"

test-full: $(BENCH)  ## all tests, with more examples each
	HYPOTHESIS_PROFILE=full $(RUN) -m pytest -n $(JOBS)

verilog: $(READY)  ## write the Verilog of CONFIG and its description to build/
	$(RUN) -m rtl verilog --config $(CONFIG) -o build/

sim: $(READY)  ## compile CONFIG for simulation and run all cocotb benches
	$(RUN) -m sim build --config $(CONFIG)
	$(RUN) -m sim cocotb

fuzz: $(READY)  ## a million damaged packets into the simulated array: no hang, no wrong answer
	$(RUN) -m quadfire.sim.verilator.fuzz

lint: $(READY)  ## style, types, and Verilator's opinion of the Verilog
	$(RUN) -m ruff check .
	$(RUN) -m pyright
	$(RUN) -m sim lint

bench: $(BENCH)  ## area and clock of arrays and blocks on all devices, speed of simulation (hours)
	$(RUN) -m sim speed
	$(RUN) -m rtl bench --jobs $(JOBS)

bench-fast: $(BENCH)  ## the part of it that continuous integration checks, minutes
	$(RUN) -m rtl bench --fast --jobs $(JOBS)

bitstream: $(BENCH)  ## build the bitstream of BOARD, with timing and utilisation
	$(RUN) -m rtl bitstream --board $(BOARD)

clean:  ## remove what was built; .venv stays
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
