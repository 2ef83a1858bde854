# Quadfire: `make` lists what there is to do. Everything is installed into .venv, built in build/.

PYTHON ?= python3
CONFIG ?= default
BOARD  ?= ulx3s-85f
JOBS   ?= 2

VENV   := .venv
RUN    := $(VENV)/bin/python
QF     := $(VENV)/bin/quadfire
PIP    := $(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Libraries of others that tests compare with, without their own requirements: see constraints.txt.
PEERS  := snntorch spikingjelly norse sinabs nir nirtorch pbr
READY  := $(VENV)/.ready
BENCH  := $(VENV)/.ready-bench
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo resnet19 train test-fast test test-full verilog sim fuzz lint bench bench-fast \
        bitstream package clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  CONFIG=$(CONFIG) names the array (tiny, tiny-conv, small, medium, default, default-long, wide, large)"
	@echo "  BOARD=$(BOARD) names the board (ulx3s-85f, icebreaker)"

setup: $(READY)  ## make .venv and install everything into it

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it by PYTHON=..."; exit 1; }
	@command -v $${CXX:-g++} > /dev/null || \
		{ echo "A C++ compiler is needed: install g++, or name one by CXX=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps $(PEERS)
	@touch $@

$(BENCH): constraints.txt $(READY)
	$(PIP) -e '.[fpga]'
	@touch $@

demo: $(READY)  ## run a trained network on the generated Verilog, compare bit for bit
	$(QF) demo

resnet19: $(READY)  ## one image through a whole ResNet-19 in RTL, every spike compared
	$(QF) deep resnet19

train: $(READY)  ## train the network of the demo again
	$(QF) train

test-fast: $(READY)  ## the tests to run while editing, under two minutes
	$(RUN) -m pytest -n $(JOBS) -m "fast and not slow"

test: $(READY)  ## all tests but the slow ones
	$(RUN) -m pytest -n $(JOBS) -m "not slow"

test-full: $(BENCH)  ## all tests, with more examples each
	HYPOTHESIS_PROFILE=full $(RUN) -m pytest -n $(JOBS)

verilog: $(READY)  ## write the Verilog of CONFIG and its description to build/
	$(QF) verilog --config $(CONFIG) -o build/

sim: $(READY)  ## compile CONFIG for simulation and run all cocotb benches
	$(QF) build --config $(CONFIG)
	$(QF) cocotb

fuzz: $(READY)  ## a million damaged packets into the simulated array: no hang, no wrong answer
	$(QF) fuzz

lint: $(READY)  ## style, types, and Verilator's opinion of the Verilog
	$(RUN) -m ruff check .
	$(RUN) -m pyright
	$(QF) lint

bench: $(BENCH)  ## area and clock of arrays and blocks on all devices, speed of simulation (hours)
	$(QF) speed
	$(QF) training-speed
	$(QF) bench --jobs $(JOBS)

bench-fast: $(BENCH)  ## the part of it that continuous integration checks, minutes
	$(QF) bench --fast --jobs $(JOBS)

bitstream: $(BENCH)  ## build the bitstream of BOARD, with timing and utilisation
	$(QF) bitstream --board $(BOARD)

package: $(READY)  ## build wheel and sdist, and try them in a fresh environment
	$(RUN) -m tests.package.try_wheel

clean:  ## remove what was built; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
