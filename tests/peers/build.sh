#!/usr/bin/env bash
# Builds the programs that judge us, from the Go module proxy alone, into one folder.
#
#   tests/peers/build.sh              all that the tests need (make peers)
#   tests/peers/build.sh etcd-3.6     only the named ones (make demo)
#
# Names: etcd-3.5 etcd-3.6 etcd-3.7 (each gives etcd-X, etcdctl-X, etcdutl-X), bbolt, bolt-peer,
# versitygw, minio, kms-plugin-ref, raft-scripts, raft-testdata (no program: the text files of
# upstream's raft tests). Only when named: etcd-suites (a folder: upstream's own test programs and
# their certificates, for make conformance), etcd-robustness (a folder: upstream's robustness harness,
# for make robustness), benchmark (upstream's load client), kube-apiserver,
# kubectl (many minutes). Each is built once per version: a stamp beside the binaries names what was
# built, and a missing or different stamp builds again.
#
#   HOLDFAST_PEERS   where they go; default ${XDG_CACHE_HOME:-~/.cache}/holdfast/peers
#
# Needs Go 1.26 or later and its usual module proxy. Takes about seven minutes on two cores from nothing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=${HOLDFAST_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/peers}
mkdir -p "$peers/.stamps"
peers=$(cd "$peers" && pwd)

declare -A version=(
  [etcd-3.5]=v3.5.35 [etcd-3.6]=v3.6.16 [etcd-3.7]=v3.7.3
  [bbolt]=v1.4.3 [versitygw]=v1.8.0 [kms-plugin-ref]=1 [raft-testdata]=v3.6.0 [raft-scripts]=1
  [bolt-peer]=1 [etcd-suites]=v3.6.16 [etcd-robustness]=v3.6.16
  [kube-apiserver]=v1.34.4 [kubectl]=v1.34.4
  # Of etcd's root module not every version is on the proxy.
  [benchmark]=v3.6.14
  # MinIO's tags are no module versions; this is its last commit.
  [minio]=v0.0.0-20260212201848-7aac2a2c5b7c
)
order=(etcd-3.6 etcd-3.5 etcd-3.7 bbolt bolt-peer versitygw kms-plugin-ref raft-testdata raft-scripts minio)

# No workspace of the caller's, no C compiler, no toolchain fetched behind our back.
export GOWORK=off CGO_ENABLED=0 GOTOOLCHAIN=local
unset GOFLAGS

say() { printf 'peers: %s\n' "$*" >&2; }

command -v go >/dev/null || { say "Go is not installed; it is needed to build upstream's etcd"; exit 1; }

# A proxy answers with an error now and then: three tries before it counts.
patiently() {
  local try log
  log=$(mktemp)
  for try in 1 2 3; do
    if "$@" >"$log" 2>&1; then rm -f "$log"; return 0; fi
    say "try $try of 3 failed: $*"
    sleep $((try * 2))
  done
  cat "$log" >&2; rm -f "$log"
  return 1
}

# Runs a function in a folder of its own that is a module of ours; the folder goes afterwards.
in_a_module() { # function arguments...
  local work
  work=$(mktemp -d)
  (
    cd "$work"
    export GOFLAGS=-mod=mod
    go mod init holdfast.invalid/peer 2>/dev/null
    "$@"
  )
  chmod -R u+w "$work"; rm -rf "$work"
}

# What one of a module's versions leaves open the second time settles.
require() { patiently go get "$@"; patiently go get "$@"; }

# Puts a folder that was made in place of the one of that name.
put_in_place() { # made name
  rm -rf "${peers:?}/$2"
  mv "$1" "$peers/$2"
}

# etcd's modules replace one another by relative path, so they cannot be installed by name. A module of
# our own that requires all three resolves to the same versions, because replacements in a
# dependency do not count.
build_etcd() { # series version
  require "go.etcd.io/etcd/server/v3@$2" "go.etcd.io/etcd/etcdctl/v3@$2" "go.etcd.io/etcd/etcdutl/v3@$2"
  go build -buildvcs=false -o "etcd-$1" go.etcd.io/etcd/server/v3
  go build -buildvcs=false -o "etcdctl-$1" go.etcd.io/etcd/etcdctl/v3
  go build -buildvcs=false -o "etcdutl-$1" go.etcd.io/etcd/etcdutl/v3
  mv -f "etcd-$1" "etcdctl-$1" "etcdutl-$1" "$peers/"
}

# As etcd: its module's replacements are for its own repository.
build_benchmark() { # version
  require "go.etcd.io/etcd/v3/tools/benchmark@$1"
  go build -buildvcs=false -o benchmark go.etcd.io/etcd/v3/tools/benchmark
  mv -f benchmark "$peers/"
}

