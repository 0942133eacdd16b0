#!/usr/bin/env bash
# What changed in the specs since a commit, as Markdown: ci_diff.sh COMMIT. Specs that cannot be compared are named.
set -uo pipefail
base="$1"
if ! git cat-file -e "$base^{commit}" 2> /dev/null; then
    git fetch --quiet --depth 1 origin "$base" || exit 0
fi
# status letter and path, each ended by NUL; only specs that both sides have
git diff -z --name-only --diff-filter=M --relative "$base" -- '*.arch' | while IFS= read -r -d '' path; do
    archc diff --format markdown --git "$base" -- "$path"
    if [ $? -gt 1 ]; then
        printf 'archc cannot compare `%s` with its version before.\n' "${path//\`/}"
    fi
    echo
done
exit 0
