# shellcheck shell=bash
# A stock OPA as a workload's sidecar runs it: with the files of an X.509-SVID, and its REST API on a Unix socket.
# Sourced by the scenarios that need it, after stack.sh.

# The bundle service is to answer a held request when there is something new, and not before. So what comes sooner
# than this was pushed.
LONG_POLL_SECONDS=60

# start_opa NAME SVID_FOLDER BUNDLE=RESOURCE...: each bundle from that path of the bundle service.
start_opa() { start_sidecar opa "$@"; }

# start_oldest_opa: as start_opa, of the oldest version that sidecars run.
start_oldest_opa() { start_sidecar "$OPA_OLDEST" "$@"; }

# start_sidecar PROGRAM NAME SVID_FOLDER BUNDLE=RESOURCE...
start_sidecar() {
    local program=$1 name=$2 svid=$3 bundle
    shift 3
    {
        cat <<YAML
services:
  secplane:
    url: https://localhost:${BUNDLE_SERVICE##*:}
    tls: {ca_cert: $svid/bundle.pem}
    credentials:
      client_tls: {cert: $svid/svid.pem, private_key: $svid/key.pem}
# Without a reporter there would be no status to ask for.
status: {prometheus: true}
bundles:
YAML
        for bundle in "$@"; do
            echo "  ${bundle%%=*}: {service: secplane, resource: \"${bundle#*=}\"," \
                "polling: {long_polling_timeout_seconds: $LONG_POLL_SECONDS}}"
        done
    } >"$WORK/$name.yaml"
    start "$name" "$program" run --server --disable-telemetry --config-file "$WORK/$name.yaml" \
        --addr "unix://$WORK/$name.sock" --log-level info
    await "$START_SECONDS" "$name answers" ask "$name" /health
}

# ask NAME PATH [OPTION OF curl]...: what OPA's REST API answers.
ask() {
    local name=$1 path=$2
    shift 2
    curl --silent --show-error --fail --max-time 10 --unix-socket "$WORK/$name.sock" "$@" "http://opa$path"
}

# decide NAME RULE INPUT_FILE: the rule's value as JSON. Fails when it is undefined.
decide() { ask "$1" "/v0/data/authbridge/$2" --data-binary "@$3"; }

# decides NAME RULE INPUT_FILE VALUE
decides() { [[ $(decide "$1" "$2" "$3") == "$4" ]]; }

# status_of NAME BUNDLE FIELD: empty when there is none.
status_of() {
    ask "$1" /v1/status | opa eval --stdin-input --format raw "object.get(input.result.bundles[\"$2\"], \"$3\", \"\")"
}

# revision_of NAME BUNDLE: of the bundle that OPA decides by.
revision_of() { status_of "$1" "$2" active_revision; }

# is_active NAME BUNDLE
is_active() { [[ -n $(revision_of "$1" "$2") ]]; }

# version_of NAME: of the program.
version_of() { ask "$1" /v1/status | opa eval --stdin-input --format raw input.result.labels.version; }
