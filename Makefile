# `make test` is what the README names; `make check` is what a change must pass before it is pushed.
BIN := $(CURDIR)/.bin
STATICCHECK_VERSION := v0.8.2
GOFUMPT_VERSION := v0.12.0
VERSION ?= dev
COMMIT ?= $(shell git rev-parse --short HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: test check race vet lint format layers bench bench-go performance fuzz build deps tools clean

# All tests, with the real senders and receivers they need; installs those on Debian.
test: deps
	go vet ./...
	go test -timeout 14m ./...

# Debian packages that tests talk to: mail servers and clients as senders, HAProxy in front, pebble as certificate
# authority, npm for the public Standard Webhooks library and Express, Rack and django-anymail as receivers of webhooks.
deps:
	@./.ci/deps

check: vet lint format layers race

vet:
	go vet ./...

race: deps
	go test -race -timeout 25m ./...

lint: tools
	$(BIN)/staticcheck ./...

format: tools
	@out=$$($(BIN)/gofumpt -l .); if [ -n "$$out" ]; then echo "gofumpt -w wants to change:"; echo "$$out"; exit 1; fi

layers:
	go test -run TestImportsFollowTheLayers ./cmd/mxhook

tools: $(BIN)/staticcheck $(BIN)/gofumpt

$(BIN)/staticcheck:
	GOBIN=$(BIN) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

$(BIN)/gofumpt:
	GOBIN=$(BIN) go install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)

# mxhook side by side with what people use in its place, in one table with the goals: about ten minutes, needs root for
# Postfix. What it compares with is installed by bench/deps.
bench:
	@cd bench && ./deps && GOFLAGS=-mod=mod go run ./compare $(BENCH)

# Everything in docs/performance.md anew: half an hour on a machine that does nothing else, as root.
performance:
	@bench/performance

# The benchmarks of each stage, in the form that benchstat compares: make bench-go >old.txt.
bench-go:
	@go test -run '^$$' -bench . -benchmem ./...

# Every fuzz target of a package, FUZZTIME each. Making what it found smaller is cut short: it takes a minute for each
# input by default, in which nothing new is tried.
FUZZTIME ?= 10m
FUZZ ?= ./pipeline/parse
fuzz:
	@set -e; for t in $$(go test -list '^Fuzz' $(FUZZ) | grep '^Fuzz'); do \
		echo "== $$t"; go test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $(FUZZ); done

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o mxhook ./cmd/mxhook

clean:
	rm -rf $(BIN) mxhook
