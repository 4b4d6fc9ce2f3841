# shellcheck shell=bash
# A Git repository and a folder as sources of one service: the one that is named first counts, a sidecar follows the ref,
# a broken commit takes nothing away, not even over a restart, and each module of a bundle can be traced to its commit.
# seconds: 600

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"
# shellcheck source=../opa.sh
source "${BASH_SOURCE[0]%/*}/../opa.sh"
# shellcheck source=../sources.sh
source "${BASH_SOURCE[0]%/*}/../sources.sh"

# How long a change in a source may take to a sidecar. This machine may be busy.
FOLLOWED_SECONDS=90
AGENT=spiffe://$TRUST_DOMAIN/ns/team-a/sa/agent

logged() { grep -qF -- "$1" "$WORK/bundle-service.log"; }
pull() {
    secctl --output json bundle pull --bundle-service "$BUNDLE_SERVICE" --svid-dir "$WORK/agent" --out "$WORK/pulled.tar.gz"
}
# serves PATH VALUE: what the bundle decides that the service has now.
serves() {
    pull && [[ $(opa eval --bundle "$WORK/pulled.tar.gz" --stdin-input --format raw \
        data.authbridge.inbound.request.allow <<<"{\"path\": \"$1\"}") == "$2" ]]
}
has_revision() { [[ $(revision_of opa authz) == "$1" ]]; }

make_sources
for_path /first >"$REPOSITORY_OF_POLICIES/agent.yaml"
policy team-a all namespace true >"$REPOSITORY_OF_POLICIES/all.yaml"
first=$(commit first)
for_path /folder >"$FOLDER_OF_POLICIES/agent.yaml"

start_ca
configure_bundle_service "{directory: $FOLDER_OF_POLICIES, git: $(as_source), precedence: [git, directory]}" \
    "data_dir: $WORK/bundles" "admin_socket: $SECCTL_BUNDLE_ADMIN_SOCKET"
register_service
serve_bundles
secctl svid issue --spiffe-id "$AGENT" --out "$WORK/agent"
start_opa opa "$WORK/agent" authz=bundles/self.tar.gz

# ---- The first source counts ----

await "$START_SECONDS" "the repository's policy decides" decides_path opa /first true
expect "the folder's does not" decides_path opa /folder false
expect "the log names both" logged "team-a/agent is also there in git:agent.yaml, which takes precedence"
expect "the log says which is passed over" logged "directory:agent.yaml: team-a/agent: "
expect "every OPA activates the bundle of the first commit" served_is_activated "$WORK/agent"

# ---- The ref moves ----

for_path /second >"$REPOSITORY_OF_POLICIES/agent.yaml"
second=$(commit second)
await "$FOLLOWED_SECONDS" "the second commit decides" decides_path opa /second true
expect "the first no longer does" decides_path opa /first false

# From a module of the bundle to the resource, and from there to the commit.
pulled=$(pull)
module=$(secctl --output json bundle inspect "$WORK/pulled.tar.gz" | opa eval --stdin-input --format raw \
    'concat("\n", [sprintf("%s %s %s", [m.resource, m.origin, m.package]) | some m in input.modules; m.tier == "client"])')
expect "the bundle says of what resource its client tier is: $module" test "$module" = \
    "team-a/agent inbound/request.rego authbridge.client.inbound.request"
expect "the history says in which commit it was read" is_read_at team-a/agent \
    "git:agent.yaml $REPOSITORY_OF_POLICIES@$second"
expect "what the commit left alone is of the one before" is_read_at team-a/all \
    "git:all.yaml $REPOSITORY_OF_POLICIES@$first"
expect "every OPA activates it" activates "$WORK/pulled.tar.gz"
revision=$(opa eval --stdin-input --format raw input.revision <<<"$pulled")
await "$START_SECONDS" "OPA has that very bundle" has_revision "$revision"
expect "and the history ends with it" test "$revision" = "$(secctl --output json bundle history --identity "$AGENT" |
    opa eval --stdin-input --format raw 'input.entries[count(input.entries) - 1].revision')"

# ---- A commit that does not compile ----

policy team-a agent client 'no_such(1)' >"$REPOSITORY_OF_POLICIES/agent.yaml"
commit broken
await "$FOLLOWED_SECONDS" "the fault is in the log" logged no_such
expect "the last good version decides" decides_path opa /second true
expect "the folder's does not take its place" decides_path opa /folder false
expect "nothing new is published" test "$revision" = "$(revision_of opa authz)"
expect "what is in force is of the commit before" is_read_at team-a/agent \
    "git:agent.yaml $REPOSITORY_OF_POLICIES@$second"
expect "every OPA activates the bundle of the last good version" served_is_activated "$WORK/agent"

# ---- A repository that cannot be read ----

mv -- "$REPOSITORY_OF_POLICIES" "$WORK/moved"
await "$FOLLOWED_SECONDS" "the service says so" health_says bundle-service "source.git cannot be read since"
expect "it is ready all the same" health bundle-service
expect "what was read stays in force" decides_path opa /second true
mv -- "$WORK/moved" "$REPOSITORY_OF_POLICIES"
healthy() { [[ $(health bundle-service) == ok ]]; }
await "$FOLLOWED_SECONDS" "all is well again" healthy

# ---- The policy goes from the repository, and comes back ----

in_repository rm --quiet agent.yaml
commit gone
await "$FOLLOWED_SECONDS" "the folder's takes its place" decides_path opa /folder true
expect "every OPA activates the folder's" served_is_activated "$WORK/agent"
expect "the history says where it was read" is_read_at team-a/agent "directory:agent.yaml -"
for_path /back >"$REPOSITORY_OF_POLICIES/agent.yaml"
back=$(commit back)
await "$FOLLOWED_SECONDS" "the repository's counts again" decides_path opa /back true
expect "the folder's does not" decides_path opa /folder false

# ---- A file that is no YAML, and a restart ----

echo 'a: [1' >"$REPOSITORY_OF_POLICIES/agent.yaml"
commit torn
await "$FOLLOWED_SECONDS" "the fault is in the log" logged '(yaml)'
expect "the last good version decides" decides_path opa /back true
stop bundle-service
serve_bundles
await "$FOLLOWED_SECONDS" "the last good version is served after a restart" serves /back true
expect "every OPA activates it" activates "$WORK/pulled.tar.gz"
expect "the folder's policy does not take the place of one that cannot be read" serves /folder false
expect "the history knows its commit still" is_read_at team-a/agent "git:agent.yaml $REPOSITORY_OF_POLICIES@$back"
for_path /mended >"$REPOSITORY_OF_POLICIES/agent.yaml"
commit mended
await "$FOLLOWED_SECONDS" "what is mended is served" serves /mended true
expect "every OPA activates what is mended" served_is_activated "$WORK/agent"
