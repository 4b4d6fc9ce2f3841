# shellcheck shell=bash
# The bundles of the identities in policies/, as the service serves them, hold up under OPA's own compiler at its
# strictest, and OPA runs their tests: the newest OPA and the oldest.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

# identity_of TEST_FILE: whose bundle it tests, as its first line says.
identity_of() {
    local identity
    identity=$(sed -n '1s|^# identity: \(spiffe://[^ ]*\)$|\1|p' "$1")
    [[ -n $identity ]] || fail "the first line of $1 is not: # identity: spiffe://..."
    echo "$identity"
}

# pull IDENTITY FOLDER: the identity's bundle, as bundle.tar.gz and taken apart in bundle/.
pull() {
    secctl svid issue --spiffe-id "$1" --out "$2/svid"
    secctl bundle pull --bundle-service "$BUNDLE_SERVICE" --svid-dir "$2/svid" --out "$2/bundle.tar.gz"
    mkdir -- "$2/bundle"
    tar -xzf "$2/bundle.tar.gz" -C "$2/bundle"
}

start_ca
start_bundle_service "$REPOSITORY/policies"
for folder in "$REPOSITORY"/policies/*/; do
    tests=("$folder"*_test.rego)
    [[ -f ${tests[0]} ]] || fail "$folder has no *_test.rego"
    for test in "${tests[@]}"; do
        identity=$(identity_of "$test")
        work=$WORK/$(basename "$folder").$(basename "$test" .rego)
        pull "$identity" "$work"
        expect "every OPA activates the bundle of $identity" activates "$work/bundle.tar.gz"
        for opa in opa "$OPA_OLDEST"; do
            expect "the bundle of $identity is strict Rego" "$opa" check --strict --bundle "$work/bundle.tar.gz"
            expect "$test is strict Rego" "$opa" check --strict "$work/bundle" "$test"
            expect "the tests of $test pass" "$opa" test --fail-on-empty "$work/bundle" "$test"
        done
    done
done
