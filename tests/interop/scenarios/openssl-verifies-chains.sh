# shellcheck shell=bash
# OpenSSL, at its strictest, accepts what the CA issues: the server and client certificates of `ca-daemon init`
# for programs without SPIFFE, and an X.509-SVID.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

SVID_ID=spiffe://$TRUST_DOMAIN/ns/interop/sa/web

# verify ROOTS CHAIN [OPTION]...
verify() {
    local roots=$1 chain=$2
    shift 2
    openssl verify -x509_strict -check_ss_sig -no-CApath -no-CAstore -CAfile "$roots" -untrusted "$chain" \
        "$@" -- "$chain"
}

# key_fits CHAIN KEY
key_fits() {
    [[ $(openssl x509 -in "$1" -noout -pubkey) == "$(openssl pkey -in "$2" -pubout)" ]]
}

configure_ca
ca-daemon init --config "$WORK/ca.yaml" --pem-dir "$WORK/pem" --server-name localhost --server-name 127.0.0.1 \
    --client-name alice
pem=$WORK/pem
verify "$pem/ca.pem" "$pem/server.pem" -purpose sslserver -verify_hostname localhost
verify "$pem/ca.pem" "$pem/server.pem" -purpose sslserver -verify_ip 127.0.0.1
verify "$pem/ca.pem" "$pem/client.pem" -purpose sslclient
expect "the server's key fits its certificate" key_fits "$pem/server.pem" "$pem/server-key.pem"
expect "the client's key fits its certificate" key_fits "$pem/client.pem" "$pem/client-key.pem"
refused "a server's certificate for a client" 'unsupported certificate purpose|unsuitable certificate purpose' \
    verify "$pem/ca.pem" "$pem/server.pem" -purpose sslclient
refused "a server's certificate for another host" 'hostname mismatch' \
    verify "$pem/ca.pem" "$pem/server.pem" -verify_hostname other.example

start_ca
secctl svid issue --spiffe-id "$SVID_ID" --out "$WORK/web"
expect "what init founded is what serves" cmp "$pem/ca.pem" "$WORK/web/bundle.pem"
for purpose in sslserver sslclient; do
    verify "$WORK/web/bundle.pem" "$WORK/web/svid.pem" -purpose "$purpose"
done
expect "the SVID's key fits it" key_fits "$WORK/web/svid.pem" "$WORK/web/key.pem"
names=$(openssl x509 -in "$WORK/web/svid.pem" -noout -ext subjectAltName)
expect "the SVID names its SPIFFE ID and nothing else: $names" \
    test "$(tail -n +2 <<<"$names" | tr -d ' ')" = "URI:$SVID_ID"

# The check itself: another authority of the same trust domain is not this one.
sed "s|$WORK/ca\$|$WORK/other|; s|workload.sock|other.sock|" "$WORK/ca.yaml" >"$WORK/other.yaml"
ca-daemon init --config "$WORK/other.yaml" --pem-dir "$WORK/other-pem"
refused "the SVID of another authority" 'unable to get local issuer certificate|certificate signature failure' \
    verify "$WORK/other-pem/ca.pem" "$WORK/web/svid.pem"

grpc=$(sed -n 's/^gRPC *//p' "$WORK/ca.out")
tls() {
    openssl s_client -connect "$grpc" -servername localhost -CAfile "$pem/ca.pem" -verify_return_error "$@" \
        </dev/null
}
expect "the CA speaks TLS 1.3" tls -tls1_3 -verify_hostname localhost
refused "TLS 1.2" 'protocol version|handshake failure' tls -tls1_2
