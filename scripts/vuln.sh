#!/usr/bin/env bash
# vuln.sh PACKAGES: govulncheck. A finding fails. A database that cannot be
# reached (a machine without network) is one line, and no failure: the code is
# the same code, and the check runs wherever the database can be had.
set -uo pipefail

GO=${GO:-go}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# The patterns are words of their own.
# shellcheck disable=SC2086
"$GO" tool -modfile=tools/go.mod govulncheck $1 >"$out" 2>&1
code=$?

if [ "$code" -eq 0 ]; then
	tail -n 3 "$out"
	exit 0
fi
# This line and no other is what govulncheck says when the database cannot be had.
if grep -q '^govulncheck: fetching vulnerabilities:' "$out"; then
	echo "    govulncheck: NOT CHECKED, its database of known vulnerabilities cannot be reached from here"
	exit 0
fi
cat "$out"
exit "$code"
