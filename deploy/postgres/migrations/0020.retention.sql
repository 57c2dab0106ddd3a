-- How far what is kept for a time only has been looked through.

CREATE TABLE retention (
    what text PRIMARY KEY CHECK (what IN ('addresses')),
    done_until timestamptz NOT NULL
);
INSERT INTO retention (what, done_until) VALUES ('addresses', '1970-01-01');
