#!/usr/bin/env bash
# integration.sh PACKAGES TIMEOUT: the tests that start real processes.
#
# They live in files with the build tag `integration` (some want `pkcs11` too, and SoftHSM). Only the tests of these
# files run here: the others of the same package have run in `make unit`.
# A run over the whole module that finds none fails. They are built with PKCS#11,
# as some of them work with a token.
set -euo pipefail

GO=${GO:-go}
patterns=$1
timeout=$2
found=0

# tagged_tests FOLDER: the names of the tests in its tagged files, as a regexp.
tagged_tests() {
	{ grep -lE '^//go:build .*\bintegration\b' "$1"/*_test.go 2>/dev/null || true; } |
		xargs -r sed -nE 's/^func (Test[A-Za-z0-9_]*)\([A-Za-z0-9_]+ \*testing\.T\).*/\1/p' |
		paste -sd '|' -
}

listing=$(
	# The patterns are words of their own.
	# shellcheck disable=SC2086
	"$GO" list -tags=integration,pkcs11 -f '{{.ImportPath}} {{.Dir}}' $patterns
)
while read -r package folder; do
	names=$(tagged_tests "$folder")
	[ -n "$names" ] || continue
	found=$((found + 1))
	env CGO_ENABLED=1 "$GO" test -tags=integration,pkcs11 -count=1 -timeout="$timeout" -run="^($names)\$" "$package"
done <<<"$listing"

if [ "$found" -eq 0 ]; then
	echo "integration: no file with the build tag integration in $patterns: a run that tries nothing proves nothing" >&2
	exit 1
fi
