# shellcheck shell=bash
# The official SPIFFE library fetches a JWT-SVID over the Workload API, verifies it with the keys that it fetched, and
# has the Workload API verify it; so it does with the keys of the SPIFFE bundle document.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

ID=spiffe://$TRUST_DOMAIN/ns/interop/sa/jwt

check_kind() {
    local kind=$1 folder=$WORK/$1
    {
        sed "s|$WORK/ca\$|$folder|" "$WORK/ca.yaml"
        echo "keys: {kind: $kind}"
    } >"$folder.yaml"
    SECCTL_ADMIN_SOCKET=$folder/admin.sock
    start "ca-$kind" ca-daemon serve --config "$folder.yaml"
    await "$START_SECONDS" "the CA says where it listens" grep -q '^Workload API' "$WORK/ca-$kind.out"
    register "$ID" --selector "unix:path:$WORKLOAD"
    expect "the library and the Workload API take a token signed with $kind" "$WORKLOAD" jwt service
    expect "the token names the workload" test "$("$WORKLOAD" jwt service)" = "$ID"
    stop "ca-$kind"
}

configure_ca
for kind in ec-p256 ec-p384 rsa-2048 ed25519; do
    check_kind "$kind"
done
