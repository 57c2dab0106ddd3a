-- Whose reservation lease_until is: the backend of the session that made it. It lives as long as that process does.

ALTER TABLE step ADD COLUMN lease_pid integer;
