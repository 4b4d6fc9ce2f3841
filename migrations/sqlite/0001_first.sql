-- The trust domain that this database belongs to, and the version of its trust bundle.
CREATE TABLE trust_domain (
    only_one        INTEGER PRIMARY KEY CHECK (only_one = 1),
    name            TEXT    NOT NULL,
    bundle_sequence INTEGER NOT NULL
) STRICT;

-- CA certificates. Their private keys are kept elsewhere, under the same key_id.
CREATE TABLE authorities (
    key_id      TEXT    PRIMARY KEY, -- lower-case hex of the subject key identifier
    kind        TEXT    NOT NULL CHECK (kind IN ('root', 'issuing')),
    state       TEXT    NOT NULL CHECK (state IN ('active', 'old')),
    certificate BLOB    NOT NULL,    -- DER
    not_after   INTEGER NOT NULL,    -- Unix seconds, as all times here
    created_at  INTEGER NOT NULL
) STRICT;

-- Registration entries. `body` is the whole entry; `mac` proves that this authority wrote the row.
CREATE TABLE entries (
    id         TEXT    PRIMARY KEY,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    mac        BLOB    NOT NULL
) STRICT;

-- Every certificate ever issued. `position` gives the order of issuing.
CREATE TABLE certificates (
    position          INTEGER PRIMARY KEY AUTOINCREMENT,
    serial            TEXT    NOT NULL UNIQUE, -- lower-case hex without leading zeros
    kind              TEXT    NOT NULL CHECK (kind IN ('x509-svid', 'server', 'client')),
    spiffe_id         TEXT,
    common_name       TEXT,
    dns_names         TEXT    NOT NULL,        -- separated by spaces
    ip_addresses      TEXT    NOT NULL,        -- separated by spaces
    not_before        INTEGER NOT NULL,
    not_after         INTEGER NOT NULL,
    issued_at         INTEGER NOT NULL,
    requester         TEXT    NOT NULL,
    entry_id          TEXT,
    renews            TEXT,                    -- serial of the certificate that this one renews
    lineage           TEXT    NOT NULL,        -- serial of the first certificate of its renewals
    issuer_key_id     TEXT    NOT NULL,
    certificate       BLOB    NOT NULL,        -- DER of the leaf
    revoked_at        INTEGER,
    revocation_reason TEXT
) STRICT;

CREATE INDEX certificates_by_spiffe_id ON certificates (spiffe_id, position) WHERE spiffe_id IS NOT NULL;
CREATE INDEX certificates_by_lineage ON certificates (lineage) WHERE renews IS NOT NULL;
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;
