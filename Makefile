# The two commands of the README, and what they are made of.
#
#   make demo    builds and tells the whole story on this machine
#   make check   everything that CI runs; installs what the tests need
#   make peers   builds upstream's programs that judge us (cached by version)
#   make bench   figures beside etcd's, etcdutl's and restic's; takes long
#   make races   100,000 seeded schedules of the vault's races
#   make fuzz    every reader under libFuzzer, FUZZ_SECONDS (60) each; needs a C++ compiler
#   make format  cargo fmt

SHELL := /bin/bash
export HOLDFAST_PEERS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/peers
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

.PHONY: demo check peers packages lint test races fuzz bench format

demo:
	tests/peers/build.sh etcd-3.6
	$(CARGO) build --release --locked -p holdfast -p holdfast-tests --bin holdfast --bin demo
	$(TARGET)/release/demo --holdfast $(TARGET)/release/holdfast

check: packages peers lint test

packages:
	tests/packages.sh

peers:
	tests/peers/build.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# The whole-system suites run the binary as a process, so it is built before. All targets at once: then
# both commands choose the same features, and nothing is compiled twice.
test:
	$(CARGO) build --workspace --all-targets --locked
	HOLDFAST_BIN=$(TARGET)/debug/holdfast $(CARGO) test --workspace --locked

races:
	HOLDFAST_RACES=100000 $(CARGO) test --release --locked -p holdfast-vault --test races -- --nocapture

fuzz:
	tests/fuzz/run.sh

bench: peers packages
	$(CARGO) build --release --locked -p holdfast -p holdfast-tests --bin holdfast --bin bench
	$(TARGET)/release/bench --holdfast $(TARGET)/release/holdfast

format:
	$(CARGO) fmt --all
