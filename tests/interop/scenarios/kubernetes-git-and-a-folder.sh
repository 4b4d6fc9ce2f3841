# shellcheck shell=bash
# A folder, a Git repository and an API server as sources of one service, each with a policy of the same name: the first of
# them that has it counts, each takes the place of the one that goes, and the author in the cluster is told.
# seconds: 600

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../opa.sh
source "${BASH_SOURCE[0]%/*}/../opa.sh"
# shellcheck source=../sources.sh
source "${BASH_SOURCE[0]%/*}/../sources.sh"
# shellcheck source=../kubernetes.sh
source "${BASH_SOURCE[0]%/*}/../kubernetes.sh"

AGENT=spiffe://$TRUST_DOMAIN/ns/team-a/sa/agent
# How long a change in a source may take to a sidecar. This machine may be busy.
FOLLOWED_SECONDS=90

# decides_alone PLACE: of the three policies that one.
decides_alone() {
    local place value
    for place in folder git cluster; do
        value=false
        if [[ $place == "$1" ]]; then value=true; fi
        decides_path opa "/$place" "$value" || return 1
    done
}
# is_passed_over_for PLACE: whether the policy in the cluster says that the one there counts.
is_passed_over_for() {
    [[ $(condition team-a agent Accepted reason) == Duplicate ]] || return 1
    [[ $(condition team-a agent Published message) == *"is also there in $1, which takes precedence"* ]]
}

start_all_of_kubernetes
make_sources
for_path /cluster | kubectl apply -f -
for_path /git >"$REPOSITORY_OF_POLICIES/agent.yaml"
git_commit=$(commit first)
for_path /folder >"$FOLDER_OF_POLICIES/agent.yaml"
# What one source alone has stands beside what the others have.
policy team-a all namespace true | kubectl apply -f -

configure_bundle_service "{kubernetes: {kubeconfig: $WORK/service.kubeconfig}, git: $(as_source), directory: $FOLDER_OF_POLICIES}" \
    "data_dir: $WORK/bundles" "admin_socket: $SECCTL_BUNDLE_ADMIN_SOCKET"
serve_bundles
await "$ARRIVE_SECONDS" "every source was read" health bundle-service
secctl svid issue --spiffe-id "$AGENT" --out "$WORK/agent"
start_opa opa "$WORK/agent" authz=bundles/self.tar.gz

await "$START_SECONDS" "the folder's policy decides" decides_alone folder
expect "every OPA activates the folder's" served_is_activated "$WORK/agent"
await "$ARRIVE_SECONDS" "the author in the cluster is told" is_passed_over_for directory:agent.yaml
expect "the history says where it was read" is_read_at team-a/agent "directory:agent.yaml -"
await "$ARRIVE_SECONDS" "what the cluster alone has is published" settled team-a all Published True

rm -- "$FOLDER_OF_POLICIES/agent.yaml"
await "$FOLLOWED_SECONDS" "the repository's takes its place" decides_alone git
expect "every OPA activates the repository's" served_is_activated "$WORK/agent"
await "$ARRIVE_SECONDS" "the author in the cluster is told" is_passed_over_for git:agent.yaml
expect "the history names the commit" is_read_at team-a/agent "git:agent.yaml $REPOSITORY_OF_POLICIES@$git_commit"

in_repository rm --quiet agent.yaml
commit gone
await "$FOLLOWED_SECONDS" "the cluster's takes its place" decides_alone cluster
expect "every OPA activates the cluster's" served_is_activated "$WORK/agent"
await "$ARRIVE_SECONDS" "the author is told that it counts" settled team-a agent Published True
expect "the history names the definition" is_read_at team-a/agent \
    "kubernetes:authorizationpolicies.agent.kagenti.dev -"

# One source that cannot be read holds up none of the others.
crash api-server
await "$ARRIVE_SECONDS" "the service says so" health_says bundle-service "cannot be followed since"
for_path /git >"$REPOSITORY_OF_POLICIES/agent.yaml"
commit back
await "$FOLLOWED_SECONDS" "the repository's counts again" decides_alone git
for_path /folder >"$FOLDER_OF_POLICIES/agent.yaml"
await "$FOLLOWED_SECONDS" "and the folder's before it" decides_alone folder
expect "every OPA activates the bundle without the cluster" served_is_activated "$WORK/agent"
start_api_server
await "$API_SECONDS" "the author in the cluster is told once it is back" is_passed_over_for directory:agent.yaml
expect "what the cluster alone has stayed published" settled team-a all Published True
