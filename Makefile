# Meterseal: the one place where its commands are kept. `make` alone lists them.
#
# Everything here also works on a part of the tree: make unit PKG=./dlms/...

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# One thing at a time, under make -j too: the steps share two cores and their output is read by people.
.NOTPARALLEL:

GO       ?= go
PKG      ?= ./...
ARGS     ?=
FUZZTIME ?= 2s
BENCH    ?= .
# The simulation: SEEDS seeds from SEED_BASE on; 0 runs until CHANGES key changes.
SEEDS     ?= 0
SEED_BASE ?= 1
CHANGES   ?= 100000
# The longest one package's tests may take; a test that hangs ends here with every goroutine's stack.
TIMEOUT  ?= 8m

# What of PKG is the library, which has to run on other machines too.
LIBRARY := $(if $(filter ./...,$(PKG)),./dlms/...,$(filter ./dlms ./dlms/%,$(PKG)))

export GO

# step: run a command, saying what it is for and how long it took.
step := ./scripts/step.sh

##@ Use
.PHONY: lab
lab: ## run the whole system on this machine (needs Go alone; flags: make lab ARGS='--meters 20')
	@$(GO) run ./cmd/meterseal lab $(ARGS)

.PHONY: build
build: ## build bin/meterseal, without cgo
	@$(step) "build: bin/meterseal, without cgo" \
		env CGO_ENABLED=0 $(GO) build -trimpath -o bin/meterseal ./cmd/meterseal

##@ Prove
.PHONY: test
test: ## everything below but bench: set-up, build, check, unit, fuzz, sim-short, integration
	@$(step) "test: everything" $(MAKE) setup build check unit fuzz sim-short integration

.PHONY: setup
setup: ## install what the tests need (Debian packages, as root), or print the line to type
	@$(step) "setup: what the tests need on this machine" ./scripts/setup.sh

.PHONY: check
check: fmt-check vet arch layering lint vuln ## format, vet, other machines, import rules, linters, known vulnerabilities

.PHONY: unit
unit: ## every package's tests, with the race detector, in random order, the PKCS#11 vault's with SoftHSM
	@$(step) "unit: $(PKG) with the race detector, in random order" \
		env CGO_ENABLED=1 $(GO) test -tags=pkcs11 -race -shuffle=on -timeout=$(TIMEOUT) $(PKG)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each (make fuzz FUZZTIME=1m PKG=./dlms/apdu)
	@$(step) "fuzz: every target for $(FUZZTIME)" ./scripts/fuzz.sh "$(PKG)" "$(FUZZTIME)"

.PHONY: sim
sim: ## the simulation under faults (make sim SEEDS=100 SEED_BASE=7); the last line is one JSON object
	@./scripts/sim.sh $(SEEDS) $(SEED_BASE) $(CHANGES) $(ARGS)

.PHONY: sim-short
sim-short: ## the simulation over 5,000 key changes, and that it finds what falls without each defence
	@$(step) "sim: what falls without each defence; a seed replays" $(GO) test -count=1 -timeout=$(TIMEOUT) ./internal/sim
	@$(step) "sim: 5,000 key changes under faults" ./scripts/sim.sh 0 1 5000

.PHONY: sim-defences
sim-defences: ## find seeds that show what falls without each defence, and write them into docs/simulation.md
	@$(step) "sim: a seed for each defence" $(GO) test -count=1 -timeout=60m -v -run='^TestFindSeeds$$' ./internal/sim -sim.find

.PHONY: integration
integration: build ## the tests that start real processes (build tag integration), without the race detector
	@$(step) "integration: tests with real processes" ./scripts/integration.sh "$(PKG)" "$(TIMEOUT)"

.PHONY: bench
bench: ## benchmarks, with allocations (make bench BENCH=Seal PKG=./dlms/security)
	@$(step) "bench: $(BENCH) in $(PKG)" \
		$(GO) test -run='^$$' -bench='$(BENCH)' -benchmem -timeout=30m $(PKG)

##@ Parts of check
.PHONY: fmt-check
fmt-check: ## fail where a file is not formatted as gofumpt does
	@$(step) "gofumpt: formatting" ./scripts/format.sh check "$(PKG)"

.PHONY: vet
vet: ## go vet, over the tests with real processes too
	@$(step) "vet: $(PKG)" $(GO) vet -tags=integration,pkcs11 $(PKG)

.PHONY: arch
arch: ## the library on other machines: its tests on 32 bits (386), and it compiles big-endian (s390x)
ifneq ($(LIBRARY),)
	@$(step) "386: the tests of $(LIBRARY)" env GOARCH=386 CGO_ENABLED=0 $(GO) test -timeout=$(TIMEOUT) $(LIBRARY)
	@$(step) "s390x: $(LIBRARY) compiles" env GOARCH=s390x CGO_ENABLED=0 $(GO) build $(LIBRARY)
	@$(step) "s390x: vet: $(LIBRARY), its tests too" env GOARCH=s390x CGO_ENABLED=0 $(GO) vet $(LIBRARY)
endif

.PHONY: layering
layering: ## the import rules and the shape of the code, read from the source
	@$(step) "layering: import rules, key bytes, sizes, doc comments" \
		$(GO) test -count=1 ./internal/layering

.PHONY: lint
lint: ## golangci-lint with the list in .golangci.yml
	@$(step) "golangci-lint: $(PKG)" $(GO) tool -modfile=tools/go.mod golangci-lint run $(PKG)

.PHONY: vuln
vuln: ## govulncheck; where its database cannot be had it says so and goes on
	@$(step) "govulncheck: $(PKG)" ./scripts/vuln.sh "$(PKG)"

##@ Help
.PHONY: fmt
fmt: ## format the code as gofumpt does
	@$(step) "gofumpt: format" ./scripts/format.sh write "$(PKG)"

.PHONY: clean
clean: ## remove bin/
	@rm -rf bin

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
