//! How a process ends, and that it says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::config::{Reader, Setting, Source};
use chassis::supervisor::{Failure, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(10);

async fn until(stop: CancellationToken) -> anyhow::Result<()> {
    stop.cancelled().await;
    Ok(())
}

async fn never(_: CancellationToken) -> anyhow::Result<()> {
    std::future::pending().await
}

#[tokio::test]
async fn tasks_that_stop_when_told_end_the_process_with_0() {
    let outcome =
        Supervisor::new(GRACE).task("a", until).task("b", until).run_until(async {}).await;
    assert!(outcome.is_clean());
    assert_eq!(outcome.code(), 0);
}

#[tokio::test]
async fn a_failing_task_drains_the_rest_and_ends_with_1() {
    let drained = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&drained);
    let outcome = Supervisor::new(GRACE)
        .task("relay", |_| async { Err(anyhow::anyhow!("disk full").context("cannot write")) })
        .task("http", move |stop| async move {
            stop.cancelled().await;
            *seen.lock().unwrap() = true;
            Ok(())
        })
        .run_until(std::future::pending())
        .await;
    assert_eq!(outcome.code(), 1);
    let (name, failure) = &outcome.failed[0];
    assert_eq!((name.as_str(), failure.to_string().as_str()), ("relay", "cannot write: disk full"));
    assert!(*drained.lock().unwrap());
}

#[tokio::test]
async fn a_panic_and_an_early_return_are_failures() {
    let panics = Supervisor::new(GRACE).task("a", |_| async { panic!("lost {}", "count") });
    let outcome = panics.task("b", until).run_until(std::future::pending()).await;
    assert!(matches!(&outcome.failed[0].1, Failure::Panic(text) if text == "lost count"));
    assert_eq!(outcome.code(), 1);
    let returns = Supervisor::new(GRACE).task("a", |_| async { Ok(()) });
    let outcome = returns.task("b", until).run_until(std::future::pending()).await;
    assert!(matches!(outcome.failed[0].1, Failure::EndedEarly));
    assert_eq!((outcome.failed.len(), outcome.code()), (1, 1));
}

#[tokio::test]
async fn a_failure_while_stopping_still_counts() {
    let fails = |stop: CancellationToken| async move {
        stop.cancelled().await;
        anyhow::bail!("the last batch was not written")
    };
    let outcome = Supervisor::new(GRACE).task("writer", fails).run_until(async {}).await;
    assert_eq!((outcome.failed.len(), outcome.code()), (1, 1));
}

#[tokio::test]
async fn a_hung_task_is_named_and_ends_the_process_with_1() {
    let begun = Instant::now();
    let outcome = Supervisor::new(Duration::from_secs(1))
        .task("consumer", never)
        .task("http", until)
        .run_until(async {})
        .await;
    assert_eq!((outcome.hung.as_slice(), outcome.code()), (&["consumer".to_owned()][..], 1));
    assert!(begun.elapsed() < GRACE, "it waited longer than it was told to");
}

#[tokio::test]
async fn phases_stop_one_after_the_other_from_the_last_to_the_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let task = |name: &'static str| {
        let order = Arc::clone(&order);
        move |stop: CancellationToken| async move {
            stop.cancelled().await;
            order.lock().unwrap().push(format!("{name} told"));
            // Whoever was told in the same breath would come between the two entries.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            order.lock().unwrap().push(format!("{name} done"));
            Ok(())
        }
    };
    let outcome = Supervisor::new(GRACE)
        .task("relay", task("relay"))
        .phase()
        .task("consumer", task("consumer"))
        .phase()
        .task("http", task("http"))
        .run_until(async {})
        .await;
    assert!(outcome.is_clean());
    let expected =
        ["http told", "http done", "consumer told", "consumer done", "relay told", "relay done"];
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_phase_that_hangs_does_not_take_the_time_of_the_others() {
    let published = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&published);
    let outcome = Supervisor::new(Duration::from_secs(5))
        .task("relay", move |stop| async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            *seen.lock().unwrap() = true;
            Ok(())
        })
        .phase()
        .task("http", never)
        .run_until(async {})
        .await;
    assert!(*published.lock().unwrap());
    assert_eq!(outcome.hung, ["http"]);
}

