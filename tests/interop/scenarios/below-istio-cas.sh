# shellcheck shell=bash
# Below CAs of the profiles that Istio's files come in: OpenSSL accepts what is signed below one of keyCertSign alone, as
# Istio's samples have it, and one of path length 0, as its tools/certs make it, is refused by that name.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

TOOLS_USAGE=critical,digitalSignature,nonRepudiation,keyEncipherment,keyCertSign

# make_cacerts FOLDER EXTENSION...: a root, and a CA below it as the extensions have it, in the files of Istio's cacerts.
make_cacerts() {
    local folder=$1
    shift
    mkdir -p "$folder"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/O=Istio/CN=Root CA' -addext "keyUsage=$TOOLS_USAGE" \
        -keyout "$folder/root-key.pem" -out "$folder/root-cert.pem"
    openssl req -new -newkey rsa:2048 -nodes -subj '/O=Istio/CN=Intermediate CA' \
        -keyout "$folder/ca-key.pem" -out "$folder/ca.csr"
    printf '%s\n' subjectKeyIdentifier=hash subjectAltName=DNS:istiod.istio-system.svc "$@" >"$folder/ca.ext"
    openssl x509 -req -in "$folder/ca.csr" -CA "$folder/root-cert.pem" -CAkey "$folder/root-key.pem" -CAcreateserial \
        -days 20 -extfile "$folder/ca.ext" -out "$folder/ca-cert.pem"
    cat "$folder/ca-cert.pem" "$folder/root-cert.pem" >"$folder/cert-chain.pem"
    chmod 600 "$folder/ca-key.pem"
}

configure_ca
make_cacerts "$WORK/tools" basicConstraints=critical,CA:true,pathlen:0 "keyUsage=$TOOLS_USAGE"
cp "$WORK/ca.yaml" "$WORK/tools.yaml"
echo "upstream: {pem: {folder: $WORK/tools}}" >>"$WORK/tools.yaml"
refused "a CA of path length 0" 'its path length is 0' ca-daemon init --config "$WORK/tools.yaml"

make_cacerts "$WORK/samples" basicConstraints=CA:true keyUsage=keyCertSign
echo "upstream: {pem: {folder: $WORK/samples}}" >>"$WORK/ca.yaml"
start_ca
secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/web" --out "$WORK/web"
# Not with -x509_strict, which wants the basic constraints of every CA critical: those of Istio's samples are not.
for purpose in sslserver sslclient; do
    expect "OpenSSL accepts the SVID as $purpose" openssl verify -no-CApath -no-CAstore -purpose "$purpose" \
        -CAfile "$WORK/samples/root-cert.pem" -untrusted "$WORK/web/svid.pem" -- "$WORK/web/svid.pem"
done
refused "the SVID below another root" 'unable to get (local )?issuer certificate|certificate signature failure' \
    openssl verify -no-CApath -no-CAstore -CAfile "$WORK/tools/root-cert.pem" -untrusted "$WORK/web/svid.pem" \
    -- "$WORK/web/svid.pem"
status=$(secctl ca status)
expect "the status says that the CA has no list: $status" grep -q cRLSign <<<"$status"
secctl ca crl --dir "$WORK/crls" --format pem
lists=$(find "$WORK/crls" -name '*.pem' | wc -l)
expect "the issuing CA has the only list: $lists" test "$lists" -eq 1
