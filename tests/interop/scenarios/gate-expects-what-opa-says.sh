# shellcheck shell=bash
# The refusals and acceptances that the gate's own tests expect are those of OPA's compilers, and what the built-in
# functions answer is what OPA's answer. What the gate knows of each OPA's capabilities is what that OPA declares.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

for oracle in "$ORACLES"/opaoracle-*; do
    version=${oracle##*-}
    expect "OPA $version refuses and accepts the files of rego/tests as they say" "$oracle" \
        expectations "$version" "$REPOSITORY/rego/tests/refusals" "$REPOSITORY/rego/tests/accepted"
done
for opa in opa "$OPA_OLDEST"; do
    expect "the built-in functions of $opa answer as the tests say" "$opa" test "$REPOSITORY/rego/tests/builtins"
done
"$ORACLES/capabilities" >"$WORK/capabilities.txt"
expect "the table of capabilities is what OPA declares" \
    diff "$REPOSITORY/rego/src/capabilities/table.txt" "$WORK/capabilities.txt"
