-- Mails about verdicts have their number within an hour too; what is more is told of with the others.
ALTER TABLE folded_notice ADD COLUMN reason text NOT NULL DEFAULT 'new_device';  -- why it was to be told of
