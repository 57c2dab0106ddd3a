-- Logins that have no score because the outlier API was away are asked about again.

ALTER TABLE verdict
    ADD COLUMN late boolean,             -- it came after the login had been kept without one; null: it did not
    ADD COLUMN asked_again_at timestamptz;  -- of an unscored one: when last
