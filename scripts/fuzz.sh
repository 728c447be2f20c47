#!/usr/bin/env bash
# fuzz.sh PACKAGES FUZZTIME: run every fuzz target for FUZZTIME.
#
# The targets are read from the source, so none can be forgotten; a run that
# finds no target fails. One instrumented binary is built per package.
set -euo pipefail

GO=${GO:-go}
patterns=$1
fuzztime=$2

binaries=$(mktemp -d)
trap 'rm -rf "$binaries"' EXIT
corpus=$("$GO" env GOCACHE)/fuzz
targets=0

# targets_in FOLDER: the names of its fuzz targets.
targets_in() {
	{ cat "$1"/*_test.go 2>/dev/null || true; } |
		sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\([A-Za-z0-9_]+ \*testing\.F\).*/\1/p'
}

# run_target BINARY FOLDER PACKAGE NAME: a failing input is written to
# testdata/fuzz in the package's folder, to be committed with the repair.
run_target() {
	(cd "$2" && "$1" -test.run='^$' -test.fuzz="^$4\$" -test.fuzztime="$fuzztime" \
		-test.fuzzcachedir="$corpus/$3" -test.timeout=10m) 2>&1
}

# ended_late OUTPUT: the run found nothing; its worker was still busy when the
# time was over, which the fuzzer of Go then calls a failure. An input that
# fails is always named.
ended_late() {
	grep -q 'context deadline exceeded' <<<"$1" && ! grep -q 'Failing input' <<<"$1"
}

# fuzz_target BINARY FOLDER PACKAGE NAME: again, a few times, where the time was over at a bad moment.
fuzz_target() {
	local out try
	for try in 1 2 3 4; do
		if out=$(run_target "$@"); then
			break
		fi
		if [ "$try" -eq 4 ] || ! ended_late "$out"; then
			echo "$out"
			return 1
		fi
	done
	echo "$out"
}

fuzz_package() {
	local package=$1 folder=$2 name binary names out
	names=$(targets_in "$folder")
	[ -n "$names" ] || return 0
	binary=$binaries/${package//\//_}.test
	"$GO" test -c -fuzz=Fuzz -o "$binary" "$package"
	for name in $names; do
		targets=$((targets + 1))
		if ! out=$(fuzz_target "$binary" "$folder" "$package" "$name"); then
			echo "$out"
			echo "fuzz: FAIL $package $name" >&2
			return 1
		fi
		printf '    ok  %s %s: %s\n' "${package#*/*/*/}" "$name" \
			"$(grep -o 'execs: [0-9]*' <<<"$out" | tail -n 1)"
	done
	rm -f "$binary"
}

listing=$(
	# The patterns are words of their own.
	# shellcheck disable=SC2086
	"$GO" list -f '{{.ImportPath}} {{.Dir}}' $patterns
)
while read -r package folder; do
	fuzz_package "$package" "$folder"
done <<<"$listing"

if [ "$targets" -eq 0 ]; then
	echo "fuzz: no fuzz target found in $patterns: a run that tries nothing proves nothing" >&2
	exit 1
fi
echo "    $targets fuzz targets"
