-- Roots, issuing CAs and JWT keys with their whole life, and a proof of who wrote each row.
ALTER TABLE authorities RENAME TO first_authorities;
CREATE TABLE authorities (
    key_id        TEXT    PRIMARY KEY, -- hex of the subject key identifier, or the key ID of a JWT key
    kind          TEXT    NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt')),
    state         TEXT    NOT NULL CHECK (state IN ('prepared', 'active', 'old', 'revoked')),
    tainted       INTEGER NOT NULL DEFAULT 0,
    public        BLOB    NOT NULL,    -- DER: the certificate, or the public key of a JWT key
    chain         BLOB    NOT NULL,    -- DER, one after another: what is between it and the root
    issuer_key_id TEXT    NOT NULL,    -- of an issuing CA: the root above it; of others: itself
    replica       TEXT    NOT NULL,    -- of an issuing CA: whose it is; of others: empty
    key_storage   TEXT    NOT NULL,    -- where its private key is
    not_before    INTEGER NOT NULL,
    not_after     INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    since         INTEGER NOT NULL,    -- when it came into its state
    mac           BLOB                 -- NULL only in rows of the first schema, until the next start proves them
) STRICT;
INSERT INTO authorities (key_id, kind, state, public, chain, issuer_key_id, replica, key_storage, not_before, not_after, created_at, since)
    SELECT key_id, kind, state, certificate, x'', '', '', 'file', created_at, not_after, created_at, created_at FROM first_authorities;
DROP TABLE first_authorities;
CREATE UNIQUE INDEX authorities_in_turn ON authorities (kind, state, replica) WHERE state IN ('prepared', 'active');

-- Sealed under the wrapping key.
CREATE TABLE secrets (
    name   TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

-- SHA-256 of what makes two entries similar; NULL only in rows of the first schema, until the next start fills it.
ALTER TABLE entries ADD COLUMN likeness BLOB;
CREATE UNIQUE INDEX entries_by_likeness ON entries (likeness);

-- SHA-256 of the SubjectPublicKeyInfo; NULL in rows of the first schema.
ALTER TABLE certificates ADD COLUMN key_sha256 BLOB;

CREATE TABLE revoked_keys (
    key_sha256 BLOB    PRIMARY KEY,
    revoked_at INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    mac        BLOB    NOT NULL
) STRICT;

CREATE TABLE revocation_lists (
    issuer_key_id TEXT    PRIMARY KEY,
    number        INTEGER NOT NULL,
    crl           BLOB    NOT NULL,
    this_update   INTEGER NOT NULL,
    next_update   INTEGER NOT NULL
) STRICT;

CREATE TABLE join_tokens (
    token_sha256 BLOB    PRIMARY KEY,
    expires_at   INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    mac          BLOB    NOT NULL
) STRICT;

CREATE TABLE agents (
    spiffe_id TEXT PRIMARY KEY,
    body      BLOB NOT NULL,
    mac       BLOB NOT NULL
) STRICT;

CREATE TABLE federation_relationships (
    trust_domain TEXT PRIMARY KEY,
    body         BLOB NOT NULL,
    mac          BLOB NOT NULL
) STRICT;

CREATE TABLE federated_bundles (
    trust_domain TEXT PRIMARY KEY,
    body         BLOB NOT NULL,
    mac          BLOB NOT NULL
) STRICT;

-- One audit log a replica: a Merkle tree of entries that grows with each commit.
CREATE TABLE audit_logs (
    log_id     TEXT    PRIMARY KEY,
    public_key BLOB    NOT NULL, -- Ed25519
    size       INTEGER NOT NULL,
    frontier   BLOB    NOT NULL, -- what the next entry is added to
    checkpoint TEXT    NOT NULL  -- the latest signed one
) STRICT;

CREATE TABLE audit_entries (
    log_id   TEXT    NOT NULL,
    position INTEGER NOT NULL,
    leaf     BLOB    NOT NULL,
    PRIMARY KEY (log_id, position)
) STRICT, WITHOUT ROWID;

-- Hashes of complete subtrees, so that proofs need not read every entry.
CREATE TABLE audit_nodes (
    log_id   TEXT    NOT NULL,
    level    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    PRIMARY KEY (log_id, level, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE replicas (
    id      TEXT    PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT;

-- Who does the work that is done once, and until when.
CREATE TABLE leases (
    name   TEXT    PRIMARY KEY,
    holder TEXT    NOT NULL,
    until  INTEGER NOT NULL
) STRICT;
