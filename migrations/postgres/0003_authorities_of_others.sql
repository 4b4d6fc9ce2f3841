-- CAs of meshes and of downstream authorities, whose keys others have, stand beside our own: what depends on a root is
-- known before the root goes. Of those, any number is in use at once.
ALTER TABLE authorities DROP CONSTRAINT authorities_kind_check;
ALTER TABLE authorities
    ADD CONSTRAINT authorities_kind_check CHECK (kind IN ('root', 'issuing', 'jwt', 'mesh', 'downstream'));
DROP INDEX authorities_in_turn;
CREATE UNIQUE INDEX authorities_in_turn ON authorities (kind, state, replica)
    WHERE state IN ('prepared', 'active') AND kind IN ('root', 'issuing', 'jwt');
