#!/usr/bin/env bash
# What action.yml runs: prune, and tell the job's summary what came of it. Inputs come as variables, never as code.
set -euo pipefail

[[ "$MODEL" != -* ]] || MODEL="./$MODEL"
arguments=("$MODEL")
[[ -z "$DATA" ]] || arguments+=(--data "$DATA")
while IFS= read -r line; do
    line="${line#"${line%%[![:space:]]*}"}"
    line="${line%"${line##*[![:space:]]}"}"
    [[ -z "$line" ]] || arguments+=("$line")
done <<< "$OPTIONS"
while IFS= read -r line; do
    [[ -z "${line//[[:space:]]/}" ]] || arguments+=(--fail-if "$line")
done <<< "$FAIL_IF"

arguments+=(-o "$OUTPUT") # of several the last counts

mkdir -p -- "$(dirname -- "$OUTPUT")"
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT
stem="${OUTPUT%.onnx}"
report="$stem.html"

status=0
onnxprune prune "${arguments[@]}" --report "$report" --markdown "$work/summary.md" 2> >(tee "$work/said" >&2) || status=$?
wait || true

if [[ -s "$work/summary.md" ]]; then
    cat -- "$work/summary.md" >> "$GITHUB_STEP_SUMMARY"
else
    # Indented text is shown as it is, whatever a name in it looks like.
    { printf '## onnxprune: exit code %d, nothing was written\n\n' "$status"
      grep -a '^onnxprune: ' -- "$work/said" | tail -n 1 | sed 's/^/    /' || true; } >> "$GITHUB_STEP_SUMMARY"
fi
if [[ "$status" -eq 0 ]]; then
    files=()
    for file in "$OUTPUT" "$stem".*; do
        [[ ! -f "$file" || "$file" -ef "$MODEL" || "$file" == "${files[0]:-}" ]] || files+=("$file")
    done
    [[ -f "$OUTPUT" ]] || OUTPUT=""
    end="end-$RANDOM$RANDOM"
    for pair in "model=$OUTPUT" "report=$report" "files=$(printf '%s\n' "${files[@]}")"; do
        printf '%s<<%s\n%s\n%s\n' "${pair%%=*}" "$end" "${pair#*=}" "$end"
    done >> "$GITHUB_OUTPUT"
fi
exit "$status"
