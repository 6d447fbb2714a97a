# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by every script: where things are, how to talk, how to fail.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$(realpath -m "${BUILD:-$TOP/build}")
# shellcheck disable=SC2034  # for the scripts that source this file
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kvm-memory-fault
JOBS=${JOBS:-$(nproc)}
V=${V:-0}
# shellcheck disable=SC2034
LOGS=$BUILD/log
# The top-level folders whose content lands in the kernel at the same path.
# shellcheck disable=SC2034
KERNEL_DIRS=(arch include virt Documentation tools)

say()  { printf '%s: %s\n' "${SELF:-${0##*/}}" "$*"; }
warn() { printf '%s: %s\n' "${SELF:-${0##*/}}" "$*" >&2; }
die()  { warn "error: $*"; exit 1; }

# For traps: they run with the redirections of what they interrupt.
exec {STDERR}>&2
interrupted() { die "interrupted; $*" 2>&"$STDERR"; }

# need TOOL PACKAGE: fails with the command that gets the tool.
need() {
	command -v "$1" >/dev/null 2>&1 ||
		die "$1 is missing; 'make deps' installs it (Debian package $2)"
}

# mmss SECONDS
mmss() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# base_get KEY: a value of the file "base".
base_get() { sed -n "s/^$1=//p" "$TOP/base"; }

# space DIR MIB: fails before a long job instead of in its middle.
space() {
	local free
	mkdir -p "$1" || die "cannot create $1"
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] ||
		die "$1 has $free MiB free, $2 MiB are needed"
}
