#!/usr/bin/env bash
# setup.sh: see that this machine has what `make test` needs.
#
# What is missing is installed where that is allowed: Debian's packages, as root.
# Anywhere else one line to type is printed, and the exit code is 1.
#
# To add a need, add a line to `needs` and, where "is the command there" does not
# tell, a function has_NAME that does.
set -euo pipefail

GO=${GO:-go}

# name | Debian packages | what for
needs=(
	"cc|gcc libc6-dev|the race detector links with a C compiler (go test -race)"
	"roots|ca-certificates|Go downloads modules over TLS"
	"postgres|postgresql|the store is tested on a real PostgreSQL, started and thrown away by the tests"
	"softhsm|softhsm2|the PKCS#11 vault is tested on SoftHSM, in tokens that the tests make and throw away"
)

has_cc() {
	# A compiler without the C library's headers compiles nothing: try.
	local compiler probe
	compiler=$("$GO" env CC)
	probe=$(mktemp -d)
	printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' >"$probe/probe.c"
	# $compiler may carry flags.
	# shellcheck disable=SC2086
	if $compiler -o "$probe/probe" "$probe/probe.c" >/dev/null 2>&1; then
		rm -rf "$probe"
		return 0
	fi
	rm -rf "$probe"
	return 1
}

has_roots() {
	[ "$(uname -s)" = Linux ] || return 0
	# The places where Go looks on Linux; SSL_CERT_FILE takes the place of all of them.
	local place
	for place in ${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
		/etc/ssl/ca-bundle.pem /etc/ssl/cert.pem}; do
		[ -s "$place" ] && return 0
	done
	return 1
}

has_postgres() {
	# Debian keeps the programs of a server out of the PATH. A cluster that the package starts by itself is not used.
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

has_softhsm() {
	# The module alone is used, not the program; where it is differs by machine.
	local place
	for place in /usr/lib/softhsm /usr/lib/*/softhsm /usr/local/lib/softhsm; do
		[ -s "$place/libsofthsm2.so" ] && return 0
	done
	return 1
}

check_go() {
	local wanted
	wanted=$(awk '$1 == "go" { print $2; exit }' go.mod)
	if ! command -v "$GO" >/dev/null 2>&1; then
		echo "setup: no Go on this machine: install Go $wanted or newer (https://go.dev/dl/), then run make test again" >&2
		exit 1
	fi
	# The command itself refuses a go.mod that is newer than it is, and says what it needs.
	if ! "$GO" list -m >/dev/null; then
		echo "setup: want Go $wanted or newer, got $("$GO" env GOVERSION): install it (https://go.dev/dl/), then run make test again" >&2
		exit 1
	fi
	echo "    has $("$GO" env GOVERSION)"
}

missing_packages=()

find_missing() {
	local line name packages purpose
	for line in "${needs[@]}"; do
		IFS='|' read -r name packages purpose <<<"$line"
		if "has_$name"; then
			echo "    has $name: $purpose"
			continue
		fi
		echo "    misses $name: $purpose"
		# Several packages may stand in one word.
		# shellcheck disable=SC2206
		missing_packages+=($packages)
	done
}

install_missing() {
	local line="apt-get install -y --no-install-recommends ${missing_packages[*]}"
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "setup: not a Debian system: install what Debian calls '${missing_packages[*]}', then run make test again" >&2
		exit 1
	fi
	if [ "$(id -u)" -ne 0 ]; then
		echo "setup: not root, so nothing was installed. Type this, then run make test again:" >&2
		echo "    sudo $line" >&2
		exit 1
	fi
	echo "    installs: apt-get update && $line"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -q -y --no-install-recommends "${missing_packages[@]}"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
check_go
find_missing
if [ "${#missing_packages[@]}" -gt 0 ]; then
	install_missing
	missing_packages=()
	find_missing
	if [ "${#missing_packages[@]}" -gt 0 ]; then
		echo "setup: installed, and still missing: ${missing_packages[*]}" >&2
		exit 1
	fi
fi