#[tokio::test]
async fn the_phase_that_stops_first_may_take_more_than_an_equal_share() {
    // Of six phases with 6 s; what the last one takes is more than the sixth of it.
    let told = Arc::new(Mutex::new(Vec::new()));
    let task = |name: &'static str, takes: Duration| {
        let told = Arc::clone(&told);
        move |stop: CancellationToken| async move {
            stop.cancelled().await;
            told.lock().unwrap().push(format!("{name} told"));
            tokio::time::sleep(takes).await;
            told.lock().unwrap().push(format!("{name} done"));
            Ok(())
        }
    };
    let mut supervisor = Supervisor::new(Duration::from_secs(6));
    for kit in ["relay", "housekeeping", "presence", "vitals", "intake"] {
        supervisor = supervisor.task(kit, task(kit, Duration::ZERO)).phase();
    }
    let last = supervisor.task("http", task("http", Duration::from_millis(1_200)));
    let outcome = last.run_until(async {}).await;
    assert!(outcome.is_clean());
    let told = told.lock().unwrap();
    assert_eq!(told[..3], ["http told", "http done", "intake told"].map(str::to_owned), "{told:?}");
}

const CHILD: Setting = Setting::new("SUPERVISOR_TEST_CHILD", "run as the child of this test");

/// True in the process that `Child` below starts: the same test, told so by a variable.
fn is_child() -> bool {
    Reader::new(Source::process()).optional::<String>(&CHILD).is_some()
}

struct Supervised(Child, std::io::Lines<BufReader<std::process::ChildStdout>>);

impl Supervised {
    fn start(test: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD.name(), "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut supervised = Self(child, lines);
        supervised.wait_for("ready");
        supervised
    }

    fn wait_for(&mut self, text: &str) {
        let found = self.1.by_ref().map(Result::unwrap).any(|line| line.contains(text));
        assert!(found, "the child ended without saying {text:?}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn exit_code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

/// Runs tasks under `run` as `main` would, and ends the process with the outcome.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn child(grace: Duration, stops: bool) {
    let outcome = Supervisor::new(grace)
        .task("worker", move |stop| async move {
            println!("ready");
            stop.cancelled().await;
            println!("told");
            if stops { Ok(()) } else { std::future::pending().await }
        })
        .run()
        .await;
    std::process::exit(outcome.code().into());
}

#[test]
fn sigterm_and_sigint_stop_the_process_with_0() {
    if is_child() {
        return child(GRACE, true);
    }
    for signal in [Signal::TERM, Signal::INT] {
        let process = Supervised::start("sigterm_and_sigint_stop_the_process_with_0");
        process.signal(signal);
        assert_eq!(process.exit_code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    if is_child() {
        return child(Duration::from_secs(600), false);
    }
    let mut process = Supervised::start("a_second_signal_ends_the_process_at_once");
    process.signal(Signal::TERM);
    process.wait_for("told");
    process.signal(Signal::INT);
    assert_eq!(process.exit_code(), Some(130));
}

#[test]
fn a_process_whose_task_hangs_ends_with_1_after_the_grace() {
    if is_child() {
        return child(Duration::from_millis(200), false);
    }
    let process = Supervised::start("a_process_whose_task_hangs_ends_with_1_after_the_grace");
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), Some(1));
}

#[test]
fn a_task_that_blocks_its_thread_cannot_keep_the_process_alive() {
    if is_child() {
        return blocked();
    }
    let process = Supervised::start("a_task_that_blocks_its_thread_cannot_keep_the_process_alive");
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), Some(1));
}

/// Returns from `main`, where the end of the runtime would wait for the blocked thread for ever.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn blocked() {
    let outcome = Supervisor::new(Duration::from_millis(200))
        .task("worker", |_| async {
            let blocked = tokio::task::spawn_blocking(|| {
                loop {
                    std::thread::park();
                }
            });
            println!("ready");
            Ok(blocked.await?)
        })
        .run()
        .await;
    assert_eq!(outcome.code(), 1);
}
