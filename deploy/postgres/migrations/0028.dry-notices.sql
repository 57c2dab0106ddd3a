-- Notices of a policy that only tries things out are recorded and stay unsent.

-- Rows that are there have one of the old states: no need to read them while the table is locked.
ALTER TABLE notice DROP CONSTRAINT notice_state_check;
ALTER TABLE notice ADD CONSTRAINT notice_state_check
    CHECK (state IN ('recorded', 'sending', 'sent', 'failed', 'superseded', 'dry_run')) NOT VALID;
