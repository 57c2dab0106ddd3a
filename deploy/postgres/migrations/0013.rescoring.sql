-- Logins that have no score because the outlier API was away are asked about again.

ALTER TABLE verdict
    ADD COLUMN late boolean,           -- it came after the login had been kept without one; null: it did not
    ADD COLUMN asks integer NOT NULL DEFAULT 0,  -- of an unscored one: how often it was asked about again
    ADD COLUMN ask_at timestamptz;     -- and from when on it may be asked about; null: no more
