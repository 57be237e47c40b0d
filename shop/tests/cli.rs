//! The command line from outside: exit codes, help, machine-readable answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

fn shop(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(arguments).env_remove("HTTP_ADDR");
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    finished(shop(arguments).output().unwrap())
}

fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_unknown_command_is_named_and_is_wrong_use() {
    let (code, out, err) = run(&["plaec"]);
    assert_eq!(code, 2);
    assert!(out.is_empty(), "{out}");
    assert!(err.contains("'plaec'") && err.contains("'place'"), "{err}");
}

#[test]
fn no_command_at_all_is_wrong_use_and_shows_help() {
    let (code, _, err) = run(&[]);
    assert_eq!(code, 2);
    assert!(err.contains("Usage:"), "{err}");
}

#[test]
fn help_lists_every_command_and_ends_with_examples() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for verb in [
        "up",
        "reset",
        "order",
        "inventory",
        "payment",
        "email",
        "audit",
        "gateway",
        "sink",
        "migrate",
        "doctor",
        "place",
        "load",
        "status",
        "verify",
        "trace",
        "dlq",
        "healthcheck",
        "openapi",
        "completions",
    ] {
        let listed = out.lines().any(|line| line.trim_start().starts_with(&format!("{verb} ")));
        assert!(listed, "{verb} is missing in:\n{out}");
    }
    assert!(out.contains("Examples:") && out.contains("Exit codes: 0 done, 1 failed"), "{out}");
}

/// The verbs that a help lists.
fn verbs(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = lines.take_while(|line| !line.is_empty());
    // What a line is too short for goes on further to the right.
    let verbs = verbs.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect()
}

#[test]
fn every_command_of_ours_shows_examples() {
    let (_, help, _) = run(&["--help"]);
    // Services list their settings; `asyncapi` takes nothing.
    let others = ["order", "inventory", "payment", "email", "audit", "asyncapi"];
    let ours: Vec<_> = verbs(&help).into_iter().filter(|verb| !others.contains(verb)).collect();
    assert!(["up", "place", "verify"].iter().all(|verb| ours.contains(verb)), "{help}");
    for verb in ours {
        let (code, out, _) = run(&[verb, "--help"]);
        assert_eq!(code, 0, "{verb}");
        if verb != "sink" {
            assert!(out.contains("Examples:\n  "), "{verb}:\n{out}");
        }
        for inner in verbs(&out) {
            let (_, out, _) = run(&[verb, inner, "--help"]);
            assert!(out.contains("Examples:\n  "), "{verb} {inner}:\n{out}");
        }
    }
}

#[test]
fn help_of_up_names_the_variable_of_every_port() {
    let (_, out, _) = run(&["up", "--help"]);
    for variable in ["ORDER_PORT", "POSTGRES_PORT", "AMQP_PORT", "TRACES_PORT", "SMTP_PORT"] {
        assert!(out.contains(&format!("[env: {variable}")), "{variable} is missing in:\n{out}");
    }
}

#[test]
fn a_service_without_settings_names_every_mistake_at_once() {
    let mut command = shop(&["order"]);
    for name in ["DATABASE_URL", "AMQP_URL", "SIGNING_KEY", "EVENT_KEYS"] {
        command.env_remove(name);
    }
    let (code, _, err) = finished(command.output().unwrap());
    assert_eq!(code, 2);
    for name in ["DATABASE_URL", "AMQP_URL", "SIGNING_KEY", "EVENT_KEYS"] {
        assert!(err.contains(name), "{name} is missing in:\n{err}");
    }
}

