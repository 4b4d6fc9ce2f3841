-- What is still valid, and for which key: revoking a key reads no more than this. It grows at its end.
CREATE INDEX certificates_by_end ON certificates (not_after, key_sha256);
