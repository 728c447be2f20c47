#!/usr/bin/env bash
# sim.sh SEEDS SEED_BASE CHANGES [FLAGS]: run the simulation over SEEDS seeds from SEED_BASE on, or, where SEEDS is 0,
# until CHANGES key changes are reached. Progress goes to standard error; the last line of standard output is one JSON
# object with the counts. The exit code says whether every count that must be 0 is 0.
set -euo pipefail

GO=${GO:-go}
seeds=$1 base=$2 changes=$3
shift 3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$GO" test -c -o "$work/sim.test" ./internal/sim
status=0
(cd internal/sim && "$work/sim.test" -test.run='^TestNoMeterIsLost$' -test.timeout=60m \
	-sim.seeds="$seeds" -sim.base="$base" -sim.changes="$changes" -sim.out="$work/summary.json" "$@") >&2 || status=$?
cat "$work/summary.json"
exit "$status"
