# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after lib.sh: apt with package lists of our own, on the mirror that
# the machine uses already, so that its own sources and lists stay as they are.

KEYRING=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
OS_RELEASE=${OS_RELEASE:-/etc/os-release}

os_get() { sed -n "s/^$1=//p" "$OS_RELEASE" | tr -d '"'; }

# apt_open: a private state; APT_DIR and APT are what the others use. It is
# not in the user's home, where apt's own unprivileged user cannot write.
apt_open() {
	APT_DIR=$(mktemp -d /var/tmp/kvm-memory-fault.XXXXXX)
	chmod 755 "$APT_DIR"
	mkdir -p "$APT_DIR"/{parts,lists/partial,cache/archives/partial,get}
	if [ "$(id -u)" = 0 ] && id _apt >/dev/null 2>&1; then
		chown _apt "$APT_DIR"/{lists/partial,get}
		chown _apt "$APT_DIR/cache/archives/partial"
	fi
	# shellcheck disable=SC2034  # for the scripts that source this file
	APT=(-o Dir::State::lists="$APT_DIR/lists"
	     -o Dir::Etc::sourceparts="$APT_DIR/parts"
	     -o Acquire::Retries=3 -o Acquire::http::Timeout=60
	     -o Acquire::Languages=none -o APT::Update::Error-Mode=any)
}

# What a script that called apt_open does on its way out.
apt_close() { [ -z "${APT_DIR:-}" ] || rm -rf "$APT_DIR"; }

# The URI and the suite of each source of the machine. Its package lists may
# be empty; apt still knows then what it would download.
apt_sources() {
	local all
	# shellcheck disable=SC2016  # apt expands it
	all=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' \
		2>/dev/null | sort -u)
	[ -n "$all" ] || all=$(apt-get --print-uris update \
		-o Dir::State::lists="$APT_DIR/lists" 2>/dev/null |
		sed -n "s,^'\(.*/\)dists/\([^/]*\)/InRelease'.*,\1 \2,p")
	echo "$all"
}

# apt_mirror: the URI that serves the machine's own release.
apt_mirror() {
	local codename
	codename=$(os_get VERSION_CODENAME)
	apt_sources | awk -v own="$codename" '
		$2 ~ /(-security|-updates|-backports|\/)/ { next }
		$2 == own { print $1; found = 1; exit }
		$2 ~ /^(old)*stable$|^testing$|^unstable$|^sid$/ { other = $1 }
		END { if (!found && other != "") print other }'
}

# apt_line MIRROR SUITE
apt_line() { echo "deb [signed-by=$KEYRING] $1 $2 main"; }

# apt_why LOG: one word for the reason why an update failed: "none", the
# mirror has no such suite; "network"; or "other".
apt_why() {
	if grep -q 'does not have a Release file' "$1" &&
	   ! grep -qE "resolving|Could not connect|Unable to connect|timed out|unreachable" "$1"; then
		echo none
	elif grep -qE "resolv|onnect|timed out|unreachable|Failed to fetch" "$1"; then
		echo network
	else
		echo other
	fi
}
