# The two commands of the README, and what they are made of.
#
#   make demo    builds and tells the whole story on this machine; ETCD=FILE: with that etcd, grown to three
#   make check   everything that CI runs; installs what the tests need
#   make peers   builds upstream's programs that judge us (cached by version)
#   make bench   figures beside etcd's, etcdutl's and restic's; takes long
#   make kills   200 times SIGKILL under load; KILLS and SEED say otherwise
#   make check-kube  a real kube-apiserver on the bundled server, 5,000 pods, restored; takes long
#   make conformance   upstream's own suites on our server and on upstream's; takes half an hour
#   make robustness    upstream's robustness harness on both, one member: loads, kills, the log read; ROUNDS
#   make races   100,000 seeded schedules of the vault's races
#   make differ  1,000 seeded sequences of calls on our server and on upstream's; SEQUENCES and SEED
#   make fuzz    every reader under libFuzzer, FUZZ_SECONDS (60) each; needs a C++ compiler
#   make format  cargo fmt

SHELL := /bin/bash
export HOLDFAST_PEERS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/peers
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

.PHONY: demo check peers packages lint test kills check-kube races differ fuzz bench conformance \
	robustness format

demo:
	$(CARGO) build --release --locked -p holdfast -p holdfast-tests --bin holdfast --bin demo
	$(TARGET)/release/demo --holdfast $(TARGET)/release/holdfast $(if $(ETCD),--etcd $(ETCD))

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
	HOLDFAST_BIN=$(TARGET)/debug/holdfast $(CARGO) test --workspace --locked --no-fail-fast

kills:
	tests/peers/build.sh etcd-3.6 bbolt
	$(CARGO) build --locked -p holdfast
	HOLDFAST_BIN=$(TARGET)/debug/holdfast HOLDFAST_KILLS=$(or $(KILLS),200) HOLDFAST_SEED=$(or $(SEED),1) \
		$(CARGO) test --locked -p holdfast-tests --test lifetimes -- --nocapture kills::

check-kube:
	tests/peers/build.sh etcd-3.6 kube-apiserver kubectl
	$(CARGO) build --locked -p holdfast
	HOLDFAST_BIN=$(TARGET)/debug/holdfast \
		$(CARGO) test --locked -p holdfast-tests --test kube -- --nocapture

races:
	HOLDFAST_RACES=100000 $(CARGO) test --release --locked -p holdfast-vault --test races -- --nocapture

differ:
	tests/peers/build.sh etcd-3.6
	$(CARGO) build --locked -p holdfast
	HOLDFAST_BIN=$(TARGET)/debug/holdfast HOLDFAST_SEQUENCES=$(or $(SEQUENCES),1000) \
		HOLDFAST_SEED=$(or $(SEED),1) \
		$(CARGO) test --locked -p holdfast-tests --test bundled -- --nocapture random_calls

fuzz:
	tests/fuzz/run.sh

bench: peers packages
	tests/peers/build.sh benchmark
	$(CARGO) build --release --locked -p holdfast -p holdfast-tests --bin holdfast --bin bench
	$(TARGET)/release/bench --holdfast $(TARGET)/release/holdfast

conformance:
	tests/peers/build.sh etcd-suites etcd-3.6 etcd-3.5
	$(CARGO) build --release --locked -p holdfast
	tests/conformance/run.py --ours $(TARGET)/release/holdfast

robustness:
	tests/peers/build.sh etcd-robustness etcd-3.6
	$(CARGO) build --release --locked -p holdfast
	tests/conformance/robustness.py --ours $(TARGET)/release/holdfast --rounds $(or $(ROUNDS),1)

format:
	$(CARGO) fmt --all
