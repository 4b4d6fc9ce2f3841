-- Proof that this authority wrote the row, in what a renewal goes by; NULL in rows from before, which nothing renews.
ALTER TABLE certificates ADD COLUMN mac BYTEA;
