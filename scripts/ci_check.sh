#!/usr/bin/env bash
# The check of the GitHub Action: annotations on standard output, SARIF where SARIF names a file, known findings of
# BASELINE left out. PATHS holds files and folders, one a line. Exit status: that of archc check.
set -uo pipefail
paths=()
while IFS= read -r path; do
    [ -n "$path" ] && paths+=("$path")
done <<< "${PATHS:-.}"
options=()
if [ -n "${BASELINE:-}" ]; then
    options+=(--baseline "$BASELINE")
fi
if [ -n "${SARIF:-}" ]; then
    archc check --format sarif --output "$SARIF" ${options[@]+"${options[@]}"} -- "${paths[@]}"
fi
archc check --format github ${options[@]+"${options[@]}"} -- "${paths[@]}"
status=$?
if [ -n "${GITHUB_OUTPUT:-}" ]; then
    echo "status=$status" >> "$GITHUB_OUTPUT"
fi
exit "$status"
