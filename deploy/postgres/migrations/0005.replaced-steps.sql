-- A step whose task was replaced (Task.replace) is told from the message that asked for it first.

ALTER TABLE step ADD COLUMN replacements integer NOT NULL DEFAULT 0;
