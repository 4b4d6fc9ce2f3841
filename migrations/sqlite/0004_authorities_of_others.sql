-- CAs of meshes and of downstream authorities, whose keys others have, stand beside our own: what depends on a root is
-- known before the root goes. Of those, any number is in use at once.
ALTER TABLE authorities RENAME TO earlier_authorities;
CREATE TABLE authorities (
    key_id        TEXT    PRIMARY KEY, -- hex of the subject key identifier, the key ID of a JWT key, or a serial number
    kind          TEXT    NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt', 'mesh', 'downstream')),
    state         TEXT    NOT NULL CHECK (state IN ('prepared', 'active', 'old', 'revoked')),
    tainted       INTEGER NOT NULL DEFAULT 0,
    public        BLOB    NOT NULL,    -- DER: the certificate, or the public key of a JWT key
    chain         BLOB    NOT NULL,    -- DER, one after another: what is between it and the root
    issuer_key_id TEXT    NOT NULL,    -- of roots and JWT keys: itself; of others: what signed it
    replica       TEXT    NOT NULL,    -- of an issuing CA: whose it is; of others: empty
    key_storage   TEXT    NOT NULL,    -- where its private key is
    not_before    INTEGER NOT NULL,
    not_after     INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    since         INTEGER NOT NULL,    -- when it came into its state
    mac           BLOB                 -- NULL only in rows of the first schema, until the next start proves them
) STRICT;
INSERT INTO authorities
    SELECT key_id, kind, state, tainted, public, chain, issuer_key_id, replica, key_storage, not_before, not_after,
        created_at, since, mac
    FROM earlier_authorities;
DROP TABLE earlier_authorities;
CREATE UNIQUE INDEX authorities_in_turn ON authorities (kind, state, replica)
    WHERE state IN ('prepared', 'active') AND kind IN ('root', 'issuing', 'jwt');
