#!/usr/bin/env bash
# What action.yml runs: prune, and tell the job's summary what came of it. Inputs come as variables, never as code.
set -euo pipefail

arguments=("$MODEL" -o "$OUTPUT")
[[ -z "$DATA" ]] || arguments+=(--data "$DATA")
while IFS= read -r line; do
    line="${line#"${line%%[![:space:]]*}"}"
    line="${line%"${line##*[![:space:]]}"}"
    [[ -z "$line" ]] || arguments+=("$line")
done <<< "$OPTIONS"
while IFS= read -r line; do
    [[ -z "${line//[[:space:]]/}" ]] || arguments+=(--fail-if "$line")
done <<< "$FAIL_IF"

folder="$(dirname -- "$OUTPUT")"
mkdir -p -- "$folder"
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT
report="$folder/$(basename -- "$OUTPUT" .onnx).html"

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
    end="end-$RANDOM$RANDOM"
    for pair in "model=$OUTPUT" "report=$report" "folder=$folder"; do
        printf '%s<<%s\n%s\n%s\n' "${pair%%=*}" "$end" "${pair#*=}" "$end"
    done >> "$GITHUB_OUTPUT"
fi
exit "$status"
