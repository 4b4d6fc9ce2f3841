# shellcheck shell=bash
# seconds: 600
# Every kind of certificate, with every kind of key, passes OpenSSL at its strictest and zlint's rules of RFC 5280: the
# root, the issuing CA, X.509-SVIDs, a node agent's too, server and client certificates, the CA of a mesh with a leaf
# below it, the CA of a downstream authority, and the revocation lists of the root and of the issuing CA.

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

# key_is FILE PATTERN: the key of the first certificate, in OpenSSL's words.
key_is() { openssl x509 -in "$1" -noout -text | grep -qE "$2"; }

check_kind() {
    local kind=$1 words=$2 folder=$WORK/$1 purpose
    mkdir -- "$folder"
    {
        sed "s|$WORK/ca\$|$folder/ca|; s|workload.sock|$kind.sock|" "$WORK/ca.yaml"
        echo "keys: {kind: $kind}"
    } >"$folder.yaml"
    ca-daemon init --config "$folder.yaml" --pem-dir "$folder/pem" --server-name web.example.org \
        --server-name 127.0.0.1 --client-name alice
    SECCTL_ADMIN_SOCKET=$folder/ca/admin.sock
    start "ca-$kind" ca-daemon serve --config "$folder.yaml"
    await "$START_SECONDS" "the CA says where it listens" grep -q '^Workload API' "$WORK/ca-$kind.out"
    secctl svid issue --spiffe-id "$SVID_ID" --out "$folder/svid"
    register "$SVID_ID" --selector "unix:uid:$(id -u)" --dns web.example.org
    secctl svid issue --workload-api "$WORK/$kind.sock" --out "$folder/fetched"
    local token serial
    token=$(secctl --output json token create | opa eval --stdin-input --format raw input.token)
    secctl agent attest --join-token "$token" --out "$folder/agent"
    # A list that names somebody says more than an empty one.
    secctl svid issue --spiffe-id "spiffe://$TRUST_DOMAIN/stolen" --out "$folder/stolen"
    serial=$(openssl x509 -in "$folder/stolen/svid.pem" -noout -serial | cut -d= -f2)
    secctl cert revoke "$serial" --reason stolen
    await "$START_SECONDS" "a list names the certificate" is_listed "$folder/crls" "$serial"
    # Istio's CAs have EC or RSA keys.
    [[ $kind == ed25519 ]] || mesh "$kind" "$folder"
    downstream "$kind" "$folder"
    stop "ca-$kind"

    local roots=$folder/pem/ca.pem
    expect "the root's key is $kind" key_is "$roots" "$words"
    expect "the key of a fetched SVID is $kind" key_is "$folder/fetched/svid.pem" "$words"
    verify "$roots" "$folder/pem/server.pem" -purpose sslserver -verify_hostname web.example.org
    verify "$roots" "$folder/pem/server.pem" -purpose sslserver -verify_ip 127.0.0.1
    verify "$roots" "$folder/pem/client.pem" -purpose sslclient
    for purpose in sslserver sslclient; do
        verify "$roots" "$folder/svid/svid.pem" -purpose "$purpose"
        verify "$roots" "$folder/agent/svid.pem" -purpose "$purpose"
        verify "$roots" "$folder/fetched/svid.pem" -purpose "$purpose" -verify_hostname web.example.org
    done
    check_lists "$roots" "$folder"
    expect "zlint has no complaint about $kind" \
        "$WORKLOAD" lint "$roots" "$folder"/pem/{server,client}.pem "$folder"/{svid,fetched,agent}/svid.pem \
        "$folder"/crls/*.pem
}

# is_listed FOLDER SERIAL: fetches the lists, and looks for the certificate in them.
is_listed() {
    local list
    rm -rf -- "$1"
    secctl ca crl --dir "$1" --format pem
    for list in "$1"/*.pem; do
        if openssl crl -in "$list" -noout -text | grep -qi "Serial Number: 0*$2"; then return 0; fi
    done
    return 1
}

# check_lists ROOTS FOLDER: one list of the root and one of the issuing CA, with which chains verify or are refused.
check_lists() {
    local roots=$1 folder=$2 lists
    lists=("$folder"/crls/*.pem)
    expect "the root and the issuing CA have a list each: ${lists[*]}" test "${#lists[@]}" = 2
    cat -- "${lists[@]}" >"$folder/crls.pem"
    verify "$roots" "$folder/agent/svid.pem" -crl_check_all -CRLfile "$folder/crls.pem"
    refused "a revoked SVID" 'certificate revoked' \
        verify "$roots" "$folder/stolen/svid.pem" -crl_check_all -CRLfile "$folder/crls.pem"
}

# mesh KIND FOLDER: a CA for a mesh, and a leaf that the mesh signs, chain to our root.
mesh() {
    local kind=$1 folder=$2
    secctl ca export-istio-cacerts --out "$folder/cacerts" --key "$kind"
    expect "the four files are there" test -s "$folder/cacerts/ca-cert.pem" -a -s "$folder/cacerts/ca-key.pem" \
        -a -s "$folder/cacerts/cert-chain.pem" -a -s "$folder/cacerts/root-cert.pem"
    expect "the mesh's key is its owner's alone" test "$(stat -c %a "$folder/cacerts/ca-key.pem")" = 600
    expect "the mesh has our root" cmp "$folder/cacerts/root-cert.pem" "$folder/pem/ca.pem"
    local mesh=$folder/cacerts
    sign "$folder/leaf" "$mesh/ca-cert.pem" "$mesh/ca-key.pem" 'basicConstraints=critical,CA:FALSE'
    cat -- "$folder/leaf.pem" "$mesh/cert-chain.pem" >"$folder/leaf-chain.pem"
    verify "$mesh/root-cert.pem" "$folder/leaf-chain.pem" -purpose sslserver
    sign "$folder/further-ca" "$mesh/ca-cert.pem" "$mesh/ca-key.pem" 'basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign'
    sign "$folder/further" "$folder/further-ca.pem" "$folder/further-ca.key" 'basicConstraints=critical,CA:FALSE'
    cat -- "$folder/further.pem" "$folder/further-ca.pem" "$mesh/cert-chain.pem" >"$folder/further-chain.pem"
    refused "a leaf below a CA that the mesh made" 'path length constraint exceeded' \
        verify "$mesh/root-cert.pem" "$folder/further-chain.pem" -purpose sslserver
    expect "zlint has no complaint about the mesh's CA" "$WORKLOAD" lint "$folder/cacerts/cert-chain.pem"
}

# downstream KIND FOLDER: the CA of an authority below ours chains to our root.
downstream() {
    local kind=$1 folder=$2 id=spiffe://$TRUST_DOMAIN/nested grpc
    secctl entry import -f - <<YAML
spiffe_id: $id
selectors: [unix:uid:4711]
downstream: true
YAML
    secctl svid issue --spiffe-id "$id" --out "$folder/nested"
    grpc=$(sed -n 's/^gRPC *//p' "$WORK/ca-$kind.out")
    "$WORKLOAD" downstream "$grpc" "$folder/nested" "$folder/downstream.pem"
    expect "the issuing CA is sent along" test "$(grep -c 'BEGIN CERTIFICATE' "$folder/downstream.pem")" = 2
    verify "$folder/pem/ca.pem" "$folder/downstream.pem"
    expect "it is a CA" grep -q 'CA:TRUE' <<<"$(openssl x509 -in "$folder/downstream.pem" -noout -ext basicConstraints)"
    expect "zlint has no complaint about the downstream CA" "$WORKLOAD" lint "$folder/downstream.pem"
}

# sign FILE CA KEY EXTENSIONS: makes FILE.key, and FILE.pem for it.
sign() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=mesh/CN=${1##*/}" \
        -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA "$2" -CAkey "$3" -days 1 -out "$1.pem" -extfile <(
        echo "$4"
        echo 'subjectAltName=URI:spiffe://example.org/ns/mesh/sa/web'
        echo 'authorityKeyIdentifier=keyid'
        echo 'subjectKeyIdentifier=hash'
    )
}

configure_ca
check_kind ec-p256 'ASN1 OID: prime256v1'
check_kind ec-p384 'ASN1 OID: secp384r1'
check_kind ed25519 'ED25519 Public-Key'
check_kind rsa-2048 'Public-Key: \(2048 bit\)'
check_kind rsa-3072 'Public-Key: \(3072 bit\)'
check_kind rsa-4096 'Public-Key: \(4096 bit\)'
