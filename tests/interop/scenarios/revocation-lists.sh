# shellcheck shell=bash
# OpenSSL believes the CA's revocation lists: their signatures, and whom they name, up to the root's.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

# check NAME: the chain of a folder against the roots and the lists, the issuing CA's own included.
check() {
    cat "$WORK"/crls/*.pem >"$WORK/crls.pem"
    openssl verify -x509_strict -crl_check_all -no-CApath -no-CAstore -CAfile "$WORK/$1/bundle.pem" \
        -untrusted "$WORK/$1/svid.pem" -CRLfile "$WORK/crls.pem" -- "$WORK/$1/svid.pem"
}

# fetch_lists: DER and PEM of every list.
fetch_lists() {
    rm -rf "$WORK/crls"
    secctl ca crl --dir "$WORK/crls" --format pem
    secctl ca crl --dir "$WORK/crls"
}

is_listed() {
    fetch_lists
    for list in "$WORK"/crls/*.pem; do
        openssl crl -in "$list" -noout -text | grep -qi "Serial Number: 0*$1" && return 0
    done
    return 1
}

# verify_list CERTIFICATE: the list that lies where the certificate says belongs to ISSUER and is signed by it.
verify_list() {
    local url words
    url=$(openssl x509 -in "$1" -noout -ext crlDistributionPoints | sed -n 's/.*URI:\(http[^[:space:]]*\).*/\1/p')
    expect "a certificate says where its issuer's list is: $1" test -n "$url"
    curl --fail --silent --show-error "http://$OPERATIONS/crl/${url##*/}" >"$WORK/fetched.crl"
    words=$(openssl crl -inform DER -in "$WORK/fetched.crl" -noout -verify -CAfile "$2" 2>&1)
    expect "the list of $url verifies: $words" grep -q 'verify OK' <<<"$words"
    cmp "$WORK/fetched.crl" "$WORK/crls/${url##*/}"
}

is_good() {
    fetch_lists
    check "$1"
}

configure_ca
echo 'crl: {url: "http://ca.example.org/crl"}' >>"$WORK/ca.yaml"
start_ca
OPERATIONS=$(sed -n 's/^operations *//p' "$WORK/ca.out")
for name in stolen other; do
    secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/$name" --out "$WORK/$name"
done
fetch_lists
check stolen
check other

serial=$(openssl x509 -in "$WORK/stolen/svid.pem" -noout -serial | cut -d= -f2)
secctl cert revoke "$serial" --reason stolen
await "$START_SECONDS" "the list names the certificate" is_listed "$serial"
refused "a revoked certificate" 'certificate revoked' check stolen
check other

# Every list is its issuer's, and lies where the certificates say: the issuing CA's, and the root's.
awk '/BEGIN/ { n++ } n == 1' "$WORK/other/svid.pem" >"$WORK/leaf.pem"
awk '/BEGIN/ { n++ } n == 2' "$WORK/other/svid.pem" >"$WORK/issuing.pem"
verify_list "$WORK/leaf.pem" "$WORK/issuing.pem"
verify_list "$WORK/issuing.pem" "$WORK/other/bundle.pem"

# A revoked issuing CA shows on the root's list, and takes with it whatever it signed; another one signs from then on.
serial=$(openssl x509 -in "$WORK/issuing.pem" -noout -serial | cut -d= -f2)
secctl cert revoke "$serial" --reason stolen
await "$START_SECONDS" "the root's list names the issuing CA" is_listed "$serial"
refused "what a revoked issuing CA signed" 'certificate revoked' check other
secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/later" --out "$WORK/later"
await "$START_SECONDS" "what the next issuing CA signed is good" is_good later
