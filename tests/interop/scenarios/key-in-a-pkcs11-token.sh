# shellcheck shell=bash
# The key of the CA that signs issuing CAs stays in a PKCS#11 token (SoftHSM): it is made there, cannot leave it, is
# found again by the next start, what it signs passes OpenSSL, and it is destroyed when its root is revoked. Where the
# database is lost, nothing else is begun beside it.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

PIN=4711
export SOFTHSM2_CONF=$WORK/softhsm2.conf

# configure_token KIND
configure_token() {
    local kind=$1 folder=$WORK/$1
    {
        sed "s|$WORK/ca\$|$folder/ca|" "$WORK/ca.yaml"
        echo "keys: {kind: $kind, storage: pkcs11," \
            "pkcs11: {module: $SOFTHSM_MODULE, token_label: $TOKEN, pin: {file: $WORK/pin}}}"
    } >"$folder.yaml"
}

# Sets TOKEN to the label of a new token.
make_token() {
    TOKEN=secplane-$1
    softhsm2-util --init-token --free --label "$TOKEN" --pin "$PIN" --so-pin 12345678
}

objects() { pkcs11-tool --module "$SOFTHSM_MODULE" --token-label "$TOKEN" --login --pin "$PIN" --list-objects; }

check_kind() {
    local kind=$1 folder=$WORK/$1 root_key issuing_key before
    make_token "$kind"
    configure_token "$kind"
    before=$(objects | grep -c '^Private Key Object' || true)
    ca-daemon init --config "$folder.yaml" --pem-dir "$folder/pem" --server-name localhost
    root_key=$(openssl x509 -in "$folder/pem/ca.pem" -noout -ext subjectKeyIdentifier | tail -n 1 | tr -d ' :')
    root_key=${root_key,,}
    expect "the token has one more private key" \
        test "$(objects | grep -c '^Private Key Object')" = $((before + 1))
    expect "the root's key is in the token" grep -q "ID: *$root_key" <<<"$(objects)"
    expect "it never leaves the token" grep -q 'never extractable' <<<"$(objects)"
    expect "it is not among the files" test ! -e "$folder/ca/keys/$root_key.key"
    openssl verify -x509_strict -check_ss_sig -no-CApath -no-CAstore -CAfile "$folder/pem/ca.pem" \
        -untrusted "$folder/pem/server.pem" "$folder/pem/server.pem"

    SECCTL_ADMIN_SOCKET=$folder/ca/admin.sock
    # Below the root that the token keeps, a new issuing CA: the old one's key is lost.
    issuing_key=$(openssl x509 -in "$folder/pem/server.pem" -noout -ext authorityKeyIdentifier | tail -n 1 | tr -d ' :')
    rm -- "$folder/ca/keys/${issuing_key,,}.key"
    start "ca-$kind" ca-daemon serve --config "$folder.yaml"
    await "$START_SECONDS" "the CA says where it listens" grep -q '^Workload API' "$WORK/ca-$kind.out"
    secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/web" --out "$folder/svid"
    expect "the root is the same" cmp "$folder/pem/ca.pem" "$folder/svid/bundle.pem"
    openssl verify -x509_strict -no-CApath -no-CAstore -CAfile "$folder/pem/ca.pem" \
        -untrusted "$folder/svid/svid.pem" "$folder/svid/svid.pem"
    check_revoked "$folder" "$root_key" $((before + 1))
    stop "ca-$kind"
    check_lost "$folder" $((before + 1))
}

# check_lost FOLDER KEYS: without its database, and the keys that are beside it, nothing is begun where the token has as
# many private keys of the authority; the next trust domain begins in the same token.
check_lost() {
    local folder=$1 keys=$2
    mv -- "$folder/ca" "$folder/kept"
    refused "another authority beside the keys in the token" "the token \`$TOKEN\` holds private keys .* its database is empty" \
        ca-daemon init --config "$folder.yaml"
    expect "the token has the keys that it had" test "$(objects | grep -c '^Private Key Object')" = "$keys"
    sed "s/^trust_domain: .*/trust_domain: other.example/" "$folder.yaml" >"$folder-other.yaml"
    rm -r -- "$folder/ca"
    ca-daemon init --config "$folder-other.yaml"
    expect "another trust domain has a key of its own beside them" \
        test "$(objects | grep -c '^Private Key Object')" = $((keys + 1))
    rm -r -- "$folder/ca"
    mv -- "$folder/kept" "$folder/ca"
    ca-daemon init --config "$folder.yaml"
}

# check_revoked FOLDER ROOT_KEY KEYS: another root takes the place of the one with this key, and the token has as many
# private keys as before: one more, and one fewer.
check_revoked() {
    local folder=$1 root_key=$2 keys=$3
    secctl ca rotate --force --revoke
    expect "the token has the key of the new root alone" \
        test "$(objects | grep -c '^Private Key Object')" = "$keys"
    expect "neither half of the revoked root's key is left" \
        test "$(objects | grep -c "ID: *$root_key" || true)" = 0
    secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/web" --out "$folder/later"
    openssl verify -x509_strict -no-CApath -no-CAstore -CAfile "$folder/later/bundle.pem" \
        -untrusted "$folder/later/svid.pem" "$folder/later/svid.pem"
}

configure_ca
mkdir -- "$WORK/tokens"
echo "directories.tokendir = $WORK/tokens" >"$SOFTHSM2_CONF"
(umask 077 && echo "$PIN" >"$WORK/pin")

for kind in ec-p256 ec-p384 rsa-2048; do
    check_kind "$kind"
done

(umask 077 && echo 0000 >"$WORK/pin")
refused "a wrong PIN" 'PIN is incorrect|CKR_PIN_INCORRECT|specified PIN' \
    ca-daemon init --config "$WORK/ec-p256.yaml"
(umask 077 && echo "$PIN" >"$WORK/pin")
sed -i 's/token_label: [^,]*/token_label: other/' "$WORK/ec-p256.yaml"
refused "a token that is not there" 'no slot has a token of this label' \
    ca-daemon init --config "$WORK/ec-p256.yaml"
