-- When the relay handed the event to the broker, by its publisher's clock. It travels beside the signed
-- bytes, unsigned, so the hash chain does not cover it: good for figures, never as proof.
alter table entries add column published_at timestamptz;
