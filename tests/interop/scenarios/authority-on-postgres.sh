# shellcheck shell=bash
# seconds: 2400
# Every end-to-end test of the authority once more on PostgreSQL, and what several replicas on one database do.

# shellcheck source=../stack.sh
source "${BASH_SOURCE[0]%/*}/../stack.sh"

compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null ||
    command -v postgres >/dev/null || fail "Install PostgreSQL 15 or newer, for example with: apt-get install postgresql"
cd -- "$REPOSITORY" || fail "the repository is gone"
# The whole workspace: so cargo chooses the same features as for the other tests, and builds nothing twice.
cargo test --workspace --locked --quiet --test ca_on_postgres
