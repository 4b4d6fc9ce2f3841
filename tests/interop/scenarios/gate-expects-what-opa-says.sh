# shellcheck shell=bash
# The refusals and acceptances that the gate's own tests expect are those of OPA's compiler.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

for version in $ORACLE_VERSIONS; do
    expect "OPA $version refuses and accepts the files of rego/tests as they say" "$ORACLES/opaoracle-$version" \
        expectations "$version" "$REPOSITORY/rego/tests/refusals" "$REPOSITORY/rego/tests/accepted"
done
