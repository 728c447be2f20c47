#!/usr/bin/env bash
# step.sh TITLE COMMAND...: say what is about to run, run it, say how long it took.
# The command's exit code is kept.
set -uo pipefail

title=$1
shift

printf '==> %s\n' "$title"
started=$SECONDS
"$@"
code=$?
took=$((SECONDS - started))

if [ "$code" -ne 0 ]; then
	printf '==> FAILED after %d s (exit code %d): %s\n' "$took" "$code" "$title"
	exit "$code"
fi
printf '    done in %d s: %s\n' "$took" "$title"
