# shellcheck shell=bash
# The refusals and acceptances that the gate's own tests expect are those of OPA's compiler.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

expect "OPA refuses and accepts the files of rego/tests as they say" \
    "$OPAORACLE" expectations 1.18 "$REPOSITORY/rego/tests/refusals" "$REPOSITORY/rego/tests/accepted"