#[test]
fn a_service_takes_its_settings_as_flags_and_shows_them() {
    let (code, out, _) = run(&["payment", "--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("shop payment") && out.contains("--gateway-url, GATEWAY_URL"), "{out}");
    let (code, _, err) = run(&["payment", "--no-such-flag", "1"]);
    assert_eq!(code, 2);
    assert!(err.contains("--no-such-flag"), "{err}");
}

#[test]
fn doctor_tells_machines_name_status_and_fix_of_every_check() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut command = shop(&["doctor", "-o", "json"]);
    let folder = std::env::temp_dir().join(format!("tidings-doctor-{}", std::process::id()));
    command.env("ORDER_PORT", port.to_string()).env("TIDINGS_DATA", &folder);
    let (code, out, _) = finished(command.output().unwrap());
    let answer: Value = serde_json::from_str(&out).unwrap();
    let checks = answer["checks"].as_array().unwrap();
    let named = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(named("Postgres")["status"], "ok");
    assert_eq!(named("RabbitMQ")["status"], "ok");
    let ports = named("Ports");
    assert_eq!(ports["status"], "failed");
    let detail = ports["detail"].as_str().unwrap();
    let me = std::process::id();
    assert!(detail.contains(&format!("port {port} is held by")), "{detail}");
    assert!(detail.contains(&format!("(pid {me})")), "{detail}");
    assert!(ports["fix"].as_str().unwrap().contains("ORDER_PORT"));
    assert_eq!(code, 1);
    assert!(!folder.exists(), "a doctor leaves nothing behind");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(out.contains("healthcheck") && out.contains("migrate"), "{shell}");
    }
}

#[test]
fn asyncapi_prints_the_committed_document() {
    let (code, out, _) = run(&["asyncapi"]);
    assert_eq!(code, 0);
    assert!(out.contains("\nasyncapi: \"3."), "{out:.200}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = shop(&["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(err.is_empty(), "{err}");
}

/// Answers one request and gives its first line.
fn answer_once(response: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap();
        stream.write_all(response.as_bytes()).unwrap();
        let request = String::from_utf8_lossy(&request[..read]).into_owned();
        request.lines().next().unwrap().to_owned()
    });
    (port, answering)
}

#[test]
fn a_ready_process_passes_the_probe_whatever_proxy_is_set() {
    let (port, answered) =
        answer_once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    let mut command = shop(&["healthcheck"]);
    command.env("HTTP_ADDR", format!("0.0.0.0:{port}")).env("http_proxy", "http://127.0.0.1:1");
    let (code, out, err) = finished(command.output().unwrap());
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(answered.join().unwrap(), "GET /health/ready HTTP/1.1");
}

#[test]
fn a_process_that_is_not_ready_fails_the_probe_with_its_reason() {
    let (port, _answered) = answer_once(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n\
         {\"dependencies\":{\"rabbitmq\":{\"status\":\"down\",\"reason\":\"no connection\"}}}",
    );
    let url = format!("http://127.0.0.1:{port}/health/ready");
    let (code, out, _) = run(&["healthcheck", &url, "-o", "json"]);
    assert_eq!(code, 1);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer[0]["ready"], false);
    assert_eq!(answer[0]["reason"], "rabbitmq: no connection");
}

#[test]
fn a_probe_of_something_unknown_is_wrong_use() {
    let (code, _, err) = run(&["healthcheck", "nginx"]);
    assert_eq!(code, 2);
    assert!(err.contains("nginx"), "{err}");
}

