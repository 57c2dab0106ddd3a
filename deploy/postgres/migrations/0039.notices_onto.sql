-- Of an incident it is kept in which queue its notices wait.

ALTER TABLE incident ADD COLUMN notices_onto text;  -- null: where all notices do
