-- Logins from before Doorbell watched: learned from, and nothing else.

ALTER TABLE reported_login ADD COLUMN history boolean NOT NULL DEFAULT false;
