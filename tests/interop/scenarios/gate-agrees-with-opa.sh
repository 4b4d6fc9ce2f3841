# shellcheck shell=bash
# seconds: 1200
# The gate refuses what OPA's compiler of that version refuses and accepts what it accepts: on OPA's own conformance suite, on its
# compiler's cases, on every string of its tests, and on mutations of all of these. The corpora are read where Go keeps
# the module.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

# For more than fit into the time of a scenario, docs/policy-gate.md has the command.
MADE=${SECPLANE_MADE_SETS:-20000}

opa_sources=$(cd -- "$REPOSITORY/tests/interop/go" && go list -mod=readonly -m -f '{{.Dir}}' \
    github.com/open-policy-agent/opa)
corpora=(--corpus "$REPOSITORY/rego/tests/refusals" --corpus "$REPOSITORY/rego/tests/accepted")
for kind in conformance compilation literals; do
    "$ORACLES/opacorpus" "$kind" "$opa_sources" >"$WORK/$kind.jsonl"
    [[ -s $WORK/$kind.jsonl ]] || fail "$opa_sources holds no $kind"
    corpora+=(--corpus "$WORK/$kind.jsonl")
done
# With the whole workspace: the tests have compiled what it is made of.
(cd -- "$REPOSITORY" && cargo build --workspace --locked --example differential)

for version in "$OLDEST" "$NEWEST"; do
    expect "the gate for $version agrees with OPA" "$BIN/examples/differential" --oracle "$ORACLES/opaoracle-$version" \
        --opa "$version" --known "$REPOSITORY/rego/tests/known-disagreements.txt" "${corpora[@]}" --count "$MADE"
done
