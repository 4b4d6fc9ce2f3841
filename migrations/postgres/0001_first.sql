-- The schema of SQLite, in the words of PostgreSQL. Integers are 64 bits wide, times Unix seconds.

-- The trust domain that this database belongs to, and the version of its trust bundle.
CREATE TABLE trust_domain (
    only_one        BIGINT  PRIMARY KEY CHECK (only_one = 1),
    name            TEXT    NOT NULL,
    bundle_sequence BIGINT  NOT NULL
);

-- Registration entries. `body` is the whole entry; `mac` proves that this authority wrote the row.
CREATE TABLE entries (
    id         TEXT    PRIMARY KEY,
    revision   BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,
    body       BYTEA   NOT NULL,
    mac        BYTEA   NOT NULL,
    likeness   BYTEA   NOT NULL UNIQUE -- SHA-256 of what makes two entries similar
);

-- Every certificate ever issued. `position` gives the order of issuing.
CREATE TABLE certificates (
    position          BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    serial            TEXT    NOT NULL UNIQUE, -- lower-case hex without leading zeros
    kind              TEXT    NOT NULL CHECK (kind IN ('x509-svid', 'server', 'client')),
    spiffe_id         TEXT,
    common_name       TEXT,
    dns_names         TEXT    NOT NULL,        -- separated by spaces
    ip_addresses      TEXT    NOT NULL,        -- separated by spaces
    not_before        BIGINT  NOT NULL,
    not_after         BIGINT  NOT NULL,
    issued_at         BIGINT  NOT NULL,
    requester         TEXT    NOT NULL,
    entry_id          TEXT,
    renews            TEXT,                    -- serial of the certificate that this one renews
    lineage           TEXT    NOT NULL,        -- serial of the first certificate of its renewals
    issuer_key_id     TEXT    NOT NULL,
    certificate       BYTEA   NOT NULL,        -- DER of the leaf
    key_sha256        BYTEA   NOT NULL,        -- of the SubjectPublicKeyInfo
    revoked_at        BIGINT,
    revocation_reason TEXT
);

CREATE INDEX certificates_by_spiffe_id ON certificates (spiffe_id, position) WHERE spiffe_id IS NOT NULL;
CREATE INDEX certificates_by_lineage ON certificates (lineage) WHERE renews IS NOT NULL;
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;

-- Roots, issuing CAs and JWT keys with their whole life, and a proof of who wrote each row.
CREATE TABLE authorities (
    key_id        TEXT    PRIMARY KEY, -- hex of the subject key identifier, or the key ID of a JWT key
    kind          TEXT    NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt')),
    state         TEXT    NOT NULL CHECK (state IN ('prepared', 'active', 'old', 'revoked')),
    tainted       BIGINT  NOT NULL DEFAULT 0,
    public        BYTEA   NOT NULL,    -- DER: the certificate, or the public key of a JWT key
    chain         BYTEA   NOT NULL,    -- DER, one after another: what is between it and the root
    issuer_key_id TEXT    NOT NULL,    -- of an issuing CA: the root above it; of others: itself
    replica       TEXT    NOT NULL,    -- of an issuing CA: whose it is; of others: empty
    key_storage   TEXT    NOT NULL,    -- where its private key is
    not_before    BIGINT  NOT NULL,
    not_after     BIGINT  NOT NULL,
    created_at    BIGINT  NOT NULL,
    since         BIGINT  NOT NULL,    -- when it came into its state
    mac           BYTEA
);
CREATE UNIQUE INDEX authorities_in_turn ON authorities (kind, state, replica) WHERE state IN ('prepared', 'active');

-- Sealed under the wrapping key.
CREATE TABLE secrets (
    name   TEXT PRIMARY KEY,
    sealed BYTEA NOT NULL
);


CREATE TABLE revoked_keys (
    key_sha256 BYTEA   PRIMARY KEY,
    revoked_at BIGINT  NOT NULL,
    reason     TEXT    NOT NULL,
    mac        BYTEA   NOT NULL
);

CREATE TABLE revocation_lists (
    issuer_key_id TEXT    PRIMARY KEY,
    number        BIGINT  NOT NULL,
    crl           BYTEA   NOT NULL,
    this_update   BIGINT  NOT NULL,
    next_update   BIGINT  NOT NULL
);

CREATE TABLE join_tokens (
    token_sha256 BYTEA   PRIMARY KEY,
    expires_at   BIGINT  NOT NULL,
    body         BYTEA   NOT NULL,
    mac          BYTEA   NOT NULL
);

CREATE TABLE agents (
    spiffe_id TEXT PRIMARY KEY,
    body      BYTEA NOT NULL,
    mac       BYTEA NOT NULL
);

CREATE TABLE federation_relationships (
    trust_domain TEXT PRIMARY KEY,
    body         BYTEA NOT NULL,
    mac          BYTEA NOT NULL
);

CREATE TABLE federated_bundles (
    trust_domain TEXT PRIMARY KEY,
    body         BYTEA NOT NULL,
    mac          BYTEA NOT NULL
);

-- One audit log a replica: a Merkle tree of entries that grows with each commit.
CREATE TABLE audit_logs (
    log_id     TEXT    PRIMARY KEY,
    public_key BYTEA   NOT NULL, -- Ed25519
    size       BIGINT  NOT NULL,
    frontier   BYTEA   NOT NULL, -- what the next entry is added to
    checkpoint TEXT    NOT NULL  -- the latest signed one
);

CREATE TABLE audit_entries (
    log_id   TEXT    NOT NULL,
    position BIGINT  NOT NULL,
    leaf     BYTEA   NOT NULL,
    PRIMARY KEY (log_id, position)
);

-- Hashes of complete subtrees, so that proofs need not read every entry.
CREATE TABLE audit_nodes (
    log_id   TEXT    NOT NULL,
    level    BIGINT  NOT NULL,
    position BIGINT  NOT NULL,
    hash     BYTEA   NOT NULL,
    PRIMARY KEY (log_id, level, position)
);

CREATE TABLE replicas (
    id      TEXT    PRIMARY KEY,
    seen_at BIGINT  NOT NULL
);

-- Who does the work that is done once, and until when.
CREATE TABLE leases (
    name   TEXT    PRIMARY KEY,
    holder TEXT    NOT NULL,
    until  BIGINT  NOT NULL
);