#[test]
fn keys_are_made_once_and_never_replaced() {
    let folder = std::env::temp_dir().join(format!("tidings-cli-keys-{}", std::process::id()));
    let arguments = ["keys", "--folder", folder.to_str().unwrap(), "-o", "json"];
    let made = |out: &str| -> usize {
        let answer: Value = serde_json::from_str(out).unwrap();
        answer["made"].as_array().unwrap().len()
    };
    let (_, first, _) = run(&arguments);
    let key = std::fs::read(folder.join("order.key")).unwrap();
    let (code, second, _) = run(&arguments);
    assert_eq!((code, made(&first), made(&second)), (0, 5, 0));
    assert_eq!(std::fs::read(folder.join("order.key")).unwrap(), key);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn reset_deletes_nothing_that_up_has_not_made() {
    let folder = std::env::temp_dir().join(format!("tidings-cli-reset-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("logs")).unwrap();
    let (code, _, err) = run(&["reset", "--yes", "--data", folder.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(err.contains("was not made by shop up"), "{err}");
    assert!(folder.join("logs").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn reset_without_yes_deletes_nothing_where_nobody_can_be_asked() {
    let folder = std::env::temp_dir().join(format!("tidings-cli-asked-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("logs")).unwrap();
    let mark = "Signature: 8a477f597d28d172789f06886806bc55\n\
                # Data of `shop up` (Tidings). `shop reset` deletes it.\n";
    std::fs::write(folder.join("CACHEDIR.TAG"), mark).unwrap();
    let mut command = shop(&["reset", "--data", folder.to_str().unwrap()]);
    let (code, out, err) = finished(command.stdin(std::process::Stdio::null()).output().unwrap());
    assert_eq!(code, 2, "{out}{err}");
    assert!(err.contains("Nobody to ask here: add --yes."), "{err}");
    assert!(folder.join("logs").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_committed_openapi_document_is_what_the_services_say() {
    let (code, out, err) = run(&["openapi"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let committed = include_str!("../../docs/openapi.json");
    assert!(out == committed, "docs/openapi.json is out of date: make openapi");
    let all: Value = serde_json::from_str(&out).unwrap();
    let paths = all["paths"].as_object().unwrap();
    let operations: Vec<&Value> =
        paths.values().flat_map(|item| item.as_object().unwrap().values()).collect();
    for operation in &operations {
        assert!(operation["summary"].is_string(), "{operation:#}");
        let answers = operation["responses"].as_object().unwrap();
        let described = |answer: &Value| answer["description"] != "" || answer["$ref"].is_string();
        assert!(answers.values().all(described), "{operation:#}");
    }
    let names: BTreeSet<&str> =
        operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len(), "each has a name of its own");
    for target in references(&all) {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(all.pointer(pointer).is_some(), "{target} is not there");
    }
}

fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_document_of_one_service_is_what_it_serves() {
    let (code, out, _) = run(&["openapi", "payment"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["info"]["title"]), (0, &Value::from("payment")));
    assert!(document["paths"]["/payments/{order_id}"]["get"]["responses"]["404"].is_object());
    assert_eq!(run(&["openapi", "lamps"]).0, 2);
}

#[test]
fn a_service_that_would_forget_too_early_what_it_handled_does_not_start() {
    let mut service = shop(&["order"]);
    service.env("INBOX_RETENTION", "24h").env("DEAD_LETTER_REPLAY_WINDOW", "1d");
    let (code, out, err) = finished(service.output().unwrap());
    assert_eq!((code, out.as_str()), (2, ""));
    // With all else that is wrong: what is missing, and a day that is no unit.
    for part in [
        "INBOX_RETENTION (--inbox-retention): 24h is shorter than what can still arrive: 336h",
        "DEAD_LETTER_REPLAY_WINDOW (--dead-letter-replay-window): \"1d\" is no duration",
        "DATABASE_URL (--database-url): missing",
    ] {
        assert!(err.contains(part), "{part:?} is missing in\n{err}");
    }
}

/// A setting and its default, as a help has them.
fn settings(help: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = help.lines().collect();
    let default = |line: &str| {
        let (_, state) = line.rsplit_once('[').unwrap();
        let state = state.split([';', ']']).next().unwrap();
        match state.strip_prefix("default: ") {
            Some(value) => value.to_owned(),
            None => state.replace("optional", ""),
        }
    };
    lines
        .windows(2)
        .filter_map(|two| {
            let (_, name) = two[0].strip_prefix("  --")?.split_once(", ")?;
            let known = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            known.then(|| (name.to_owned(), default(two[1])))
        })
        .collect()
}

#[test]
fn every_setting_of_a_service_stands_in_the_documents_with_its_default() {
    let document = std::fs::read_to_string("../docs/settings.md").unwrap();
    let row = |name: &str| {
        let code = format!("`{name}`");
        document
            .lines()
            .find(|line| line.starts_with("| `") && line.contains(&code))
            .map(|line| line.split('|').nth(2).unwrap().trim().to_owned())
    };
    let mut seen = 0;
    for service in ["order", "inventory", "payment", "email", "audit"] {
        let (code, help, _) = run(&[service, "--help"]);
        assert_eq!(code, 0);
        for (name, default) in settings(&help) {
            let told = row(&name).unwrap_or_else(|| panic!("{name} of {service} is missing"));
            let one_port_each = name == "HTTP_ADDR";
            assert!(told.contains(&default) || one_port_each, "{name}: {told}, and not {default}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen} settings of five services");
}
