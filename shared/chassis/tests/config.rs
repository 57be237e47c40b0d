//! Settings: every mistake at once, and never a secret on the screen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{ConfigError, Reader, RetentionConfig, ServiceConfig, Setting, Source};
use secrecy::ExposeSecret as _;

const SEED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const GOOD: [(&str, &str); 5] = [
    ("DATABASE_URL", "postgres://shop:hunter2@db:5432/shop_order"),
    ("AMQP_URL", "amqp://shop:hunter2@mq:5672/shop"),
    ("SIGNING_KEY", SEED),
    ("SIGNING_KEY_ID", "order-1"),
    ("EVENT_KEYS", KEYS),
];

const KEYS: &str = r#"{"keys":[
    {"kid":"order-1","alg":"Ed25519","public_key":"HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw=",
     "source":"urn:dev:order","types":["dev.order.*"],"state":"active"}]}"#;

fn read(args: &[&str], environment: &[(&str, &str)]) -> Result<ServiceConfig, ConfigError> {
    let source = Source::from_pairs(args.iter().copied(), environment.iter().copied());
    let mut read = Reader::new(source);
    let config = ServiceConfig::read(&mut read, 8081);
    read.finish(|| config)
}

/// The good settings, with `changes` made.
fn with(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let kept = GOOD.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    kept.chain(changes).copied().collect()
}

fn mistakes(args: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let error = read(args, environment).unwrap_err();
    assert!(matches!(error, ConfigError::Mistakes(_)));
    error.to_string().lines().map(str::to_owned).collect()
}

fn mistake(args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut lines = mistakes(args, environment);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "1 mistake in the settings:");
    lines.remove(1).trim().to_owned()
}

