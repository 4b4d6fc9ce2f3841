# shellcheck shell=bash
# OpenSSL believes the CA's revocation lists: their signatures, and whom they name.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

# check NAME: the chain of a folder against the roots and the lists.
check() {
    cat "$WORK"/crls/*.pem >"$WORK/crls.pem"
    openssl verify -x509_strict -crl_check -no-CApath -no-CAstore -CAfile "$WORK/$1/bundle.pem" \
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
    openssl crl -in "$WORK"/crls/*.pem -noout -text | grep -qi "Serial Number: 0*$1"
}

start_ca
for name in stolen other; do
    secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/$name" --out "$WORK/$name"
done
fetch_lists
check stolen
check other

serial=$(openssl x509 -in "$WORK/stolen/svid.pem" -noout -serial | cut -d= -f2)
secctl cert revoke "$serial" --reason stolen
await 5 "the list names the certificate" is_listed "$serial"
refused "a revoked certificate" 'certificate revoked' check stolen
check other

# The issuing CA is the second certificate of a chain.
awk '/BEGIN/ { n++ } n == 2' "$WORK/other/svid.pem" >"$WORK/issuing.pem"
list=("$WORK"/crls/*.crl)
words=$(openssl crl -inform DER -in "${list[0]}" -noout -verify -CAfile "$WORK/issuing.pem" 2>&1)
expect "the list verifies: $words" grep -q 'verify OK' <<<"$words"
