-- What somebody asked for and is still valid: a ban reads no more than that.
CREATE INDEX certificates_by_requester ON certificates (requester, not_after);
-- And the renewals that are still valid, of which there are few: each may go back to something that they asked for.
CREATE INDEX certificates_renewals_by_end ON certificates (not_after) WHERE renews IS NOT NULL;
