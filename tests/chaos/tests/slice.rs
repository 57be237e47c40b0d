//! Three minutes of `make chaos`, with a seed that is drawn and told.

use chaos::cli::Args;
use clap::Parser as _;

#[tokio::test]
async fn drawn_faults_under_load_break_no_invariant() {
    let history = std::env::temp_dir().join(format!("tidings-slice-{}.jsonl", std::process::id()));
    let args = Args::parse_from([
        "chaos".as_ref(),
        "--seeds=1000".as_ref(),
        "--minutes=3".as_ref(),
        "--shop".as_ref(),
        env!("CARGO_BIN_EXE_crashing-shop").as_ref(),
        "--history".as_ref(),
        history.as_os_str(),
    ]);
    let held = chaos::run(args).await;
    let _ = std::fs::remove_file(history);
    assert!(held.unwrap(), "the seeds that broke something are told above");
}
