#!/usr/bin/env bash
# Runs groups of checks and tests, all of them even when one fails, and prints the sum last.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: run.sh [GROUP...]     run these groups (default: lint unit doc e2e)

  lint    format, clippy without warnings, cargo xtask tidy, the fuzz targets compile, and where it
          is installed cargo-deny without its advisories: each counts as one
  unit    tests of all crates, by cargo-nextest where it is installed
  doc     examples in the documentation
  e2e     tests/e2e/*.sh: the built program with real clients and servers

What failed is named once more at the end.  With CI=true a test or an e2e script that
fails is run once more, and named as flaky if it passes then.
The last line is `N passed, N failed`; the exit code is 0 only if none failed.
A group that ends badly without naming a failed test counts as one failure.

An e2e script prints its own `N passed, N failed` as its last line.  A comment line
`# needs: GROUP...` names groups of tests/install.sh; what is missing is installed
when this runs as root.  It finds the program in $PANTALA (built here, without
optimisation for size or speed, unless it is set) and ends after $E2E_SECONDS (900).
USAGE
}

cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
exec </dev/null

passed=0 failed=0 broken=() flaky=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT
locked=() profile=default
[ "${CI:-}" != true ] || locked=(--locked) profile=ci

say() { printf '\n== %s\n' "$*"; }

# record CODE PASSED FAILED: add to the sum; a bad end is at least one failure.
record() {
    local bad=$3
    if [ "$1" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + $2))
    failed=$((failed + bad))
}

# name WHERE [REGEX]: remember what failed there, by the lines of $log that match, else by the place alone.
name() {
    local line some=
    while read -r line; do
        broken+=("$1: ${line:0:300}")
        some=1
    done < <([ -z "${2:-}" ] || grep -E "$2" "$log" | sed 's/\[.*\] //' | sort -u | head -n 10)
    [ -n "$some" ] || broken+=("$1")
}

# watch COMMAND...: run it, show its output and keep it in $log; the exit code is in $code.
watch() {
    code=0
    "$@" 2>&1 | tee "$log" || code=${PIPESTATUS[0]}
}

# One check that has no tests inside.
check() {
    say "$*"
    watch "$@"
    if [ "$code" = 0 ]; then record 0 1 0; else record "$code" 0 1 && name "$*"; fi
}

# sum_before WORD: the sum of the numbers that stand before WORD in lines of $log that match the filter $1.
sum_before() {
    grep -E "$1" "$log" | grep -oE "[0-9]+ $2" | awk '{ n += $1 } END { print n + 0 }' || true
}

lint() {
    check cargo fmt --all --check
    check cargo clippy "${locked[@]}" --workspace --all-targets -- -D warnings
    check cargo xtask tidy
    # libFuzzer is C++.
    if command -v c++ >/dev/null; then check make fuzz-check; fi
    if cargo deny --version >/dev/null 2>&1; then check cargo deny --offline check bans licenses sources; fi
}

unit() {
    if cargo nextest --version >/dev/null 2>&1; then
        say "cargo nextest run"
        watch cargo nextest run "${locked[@]}" --profile $profile --workspace --no-fail-fast --no-tests=pass
        local of='^ *Summary \[' bad
        bad=$(($(sum_before "$of" failed) + $(sum_before "$of" 'timed out') + $(sum_before "$of" 'exec failed')))
        record "$code" "$(sum_before "$of" passed)" "$bad"
        mapfile -t -O ${#flaky[@]} flaky < <(sed -nE 's/^ *FLAKY [^]]*\] *//p' "$log" | sort -u)
        [ "$code" = 0 ] || name unit '^ *(TRY [0-9]+ )?(FAIL|TIMEOUT|SIG[A-Z]+|ABORT|LEAK-FAIL) \['
    else
        say "cargo test"
        watch cargo test "${locked[@]}" --workspace --all-targets --no-fail-fast
        record_cargo_test
    fi
}

doc() {
    say "cargo test --doc"
    watch cargo test "${locked[@]}" --workspace --doc --no-fail-fast
    record_cargo_test
}

record_cargo_test() {
    local of='^test result: '
    record "$code" "$(sum_before "$of" passed)" "$(sum_before "$of" failed)"
    [ "$code" = 0 ] || name "cargo test" '^test .* FAILED$'
}

e2e() {
    local script line groups
    shopt -s nullglob
    local -a scripts=(tests/e2e/*.sh)
    shopt -u nullglob
    [ ${#scripts[@]} -gt 0 ] || return 0
    build_program || return 0
    for script in "${scripts[@]}"; do
        say "$script"
        groups=$(sed -n 's/^# needs: *//p' "$script")
        # shellcheck disable=SC2086
        if [ -n "$groups" ] && ! tests/install.sh $groups; then
            record 1 0 1
            name "$script: what it needs could not be installed"
            continue
        fi
        run_script "$script"
        if [ "$code" != 0 ] && [ "${CI:-}" = true ]; then
            flaky+=("$script: $(grep -m 1 '^FAIL ' "$log" || echo "ended with $code")")
            say "$script, once more"
            run_script "$script"
            [ "$code" = 0 ] || unset 'flaky[-1]'
        fi
        # shellcheck disable=SC2046
        record "$code" $(tr -dc '0-9 ' <<<"$line")
        [ "$code" = 0 ] || name "$script ended with $code" '^FAIL '
    done
}

# run_script FILE: the exit code is in $code, what it printed in $log, and how many passed in $line.
run_script() {
    # To the file and not through a pipe: a process the script forgot would hold the pipe open for ever.
    code=0
    timeout --kill-after=20 "${E2E_SECONDS:-900}" "$1" >"$log" 2>&1 || code=$?
    cat "$log"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1 || true)
    if [ -z "$line" ]; then
        echo "$1 ended with $code and did not say how many passed"
        line="0 passed, 1 failed"
    fi
}

build_program() {
    [ -z "${PANTALA:-}" ] || return 0
    say "cargo build --package pantala"
    watch cargo build "${locked[@]}" --package pantala
    if [ "$code" != 0 ]; then
        record "$code" 0 1
        name "cargo build --package pantala"
        return 1
    fi
    PANTALA=$(realpath "${CARGO_TARGET_DIR:-target}/debug/pantala")
    export PANTALA
}

case ${1:-} in
-h | --help | help) usage && exit ;;
esac
[ $# -gt 0 ] || set -- lint unit doc e2e
for group in "$@"; do
    case $group in
    lint | unit | doc | e2e) "$group" ;;
    *) echo "run.sh: no group $group (see --help)" >&2 && exit 2 ;;
    esac
done
echo
[ ${#flaky[@]} = 0 ] || printf 'flaky: %s\n' "${flaky[@]}"
[ ${#broken[@]} = 0 ] || printf 'failed: %s\n' "${broken[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
