# shellcheck shell=bash
# Policies from several sources: a Git repository and a folder, each with a policy of the same name, and where a version
# in force was read. Sourced by the scenarios that need it, after stack.sh.

REPOSITORY_OF_POLICIES=$WORK/repository
FOLDER_OF_POLICIES=$WORK/folder
export SECCTL_BUNDLE_ADMIN_SOCKET=$WORK/bundles.sock

# make_sources: a repository without a commit, and an empty folder.
make_sources() {
    mkdir -- "$REPOSITORY_OF_POLICIES" "$FOLDER_OF_POLICIES"
    in_repository init --quiet
    in_repository symbolic-ref HEAD refs/heads/main
}

# as_source: the repository as the service's configuration has it. The ref is asked for every second.
as_source() { echo "{url: $REPOSITORY_OF_POLICIES, scratch: $WORK/fetched, every: 1s}"; }

in_repository() {
    GIT_CONFIG_GLOBAL=/dev/null git -C "$REPOSITORY_OF_POLICIES" -c user.name=author \
        -c user.email=author@example.org -c commit.gpgSign=false "$@"
}

# commit MESSAGE: whatever changed in the repository; says the commit's hash.
commit() {
    in_repository add --all
    in_repository commit --quiet --message "$1"
    in_repository rev-parse HEAD
}

# for_path PATH: the manifest of the policy team-a/agent, which allows requests for that path alone.
for_path() { policy team-a agent client "input.path == \"$1\""; }

# decides_path OPA PATH VALUE: what it says to a request for the path.
decides_path() { decides "$1" inbound/request/allow <(echo "{\"path\": \"$2\"}") "$3"; }

# read_at RESOURCE: where its version in force was read, by the history: the file of a source, and the commit
# as `URL@HASH`, or `-`.
read_at() {
    secctl --output json bundle history --resource "$1" | opa eval --stdin-input --format raw \
        'concat("\n", [sprintf("%s %s", [m.origin, object.get(m, "commit", "-")]) |
            some m in input.entries[count(input.entries) - 1].members])'
}

# is_read_at RESOURCE PLACE
is_read_at() { [[ $(read_at "$1") == "$2" ]]; }