build_installed() { # package@version
  local work
  work=$(mktemp -d)
  GOBIN=$work patiently go install "$1"
  mv -f "$work"/* "$peers/"
  rm -rf "$work"
}

# A program of ours around upstream's library.
build_own() { # folder name
  local work
  work=$(mktemp -d)
  cp "$here/$1/"* "$work/"
  (cd "$work" && GOFLAGS=-mod=mod patiently go build -buildvcs=false -o "$work/$2" .)
  mv -f "$work/$2" "$peers/"
  rm -rf "$work"
}

# Kubernetes' module names the modules it consists of by the version v0.0.0, which is no release: a
# module of our own replaces each by its release of the same number.
build_kube() { # command version
  local modfile module package=k8s.io/component-base/version
  patiently go mod download "k8s.io/kubernetes@$2"
  modfile=$(go mod download -json "k8s.io/kubernetes@$2" | sed -n 's/^.*"GoMod": "\(.*\)".*$/\1/p')
  go mod edit -require="k8s.io/kubernetes@$2"
  grep -E '^(go|godebug) ' "$modfile" >go.mod.more
  sed -i '/^go /d' go.mod
  cat go.mod.more >>go.mod
  for module in $(sed -n 's/^[[:space:]]*\(k8s\.io\/[a-z0-9-]*\) v0\.0\.0\( .*\)\{0,1\}$/\1/p' "$modfile"); do
    go mod edit -replace="$module=$module@v0.${2#v1.}"
  done
  local flags="-s -w -X $package.gitVersion=$2 -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$2")"
  patiently go build -buildvcs=false -trimpath -ldflags "$flags" -o "$1" "k8s.io/kubernetes/cmd/$1"
  mv -f "$1" "$peers/"
}

# The files that upstream's test programs look for.
copy_fixtures() { cp -R "$(go list -m -f '{{.Dir}}' go.etcd.io/etcd/tests/v3)/fixtures" "$1"; }

# Upstream's test programs `common` and `e2e`. The module at the root is served for some versions only;
# it gives nothing but a sample of a configuration file.
sample_version=v3.6.14
build_suites() { # version
  patiently go get -t "go.etcd.io/etcd/tests/v3/e2e@$1" "go.etcd.io/etcd/tests/v3/common@$1"
  mkdir made
  go test -c -o made/e2e.test go.etcd.io/etcd/tests/v3/e2e
  go test -c -tags e2e -o made/common.test go.etcd.io/etcd/tests/v3/common
  copy_fixtures made/fixtures
  patiently go mod download "go.etcd.io/etcd/v3@$sample_version"
  cp "$(go env GOMODCACHE)/go.etcd.io/etcd/v3@$sample_version/etcd.conf.yml.sample" made/
  chmod -R u+w made
  put_in_place made etcd-suites
}

# Upstream's robustness harness. It reads the log of the server that it tests.
build_robustness() { # version
  patiently go get -t "go.etcd.io/etcd/tests/v3/robustness@$1"
  mkdir made
  go test -c -o made/robustness.test go.etcd.io/etcd/tests/v3/robustness
  copy_fixtures made/fixtures
  chmod -R u+w made
  put_in_place made etcd-robustness
}

# Text files only: interaction, quorum and confchange, a folder each.
fetch_raft_testdata() { # version
  local module
  patiently go get "go.etcd.io/raft/v3@$1"
  module=$(go list -m -f '{{.Dir}}' go.etcd.io/raft/v3)
  mkdir files
  cp -R "$module/testdata" files/interaction
  cp -R "$module/quorum/testdata" files/quorum
  cp -R "$module/confchange/testdata" files/confchange
  chmod -R u+w files
  put_in_place files raft-testdata
}

build() {
  local name=$1 wanted=${version[$1]:-}
  [ -n "$wanted" ] || { say "no such peer: $name (have: ${order[*]})"; exit 2; }
  # The recipe is part of what was built: a changed program of ours is a new version.
  local own=
  case $name in kms-plugin-ref) own=kmsplugin ;; raft-scripts) own=raftscripts ;; bolt-peer) own=boltpeer ;; esac
  [ -z "$own" ] || wanted=$(cat "$here/$own"/* | sha256sum | cut -c1-16)
  local stamp=$peers/.stamps/$name
  local made=("$name") file whole=yes
  case $name in
    etcd-suites) made=(etcd-suites/common.test etcd-suites/e2e.test) ;;
    etcd-robustness) made=(etcd-robustness/robustness.test) ;;
    etcd-*) made+=("etcdctl-${name#etcd-}" "etcdutl-${name#etcd-}") ;;
  esac
  # A run that was cut off, or a full disk, leaves empty files: they are made again.
  for file in "${made[@]}"; do [ -s "$peers/$file" ] && [ -x "$peers/$file" ] || whole=no; done
  if [ "$whole" = yes ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  say "building $name $wanted"
  rm -f "$stamp"
  case $name in
    etcd-suites)    in_a_module build_suites "$wanted" ;;
    etcd-robustness) in_a_module build_robustness "$wanted" ;;
    etcd-*)         in_a_module build_etcd "${name#etcd-}" "$wanted" ;;
    benchmark)      in_a_module build_benchmark "$wanted" ;;
    bbolt)          build_installed "go.etcd.io/bbolt/cmd/bbolt@$wanted" ;;
    versitygw)      build_installed "github.com/versity/versitygw/cmd/versitygw@$wanted" ;;
    minio)          build_installed "github.com/minio/minio@$wanted" ;;
    kms-plugin-ref | raft-scripts | bolt-peer) build_own "$own" "$name" ;;
    kube-apiserver | kubectl) in_a_module build_kube "$name" "$wanted" ;;
    raft-testdata)  in_a_module fetch_raft_testdata "$wanted" ;;
  esac
  printf '%s\n' "$wanted" >"$stamp"
}

# Two builds at once would write the same files: the second waits for the first.
exec 9>"$peers/.lock"
flock 9
[ $# -gt 0 ] || set -- "${order[@]}"
for name in "$@"; do build "$name"; done
say "ready in $peers"
