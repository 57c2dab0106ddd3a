-- Where a login came from, as far as was known when it was stored; whom an incident is about can be said by it.

ALTER TABLE login
    ADD COLUMN country text,       -- two letters; empty: unknown; null: stored by a release before this one
    ADD COLUMN asn bigint,         -- of the provider; 0: unknown
    ADD COLUMN provider text;      -- its name, to be shown
ALTER TABLE incident
    ADD COLUMN asn bigint,         -- who signed in from this provider; null: from any
    ADD COLUMN country text;       -- who signed in from there; null: from anywhere
