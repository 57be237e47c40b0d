//! How long a service keeps what it needs for a while only.

use std::time::Duration;

use super::{FromSetting, Reader, Setting, ToSetting};

const OUTBOX_RETENTION: Setting =
    Setting::new("OUTBOX_RETENTION", "how long published events are kept in the outbox");
const INBOX_RETENTION: Setting = Setting::new(
    "INBOX_RETENTION",
    "how long it is known which messages were handled; older ones are parked as stale",
);
const REPLAY_WINDOW: Setting =
    Setting::new("DEAD_LETTER_REPLAY_WINDOW", "how long parked messages may be replayed");
const DEAD_LETTER_RETENTION: Setting = Setting::new(
    "DEAD_LETTER_RETENTION",
    "how long replayed and discarded messages are kept; parked ones stay",
);
const ANSWER_RETENTION: Setting = Setting::new(
    "ANSWER_RETENTION",
    "how long an Idempotency-Key gets the answer that it got first",
);

const DAY: Duration = Duration::from_secs(24 * 3_600);
const LONGEST: Duration = DAY.saturating_mul(3_650);

/// How long rows are kept that nobody needs for ever.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// Published events (`OUTBOX_RETENTION`, default 30 days).
    pub outbox: Duration,
    /// Notes of handled messages (`INBOX_RETENTION`, default 30 days): longer than `replay_window` by
    /// [`LATEST_RETRY`](Self::LATEST_RETRY) at least.
    pub inbox: Duration,
    /// Time in which parked messages may be replayed (`DEAD_LETTER_REPLAY_WINDOW`, default 14 days).
    pub replay_window: Duration,
    /// Parked messages that were replayed or discarded (`DEAD_LETTER_RETENTION`, default 30 days).
    pub decided: Duration,
    /// Answers to requests with a key (`ANSWER_RETENTION`, at least and by default 24 hours).
    pub answers: Duration,
}

impl RetentionConfig {
    /// After this a message that came again before or after its replay has come for the last time.
    pub const LATEST_RETRY: Duration = Duration::from_secs(3_600);

    /// Reads all of it; what is wrong is noted.
    pub(super) fn read(read: &mut Reader) -> Self {
        let Kept(outbox) = read.with_default(&OUTBOX_RETENTION, Kept(DAY * 30));
        let Kept(inbox) = read.with_default(&INBOX_RETENTION, Kept(DAY * 30));
        let Kept(replay_window) = read.with_default(&REPLAY_WINDOW, Kept(DAY * 14));
        let Kept(decided) = read.with_default(&DEAD_LETTER_RETENTION, Kept(DAY * 30));
        let KeptADay(answers) = read.with_default(&ANSWER_RETENTION, KeptADay(DAY));
        let needed = replay_window + Self::LATEST_RETRY;
        if inbox < needed {
            let wrong = format!(
                "{} is shorter than what can still arrive: {} (DEAD_LETTER_REPLAY_WINDOW) and {} of \
                 retries; a late message would be handled twice",
                inbox.to_setting(),
                replay_window.to_setting(),
                Self::LATEST_RETRY.to_setting(),
            );
            read.mistake(&INBOX_RETENTION, wrong, "a longer time, or a shorter window");
        }
        Self { outbox, inbox, replay_window, decided, answers }
    }
}

/// From an hour to ten years.
struct Kept(Duration);

/// From a day, which is what clients are promised, to ten years.
struct KeptADay(Duration);

fn between(shortest: Duration, text: &str) -> Result<Duration, String> {
    match Duration::from_setting(text)? {
        time if time < shortest => Err(format!("is shorter than {}", shortest.to_setting())),
        time if time > LONGEST => Err("is longer than ten years".to_owned()),
        time => Ok(time),
    }
}

impl FromSetting for Kept {
    const EXPECTED: &'static str = "a time from 1h to 87600h, for example 720h";

    fn from_setting(text: &str) -> Result<Self, String> {
        between(Duration::from_secs(3_600), text).map(Self)
    }
}

impl FromSetting for KeptADay {
    const EXPECTED: &'static str = "a time from 24h to 87600h, for example 48h";

    fn from_setting(text: &str) -> Result<Self, String> {
        between(DAY, text).map(Self)
    }
}

impl ToSetting for Kept {
    fn to_setting(&self) -> String {
        self.0.to_setting()
    }
}

impl ToSetting for KeptADay {
    fn to_setting(&self) -> String {
        self.0.to_setting()
    }
}
