# shellcheck shell=bash
# What tenants try works on a service that joins modules as they come, shown with a real OPA, and fails here. The list
# of attacks is that of bundle-service/tests/attacks; README.md there says what its lines mean.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

ATTACKS=$REPOSITORY/bundle-service/tests/attacks
VICTIM=spiffe://$TRUST_DOMAIN/ns/team-a/sa/agent

# fact FILE NAME DEFAULT
fact() {
    local value
    value=$(sed -n "s/^# $2: //p" "$1" | head -n 1)
    echo "${value:-$3}"
}

# take_apart FILE FOLDER: each module as N.rego, with what its line says in N.head.
take_apart() {
    awk -v folder="$2" '
        /^# module: / { number++; print substr($0, 11) > (folder "/" number ".head"); next }
        number { print > (folder "/" number ".rego") }
    ' "$1"
}

# append ARCHIVE FILE NAME: under that very name, whatever it is.
append() { tar -P --transform "s|.*|$3|" -rf "$1" "$2"; }

# naive FOLDER: the bundle of whoever joins modules as they come, with the modules of FOLDER.
naive() {
    local folder=$1 module scope path number
    echo '{"roots": ["authbridge"]}' >"$folder/manifest"
    echo '{"require_client_policy": true}' >"$folder/settings"
    echo "{\"spiffe_id\": \"$VICTIM\"}" >"$folder/identity"
    append "$folder/naive.tar" "$folder/manifest" /.manifest
    append "$folder/naive.tar" "$folder/settings" /authbridge/settings/data.json
    append "$folder/naive.tar" "$folder/identity" /authbridge/identity/data.json
    for module in "$ATTACKS"/administrator/*.rego; do
        append "$folder/naive.tar" "$module" "/authbridge/global/${module##*/}"
    done
    for ((number = 1; ; number++)); do
        [[ -f $folder/$number.head ]] || break
        read -r scope _ path <"$folder/$number.head"
        [[ $scope == namespace ]] && scope=ns
        append "$folder/naive.tar" "$folder/$number.rego" "/authbridge/$scope/$path"
    done
    gzip --keep "$folder/naive.tar"
}

# manifests FOLDER: what the modules of FOLDER are as resources, and the administrator's, in FOLDER/policies.
manifests() {
    local folder=$1 module scope resource path number
    mkdir -- "$folder/policies"
    manifest secplane-system administrator global >"$folder/policies/administrator.yaml"
    for module in "$ATTACKS"/administrator/*.rego; do
        part "${module##*/}" "$module" >>"$folder/policies/administrator.yaml"
    done
    for ((number = 1; ; number++)); do
        [[ -f $folder/$number.head ]] || break
        read -r scope resource path <"$folder/$number.head"
        [[ -f $folder/policies/$resource.yaml ]] ||
            manifest team-a "$resource" "$scope" >"$folder/policies/$resource.yaml"
        part "$path" "$folder/$number.rego" >>"$folder/policies/$resource.yaml"
    done
}

manifest() {
    cat <<YAML
apiVersion: agent.kagenti.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: $2, namespace: $1}
spec:
  scope: $3
  policies:
YAML
}

part() {
    echo "  - path: $1"
    echo "    content: |"
    sed 's/^/      /' "$2"
}

# asked BUNDLE QUERY INPUT: its value; empty when it is undefined.
asked() { opa eval --bundle "$1" --stdin-input --format raw "$2" <<<"$3"; }

# accepted BUNDLE: OPA activates it.
accepted() { opa eval --bundle "$1" --format raw true; }

# works ATTACK FOLDER: on the naive service.
works() {
    local bundle=$2/naive.tar.gz decision=$3 input=$4 query value
    query=$(fact "$1" query "$decision")
    case $(fact "$1" naive '') in
        allows | reaches)
            value=$(asked "$bundle" "$query" "$input")
            [[ $value == true ]] || fail "$1 should make $query true, which is: $value"
            ;;
        vanishes)
            value=$(asked "$bundle" "$decision" "$input")
            [[ -z $value || $value == undefined ]] || fail "$1 should make $decision undefined, which is: $value"
            ;;
        breaks) refused "the naive bundle of $1" . accepted "$bundle" ;;
        errors)
            expect "OPA activates the naive bundle of $1" accepted "$bundle"
            refused "asking the naive bundle of $1" . asked "$bundle" "$query" "$input"
            ;;
        logs)
            # What is left of the output is what goes to the log.
            value=$(asked "$bundle" "$query" "$input" 2>&1 >/dev/null)
            query=$(fact "$1" log 'no log is named')
            [[ $value == *"$query"* ]] || fail "$1 should write $query to the log, which holds: $value"
            ;;
        accepted) expect "OPA activates the naive bundle of $1" accepted "$bundle" ;;
        *) fail "$1 does not say what it does to the naive service" ;;
    esac
}

# fails ATTACK FOLDER DECISION INPUT: here.
fails() {
    local code checked codes value
    code=$(fact "$1" code '')
    checked=$(secctl --output json policy check "$2/policies" 2>/dev/null || true)
    codes=$(opa eval --stdin-input --format raw 'concat(" ", [r.code | some r in input.refusals])' <<<"$checked")
    case $code in
        none) [[ -z $codes ]] || fail "$1 should not be refused, and is: $codes" ;;
        *) [[ " $codes " == *" $code "* ]] || fail "$1 should be refused as $code, and is: $codes" ;;
    esac
    secctl bundle build --policies "$2/policies" --spiffe-id "$VICTIM" --out "$2/ours.tar.gz" >/dev/null
    expect "every OPA activates the bundle that is served with $1" activates "$2/ours.tar.gz"
    value=$(asked "$2/ours.tar.gz" "$3" "$4")
    [[ $value == false ]] || fail "$1 should leave $3 denied, which is: $value"
}

# Without an attack the naive service decides as the administrator means it to.
mkdir -- "$WORK/none"
naive "$WORK/none"
for user in ann:true eve:false; do
    value=$(asked "$WORK/none/naive.tar.gz" data.authbridge.inbound.request.allow "{\"user\": \"${user%:*}\"}")
    [[ $value == "${user#*:}" ]] || fail "without an attack ${user%:*} should get ${user#*:}, and gets: $value"
done

number=0
for attack in "$ATTACKS"/*.attack; do
    name=$(basename "$attack" .attack)
    folder=$WORK/$name
    mkdir -- "$folder"
    take_apart "$attack" "$folder"
    naive "$folder"
    manifests "$folder"
    point=$(fact "$attack" point inbound/request)
    decision=data.authbridge.${point//\//.}.allow
    input=$(fact "$attack" input '{"user": "eve"}')
    works "$attack" "$folder" "$decision" "$input"
    fails "$attack" "$folder" "$decision" "$input"
    number=$((number + 1))
done
((number >= 40)) || fail "there are only $number attacks"
echo "$number attacks work on the naive service and fail here"