fn temporary(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("chassis-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn good_settings_give_a_configuration_with_the_documented_defaults() {
    let config = read(&[], &GOOD).unwrap();
    assert_eq!(config.http_addr.to_string(), "127.0.0.1:8081");
    assert_eq!(config.environment, "dev");
    assert_eq!(config.telemetry.environment, "dev");
    assert_eq!(config.shutdown_grace, Duration::from_secs(20));
    assert_eq!(config.telemetry.schedule_delay, Duration::from_millis(200));
    assert!(config.telemetry.otlp_endpoint.is_none());
    let hours = |kept: Duration| kept.as_secs() / 3_600;
    let kept = &config.retention;
    assert_eq!((hours(kept.outbox), hours(kept.inbox)), (720, 720));
    assert_eq!((hours(kept.replay_window), hours(kept.answers)), (336, 24));
    assert_eq!(config.signing_seed().unwrap()[31], 31);
}

#[test]
fn a_flag_goes_before_its_variable_in_both_spellings() {
    let environment = with(&[("HTTP_ADDR", "127.0.0.1:1")]);
    for args in [&["--http-addr", "0.0.0.0:2"][..], &["--http-addr=0.0.0.0:2"][..]] {
        assert_eq!(read(args, &environment).unwrap().http_addr.to_string(), "0.0.0.0:2");
    }
}

#[test]
fn every_mistake_is_named_in_one_message() {
    let environment = with(&[
        ("HTTP_ADDR", "8081"),
        ("DATABASE_URL", "mysql://shop:hunter2@db/shop"),
        ("AMQP_URL", ""),
        ("SHUTDOWN_GRACE", "20"),
        ("OUTBOX_CAP", "0"),
        ("OUTBOX_RETENTION", "10m"),
        ("INBOX_RETENTION", "336h"),
        ("ANSWER_RETENTION", "1h"),
        ("SIGNING_KEY", "hunter2"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "order=loud"),
        ("ENVIRONMENT", "My Env"),
        ("EVENT_KEYS", "keys"),
    ]);
    let lines = mistakes(&["--htp-addr=x"], &environment);
    assert_eq!(lines[0], "17 mistakes in the settings:");
    let all = lines.join("\n");
    for line in [
        "  HTTP_ADDR (--http-addr): \"8081\" is no socket address; expected an address and a port, \
         for example 127.0.0.1:8081",
        "  DATABASE_URL (--database-url): is no Postgres URL with a host; expected a Postgres URL, \
         postgres://user:password@host:port/database",
        "  AMQP_URL (--amqp-url): missing; expected an AMQP URL, \
         amqp://user:password@host:port/vhost",
        "  SHUTDOWN_GRACE (--shutdown-grace): \"20\" has no unit; expected a number with ms, s, m or \
         h, for example 500ms or 20s",
        "  OUTBOX_CAP (--outbox-cap): \"0\" is not a whole number from 1 to 4294967295; \
         expected a whole number from 1 to 4294967295",
        "  OUTBOX_RETENTION (--outbox-retention): \"10m\" is shorter than 1h; expected a time from 1h \
         to 87600h, for example 720h",
        "  INBOX_RETENTION (--inbox-retention): 336h is shorter than what can still arrive: 336h \
         (DEAD_LETTER_REPLAY_WINDOW) and 1h of retries; a late message would be handled twice; \
         expected a longer time, or a shorter window",
        "  ANSWER_RETENTION (--answer-retention): \"1h\" is shorter than 24h; expected a time from 24h \
         to 87600h, for example 48h",
        "  SIGNING_KEY (--signing-key): is no base64; expected 32 bytes in base64",
        "  LOG_FORMAT (--log-format): \"xml\" is no log format; expected text or json",
        "  --htp-addr: unknown flag; did you mean --http-addr?",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line:?} is missing from\n{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn notes_of_handled_messages_outlive_everything_that_can_still_arrive() {
    for (inbox, window) in [("720h", "720h"), ("720h", "719h1"), ("1h", "1h"), ("335h", "336h")] {
        let changes = with(&[("INBOX_RETENTION", inbox), ("DEAD_LETTER_REPLAY_WINDOW", window)]);
        mistake(&[], &changes);
    }
    for (inbox, window) in [("720h", "719h"), ("2h", "1h"), ("87600h", "87599h")] {
        let changes = with(&[("INBOX_RETENTION", inbox), ("DEAD_LETTER_REPLAY_WINDOW", window)]);
        let kept = read(&[], &changes).unwrap().retention;
        assert!(kept.inbox >= kept.replay_window + RetentionConfig::LATEST_RETRY);
    }
    mistake(&[], &with(&[("OUTBOX_RETENTION", "87601h")]));
    mistake(&[], &with(&[("OUTBOX_RETENTION", "18446744073709551615ms")]));
}

#[test]
fn addresses_that_no_client_could_use_are_mistakes_that_show_no_password() {
    let environment = with(&[
        ("DATABASE_URL", "postgres://shop:hunter2@db:65536/shop_order"),
        ("AMQP_URL", "amqp://shop:hunter2%zz@mq:5672/shop"),
    ]);
    let lines = mistakes(&[], &environment).join("\n");
    for part in [
        "  DATABASE_URL (--database-url): has a port that is no number from 1 to 65535; expected",
        "  AMQP_URL (--amqp-url): has a % that does not begin the percent code of UTF-8 text; ",
    ] {
        assert!(lines.contains(part), "{part:?} is missing from\n{lines}");
    }
    assert!(!lines.contains("hunter2"), "{lines}");
}

#[test]
fn everything_wrong_with_the_public_keys_is_named() {
    let keys = r#"{"keys":[1,
        {"kid":"order-1","alg":"RS256","public_key":"hunter2","types":"all","state":"active"},
        {"kid":"order-1","alg":"Ed25519","public_key":"aHVudGVyMg==","source":"s","types":[],
         "state":"active"}]}"#;
    let lines = mistakes(&[], &with(&[("EVENT_KEYS", keys)])).join("\n");
    for part in [
        "EVENT_KEYS (--event-keys): key 1 is no object; expected a JSON document of public keys",
        "key 2 (\"order-1\"): \"alg\" is not Ed25519;",
        "key 2 (\"order-1\"): \"public_key\" is no base64;",
        "key 2 (\"order-1\"): \"source\" is no text;",
        "key 2 (\"order-1\"): \"types\" is no list of texts;",
        "key 3 (\"order-1\"): \"public_key\" does not hold 32 bytes;",
        "key 3 (\"order-1\"): its \"kid\" stands twice;",
    ] {
        assert!(lines.contains(part), "{part:?} is missing from\n{lines}");
    }
    assert!(!lines.contains("hunter2") && !lines.contains("aHVudGVyMg"), "{lines}");
    for (keys, wrong) in [("keys", "is no JSON document"), ("[]", "has no list \"keys\"")] {
        let line = mistake(&[], &with(&[("EVENT_KEYS", keys)]));
        assert!(line.starts_with(&format!("EVENT_KEYS (--event-keys): {wrong}; ")), "{line}");
    }
}

#[test]
fn a_signing_key_that_nobody_could_verify_is_a_mistake() {
    let line = mistake(&[], &with(&[("SIGNING_KEY_ID", "order-2")]));
    assert_eq!(
        line,
        "SIGNING_KEY_ID (--signing-key-id): \"order-2\" is not among the keys of EVENT_KEYS; \
         expected a key id"
    );
    mistake(&[], &with(&[("EVENT_KEYS", r#"{"keys":[]}"#)]));
}

#[test]
fn nothing_set_names_every_required_setting() {
    let lines = mistakes(&[], &[]);
    let named: Vec<&str> = lines[1..].iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(named, GOOD.map(|(name, _)| name));
}

#[test]
fn a_secret_can_come_from_a_file_without_its_last_line_break() {
    let path = temporary("url", "postgres://shop:from-file@db/shop\n");
    let path = path.to_str().unwrap();
    let mut environment = GOOD.to_vec();
    environment.retain(|(name, _)| *name != "DATABASE_URL");
    let url = |config: ServiceConfig| config.database_url.expose_secret().to_owned();
    let by_flag = read(&["--database-url-file", path], &environment).unwrap();
    environment.push(("DATABASE_URL_FILE", path));
    let by_variable = read(&[], &environment).unwrap();
    assert_eq!(url(by_flag), "postgres://shop:from-file@db/shop");
    assert_eq!(url(by_variable), "postgres://shop:from-file@db/shop");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn both_a_value_and_a_file_are_a_mistake() {
    let line = mistake(&[], &with(&[("DATABASE_URL", GOOD[0].1), ("DATABASE_URL_FILE", "/x")]));
    assert!(line.starts_with(
        "DATABASE_URL (--database-url): given twice: as DATABASE_URL and as DATABASE_URL_FILE"
    ));
}

#[test]
fn a_file_that_cannot_be_read_or_is_empty_is_a_mistake() {
    let gone = with(&[("SIGNING_KEY_FILE", "/nowhere/key"), ("SIGNING_KEY", "")]);
    let line = mistake(&[], &gone);
    assert!(
        line.starts_with("SIGNING_KEY_FILE (--signing-key-file): cannot read the file"),
        "{line}"
    );
    let path = temporary("empty", " \n");
    let mut environment = with(&[("EVENT_KEYS", "")]);
    environment.retain(|(name, _)| *name != "EVENT_KEYS");
    let line = mistake(&["--event-keys-file", path.to_str().unwrap()], &environment);
    assert!(line.contains("is empty"), "{line}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_command_line_that_cannot_be_meant_is_refused_without_echoing_values() {
    let twice = ["--http-addr=a:1", "--http-addr=a:2"];
    assert_eq!(mistake(&twice, &GOOD), "HTTP_ADDR (--http-addr): --http-addr is given twice");
    let bare = mistake(&["--shutdown-grace", "--http-addr=127.0.0.1:1"], &GOOD);
    assert_eq!(bare, "SHUTDOWN_GRACE (--shutdown-grace): --shutdown-grace stands without a value");
    let stray = mistake(&["postgres://shop:hunter2@db"], &GOOD);
    assert_eq!(stray, "argument 1: stands alone, without a flag before it; expected --flag value");
    let unknown = mistake(&["--password=hunter2"], &GOOD);
    assert_eq!(unknown, "--password: unknown flag; --help lists the known ones");
}

#[test]
fn debug_output_shows_no_secret() {
    let config = read(&[], &GOOD).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(SEED), "{shown}");
    assert!(shown.contains("order-1"));
    let source = Source::from_pairs(["--database-url=hunter2"], [("A", "b")]);
    let shown = format!("{:?}", Reader::new(source));
    assert!(!shown.contains("hunter2"), "{shown}");
    let source = Source::from_pairs(["--x=1"], GOOD);
    assert!(!format!("{source:?}").contains("hunter2"));
}

#[test]
fn help_lists_every_setting_with_its_names_and_default() {
    let Err(ConfigError::Help(text)) = read(&["--help"], &[]) else { panic!("help comes first") };
    for part in [
        "--http-addr, HTTP_ADDR\n      address to serve HTTP on [default: 127.0.0.1:8081]",
        "--shutdown-grace, SHUTDOWN_GRACE",
        "[default: 20s]",
        "--database-connections, DATABASE_CONNECTIONS",
        "[default: 16]",
        "--outbox-cap, OUTBOX_CAP",
        "--inbox-retention, INBOX_RETENTION",
        "[default: 720h]",
        "--dead-letter-replay-window, DEAD_LETTER_REPLAY_WINDOW",
        "--dead-letter-retention, DEAD_LETTER_RETENTION",
        "[default: 336h]",
        "[default: 100000]",
        "[required; from a file: DATABASE_URL_FILE]",
        "[default: parentbased_always_on]",
        "[required; from a file: EVENT_KEYS_FILE]",
    ] {
        assert!(text.contains(part), "{part:?} is missing from\n{text}");
    }
    assert!(text.starts_with("Usage: service "));
}

#[test]
fn a_long_value_is_cut_and_control_characters_are_escaped() {
    const LEVEL: Setting = Setting::new("LEVEL", "a level");
    let value = format!("\u{1b}[31m{}", "é".repeat(500));
    let mut read = Reader::new(Source::from_pairs(Vec::<String>::new(), [("LEVEL", value)]));
    let level: Option<u16> = read.optional(&LEVEL);
    let shown = read.finish(|| Some(level)).unwrap_err().to_string();
    assert!(shown.chars().count() < 250, "{shown}");
    assert!(!shown.contains('\u{1b}'));
}
