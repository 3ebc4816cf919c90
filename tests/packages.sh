#!/usr/bin/env bash
# Installs what the tests need beside Rust and Go, through the machine's package manager, if it is missing.
#
#   restic            compared with in `make bench`
#   systemd-analyze   verifies the units under systemd/
set -euo pipefail

missing=()
command -v restic >/dev/null || missing+=(restic)
command -v systemd-analyze >/dev/null || missing+=(systemd)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "packages: please install: ${missing[*]} (only apt-get is known here)" >&2
  exit 1
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -q
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
