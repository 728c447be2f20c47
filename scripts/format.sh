#!/usr/bin/env bash
# format.sh check|write PACKAGES: gofumpt over the Go files of the packages.
set -euo pipefail

GO=${GO:-go}
mode=$1

# gofumpt takes folders, not package patterns: ./dlms/... is the folder dlms.
folders=()
for pattern in $2; do
	folders+=("${pattern%/...}")
done

gofumpt() { "$GO" tool -modfile=tools/go.mod gofumpt "$@"; }

case $mode in
write)
	gofumpt -l -w "${folders[@]}"
	;;
check)
	unformatted=$(gofumpt -l "${folders[@]}")
	if [ -n "$unformatted" ]; then
		echo "not formatted (make fmt mends it):"
		echo "$unformatted"
		exit 1
	fi
	;;
*)
	echo "format.sh: want check or write, got '$mode'" >&2
	exit 2
	;;
esac
