# shellcheck shell=bash
# A real kube-apiserver with etcd, and the bundle service as the service account that deploy/kubernetes gives it.
# Sourced by the scenarios that need it, after stack.sh.
#
# KUBERNETES is the folder with kube-apiserver, kubectl and etcd.

PATH=$KUBERNETES:$PATH
DEPLOY=$REPOSITORY/deploy/kubernetes
# How long the API server may take to answer, and a change to arrive through it. This machine may be busy.
API_SECONDS=180
ARRIVE_SECONDS=90
export KUBECONFIG=$WORK/admin.kubeconfig
# The one that is started.
KUBE_APISERVER=$KUBERNETES/kube-apiserver

# ---- The API server ----

start_kubernetes() {
    mkdir -- "$WORK/pki"
    ETCD_PORT=$(free_port)
    ETCD_PEER_PORT=$(free_port)
    API_PORT=$(free_port)
    make_authority
    certificate server "/CN=kube-apiserver" "subjectAltName=IP:127.0.0.1,DNS:localhost"
    certificate admin "/O=system:masters/CN=admin" "extendedKeyUsage=clientAuth"
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$WORK/pki/accounts.key"
    kubeconfig "$KUBECONFIG" "client-certificate: $WORK/pki/admin.pem
    client-key: $WORK/pki/admin.key"
    start_etcd
    start_api_server
}

make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=kubernetes" \
        -keyout "$WORK/pki/ca.key" -out "$WORK/pki/ca.pem" 2>/dev/null
}

# certificate NAME SUBJECT EXTENSION
certificate() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
        -keyout "$WORK/pki/$1.key" -out "$WORK/pki/$1.csr" 2>/dev/null
    openssl x509 -req -in "$WORK/pki/$1.csr" -CA "$WORK/pki/ca.pem" -CAkey "$WORK/pki/ca.key" -days 2 \
        -extfile <(echo "$3") -out "$WORK/pki/$1.pem" 2>/dev/null
}

# kubeconfig FILE CREDENTIALS
kubeconfig() {
    cat >"$1" <<YAML
apiVersion: v1
kind: Config
current-context: it
clusters:
- name: it
  cluster: {server: "https://127.0.0.1:$API_PORT", certificate-authority: $WORK/pki/ca.pem}
contexts:
- name: it
  context: {cluster: it, user: it}
users:
- name: it
  user:
    $2
YAML
}

start_etcd() {
    start etcd under etcd TERM etcd --data-dir "$WORK/etcd" --log-level warn \
        --listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
        --listen-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" \
        --initial-advertise-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" \
        --initial-cluster "default=http://127.0.0.1:$ETCD_PEER_PORT"
}

# ask_etcd CALL REQUEST: through its own gateway.
ask_etcd() { curl --silent --show-error --fail --max-time 10 --data "$2" "http://127.0.0.1:$ETCD_PORT/v3/kv/$1"; }

# compact_etcd: it forgets everything but what is there now.
compact_etcd() {
    local revision
    # Of a key that nobody has: what is asked for is how far the history goes.
    revision=$(ask_etcd range '{"key": "AA=="}' | sed -nE 's/.*"revision": *"([0-9]+)".*/\1/p')
    ask_etcd compaction "{\"revision\": \"$revision\", \"physical\": true}"
}

# under NAME SIGNAL COMMAND...: what is told to end is sent that signal, and has then ended well. etcd ends by the signal
# that it is sent; an API server would first wait a minute for who watches it.
under() {
    local name=$1 signal=$2 child
    shift 2
    "$@" &
    child=$!
    echo "$child" >"$WORK/$name.pid"
    # shellcheck disable=SC2064 # the process of this moment
    trap "kill -$signal $child" TERM
    wait "$child" || true
    wait "$child" || true
}

start_api_server() {
    start api-server under api-server KILL "$KUBE_APISERVER" --etcd-servers "http://127.0.0.1:$ETCD_PORT" \
        --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$API_PORT" \
        --cert-dir "$WORK/pki" --tls-cert-file "$WORK/pki/server.pem" --tls-private-key-file "$WORK/pki/server.key" \
        --client-ca-file "$WORK/pki/ca.pem" --authorization-mode RBAC \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-signing-key-file "$WORK/pki/accounts.key" \
        --service-account-key-file "$WORK/pki/accounts.key" \
        --service-cluster-ip-range 10.0.0.0/24 --endpoint-reconciler-type none \
        --watch-cache-sizes "" --v 1
    await "$API_SECONDS" "the API server is ready" kubectl get --raw /readyz
}

# crash NAME: ends it at once, as a power cut would.
crash() {
    local pid=${PIDS[$1]}
    unset "PIDS[$1]"
    if [[ -f $WORK/$1.pid ]]; then kill -KILL "$(<"$WORK/$1.pid")"; else kill -KILL "$pid"; fi
    wait "$pid" || true
}

# ---- The bundle service ----

# What deploy/kubernetes sets up, as far as it needs no nodes: namespace, account and rights.
install_rights() {
    kubectl apply -f "$DEPLOY/rbac.yaml"
    kubectl create token bundle-service --namespace "$SYSTEM" --duration 2h >"$WORK/token"
    kubeconfig "$WORK/service.kubeconfig" "tokenFile: $WORK/token"
}

# start_all_of_kubernetes: what a replica of the bundle service needs to serve the namespace team-a.
start_all_of_kubernetes() {
    start_ca
    register_service
    start_kubernetes
    install_rights
    install_definition agent.kagenti.dev
    kubectl create namespace team-a
}

# definition GROUP: the resource's definition, applied and served.
install_definition() {
    kubectl apply --server-side -f "$DEPLOY/crds/$1.yaml"
    kubectl wait --for condition=Established --timeout "${ARRIVE_SECONDS}s" "crd/authorizationpolicies.$1"
}

# start_replica NAME [LINE OF THE CONFIGURATION]...
start_replica() {
    local name=$1 line
    shift
    {
        cat <<YAML
listen: 127.0.0.1:0
health_listen: 127.0.0.1:0
workload_api: unix:$WORK/workload.sock
source: {kubernetes: {kubeconfig: $WORK/service.kubeconfig}}
YAML
        for line in "$@"; do echo "$line"; done
    } >"$WORK/$name.yaml"
    start "$name" bundle-service serve --config "$WORK/$name.yaml"
    await "$START_SECONDS" "$name says where it listens" grep -q '^bundles ' "$WORK/$name.out"
}

# ---- What became of a policy ----

# status_is NAMESPACE NAME CONDITION STATUS
status_is() { [[ $(condition "$1" "$2" "$3" status) == "$4" ]]; }

# condition NAMESPACE NAME CONDITION FIELD
condition() {
    kubectl get ap --namespace "$1" "$2" -o "jsonpath={.status.conditions[?(@.type==\"$3\")].$4}"
}

# is_judged NAMESPACE NAME: whether the status is about the newest version.
is_judged() {
    [[ $(condition "$1" "$2" Accepted observedGeneration) == $(kubectl get ap -n "$1" "$2" -o 'jsonpath={.metadata.generation}') ]]
}

# settled NAMESPACE NAME CONDITION STATUS
settled() { is_judged "$1" "$2" && status_is "$@"; }

# events NAMESPACE NAME REASON: how often.
events() {
    kubectl get events.events.k8s.io --namespace "$1" \
        -o "jsonpath={range .items[?(@.reason==\"$3\")]}{.regarding.name}{\"\\n\"}{end}" | grep -c "^$2\$" || true
}

# has_events NAMESPACE NAME REASON NUMBER
has_events() { [[ $(events "$1" "$2" "$3") == "$4" ]]; }
