# Everything one does here is a verb: setup build demo test regress bench chaos lint format docs.
#
# One configuration for all of it: release, with testing enabled, so that a machine builds once and
# the tests run the same `exzo` that the benches measure.
CONFIGURATION ?= release
SWIFT_FLAGS = -c $(CONFIGURATION) -Xswiftc -enable-testing
JOBS ?= 2
EXZO = $(CURDIR)/.build/$(CONFIGURATION)/exzo
FILTER ?=
BENCH ?=
CHAOS ?=

export EXZO
export EXZO_EXTENSION_DIR ?= $(CURDIR)/.build/extensions

.PHONY: setup build demo test regress bench chaos lint format docs clean

setup:
	@scripts/setup

build: setup
	@scripts/build_extension
	@swift build $(SWIFT_FLAGS) --product exzo

demo: build
	@scripts/demo

# FILTER=VolumeTests runs a part. EXZO_TEST_ALL=1 fails what this machine cannot run instead of skipping.
test: setup
	@scripts/build_extension
	@swift build $(SWIFT_FLAGS) --build-tests
	@CONFIGURATION=$(CONFIGURATION) scripts/test '$(FILTER)'

# PostgreSQL's own regression suite on a compute, and a moment opened after it.
regress: setup
	@swift build $(SWIFT_FLAGS) --build-tests
	@EXZO_REGRESS=1 EXZO_TEST_SECONDS=1800 CONFIGURATION=$(CONFIGURATION) \
	  scripts/test 'ComputeTests.RegressionSuiteTests'

# BENCH="--short" runs each row for a minute; BENCH="--rows tpcb,wake" some of them.
bench: build
	@scripts/setup --bench
	@python3 Benchmarks/bench.py $(BENCH)

# CHAOS="--rounds 3" kills less often than the default of 20 of each.
chaos: build
	@python3 Benchmarks/chaos.py $(CHAOS)
	@EXZO=$${EXZO:-.build/release/exzo} python3 Benchmarks/loss.py $(LOSS)

lint: setup
	@scripts/lint

format:
	@swift format format -i -r --parallel Package.swift Sources Tests

docs:
	@python3 scripts/check_docs.py

clean:
	@rm -rf .build
