-- A second address of a user, for when the first is not reached, and for what does not look like the user.

ALTER TABLE reported_login ADD COLUMN other_email text;

-- Rows that are there have one of the old channels: no need to read them while the table is locked.
ALTER TABLE notice DROP CONSTRAINT notice_channel_check;
ALTER TABLE notice ADD CONSTRAINT notice_channel_check
    CHECK (channel IN ('email', 'other_email', 'webhook')) NOT VALID;
