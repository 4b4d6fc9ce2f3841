# shellcheck shell=bash
# What the scenarios have in common: the daemons as real processes, and waiting for them. Sourced by each.
#
# WORK is the scenario's own folder, which `run` removes; secctl, the daemons, opa and openssl are in PATH.

TRUST_DOMAIN=example.org
# The namespace of the service itself, and of global policies.
SYSTEM=secplane-system
export SPIFFE_ENDPOINT_SOCKET=unix://$WORK/workload.sock
export SECCTL_ADMIN_SOCKET=$WORK/ca/admin.sock
# Logs go to files here, and to a reader only when something failed.
export NO_COLOR=1
# How long a daemon may take to come up, and to end after SIGTERM.
START_SECONDS=90
STOP_SECONDS=60

declare -A PIDS=()
STARTED=()

trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- Daemons ----

configure_ca() {
    cat >"$WORK/ca.yaml" <<YAML
trust_domain: $TRUST_DOMAIN
data_dir: $WORK/ca
listen: 127.0.0.1:0
server_names: [localhost]
workload_api: {socket: $WORK/workload.sock}
wrapping_key: {file: $WORK/wrapping.key}
operations: {listen: "127.0.0.1:0"}
YAML
    ca-daemon wrapping-key --out "$WORK/wrapping.key"
}

start_ca() {
    [[ -f $WORK/ca.yaml ]] || configure_ca
    start ca ca-daemon serve --config "$WORK/ca.yaml"
    await "$START_SECONDS" "the CA says where it listens" grep -q '^Workload API' "$WORK/ca.out"
}

# start_bundle_service POLICIES [LINE OF THE CONFIGURATION]...: sets BUNDLE_SERVICE to the host and port where it serves.
start_bundle_service() {
    local policies=$1
    shift
    configure_bundle_service "{directory: $policies}" "$@"
    register_service
    serve_bundles
}

# configure_bundle_service SOURCE [LINE OF THE CONFIGURATION]...
configure_bundle_service() {
    local source=$1 line
    shift
    {
        cat <<YAML
listen: 127.0.0.1:0
health_listen: 127.0.0.1:0
workload_api: unix:$WORK/workload.sock
source: $source
envoy_adapter: true
YAML
        for line in "$@"; do echo "$line"; done
    } >"$WORK/bundle-service.yaml"
}

# serve_bundles: as it is configured.
serve_bundles() {
    start bundle-service bundle-service serve --config "$WORK/bundle-service.yaml"
    await "$START_SECONDS" "the bundle service says where it listens" \
        grep -q '^bundles ' "$WORK/bundle-service.out"
    use bundle-service
}

# The service's own identity, whoever starts it.
register_service() {
    register "spiffe://$TRUST_DOMAIN/ns/$SYSTEM/sa/bundle-service" \
        --selector "unix:path:$BIN/bundle-service" --dns localhost
}

# register SPIFFE_ID [OPTION OF secctl entry create]...
register() {
    local id=$1
    shift
    secctl --output json entry create --spiffe-id "$id" "$@"
}

# health NAME: what /readyz of a replica says; fails when it is not ready.
health() {
    curl --silent --show-error --fail-with-body --max-time 10 \
        "http://$(sed -n 's/^health  *//p' "$WORK/$1.out")/readyz"
}

# health_says NAME WORDS
health_says() { { health "$1" || true; } | grep -qF -- "$2"; }

# use NAME: of the replicas, the one whose bundles are asked for.
use() {
    BUNDLE_SERVICE=localhost:$(sed -n 's/^bundles .*://p' "$WORK/$1.out")
    export BUNDLE_SERVICE
}

# ---- Bundles ----

# activates FILE...: whether the newest OPA and the oldest that sidecars run activate each of these bundles.
activates() {
    local file opa
    for file in "$@"; do
        for opa in opa "$OPA_OLDEST"; do
            "$opa" eval --bundle "$file" --format raw true || return 1
        done
    done
}

# served_is_activated SVID_FOLDER: whether both activate the bundle that this identity is served now.
served_is_activated() {
    secctl bundle pull --bundle-service "$BUNDLE_SERVICE" --svid-dir "$1" --out "$WORK/served.tar.gz" &&
        activates "$WORK/served.tar.gz"
}

# ---- Policies ----

# policy NAMESPACE NAME SCOPE ALLOW [GROUP]: a policy for requests coming in. ALLOW is what stands behind `allow := `.
policy() {
    local package=authbridge
    case $3 in namespace) package+=.ns ;; client) package+=.client ;; esac
    cat <<YAML
apiVersion: ${5:-agent.kagenti.dev}/v1alpha1
kind: AuthorizationPolicy
metadata: {namespace: $1, name: $2}
spec:
  scope: $3
  policies:
  - path: inbound/request.rego
    content: |
      package $package.inbound.request

      allow := $4
YAML
}

# ---- Processes ----

# start NAME COMMAND...: in the background, with what it writes in NAME.out and NAME.log.
start() {
    local name=$1
    shift
    "$@" >"$WORK/$name.out" 2>"$WORK/$name.log" &
    PIDS[$name]=$!
    STARTED+=("$name")
}

# stop NAME: fails when it does not end in time, or not well.
stop() {
    local name=$1 pid=${PIDS[$1]} deadline=$((SECONDS + STOP_SECONDS)) status=0
    unset "PIDS[$name]"
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            kill -KILL "$pid" 2>/dev/null || true
            echo "$name had to be killed: it did not end within $STOP_SECONDS s of SIGTERM"
        fi
        sleep 0.05
    done
    wait "$pid" || status=$?
    ((status == 0)) || echo "$name ended with status $status"
    return "$status"
}

# The last started ends first. A scenario passes only if everything that it started ends well.
stop_all() {
    local status=$? i
    trap '' INT TERM
    for ((i = ${#STARTED[@]} - 1; i >= 0; i--)); do
        [[ -v PIDS[${STARTED[i]}] ]] || continue
        stop "${STARTED[i]}" || status=1
    done
    exit "$status"
}

# A port that nothing listens on at the moment.
free_port() {
    local port
    while :; do
        # Below those that the kernel gives to clients: none of them takes it in the meantime.
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# ---- Waiting and failing ----

# await SECONDS WHAT COMMAND...: until the command succeeds; fails after so many seconds, or when a started process
# has ended.
await() {
    local limit=$1 what=$2 deadline=$((SECONDS + $1)) name words
    shift 2
    until words=$("$@" 2>&1); do
        ((SECONDS < deadline)) || fail "not so within $limit s: $what${words:+; the last try said: $words}"
        for name in "${!PIDS[@]}"; do
            kill -0 "${PIDS[$name]}" 2>/dev/null || fail "$name has ended while waiting until $what"
        done
        sleep 0.1
    done
}

fail() {
    echo "FAILED: $*"
    exit 1
}

# expect WHAT COMMAND...
expect() {
    local what=$1
    shift
    "$@" || fail "it should be so: $what"
}

# refused WHAT PATTERN COMMAND...: the command must fail, and say why in words that the pattern (a regular
# expression) finds.
refused() {
    local what=$1 pattern=$2 words
    shift 2
    if words=$("$@" 2>&1); then
        fail "it should be refused: $what; instead: $words"
    fi
    grep -qE -- "$pattern" <<<"$words" || fail "$what is refused, but not for the right reason: $words"
}
