//! The files and environment of a private node.

use std::fs;
use std::path::{Path, PathBuf};

use super::{RabbitOptions, RabbitPorts};
use crate::account::Account;
use crate::error::{Doing as _, ServerError};

/// The same for every node: a node's data belongs to its name, and each has its own port mapper.
const NODE: &str = "shop@localhost";

pub(super) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("node.pid")
}

pub(super) fn log(dir: &Path) -> PathBuf {
    dir.join("log").join(format!("{NODE}.log"))
}

/// What the node writes before its log is open.
pub(super) fn output(dir: &Path) -> PathBuf {
    dir.join("log").join("output.log")
}

/// Where the node keeps its quorum queues, once it has any: a folder for each, and the table of names.
pub(super) fn quorum_folder(dir: &Path) -> Option<PathBuf> {
    let folder = dir.join("mnesia").join(NODE).join("quorum").join(NODE);
    folder.is_dir().then_some(folder)
}

/// Writes the settings and makes the folders.
pub(super) fn write(options: &RabbitOptions, account: Option<&Account>) -> Result<(), ServerError> {
    for name in ["mnesia", "log", "home"] {
        let folder = options.dir.join(name);
        fs::create_dir_all(&folder).doing("create", &folder)?;
        give(&folder, account)?;
    }
    for (name, text) in files(options) {
        let path = options.dir.join(name);
        fs::write(&path, text).doing("write", &path)?;
        give(&path, account)?;
    }
    Ok(())
}

/// Whether the folder holds exactly these settings, so that a node running there has them.
pub(super) fn is_written(options: &RabbitOptions) -> Result<bool, ServerError> {
    Ok(files(options).iter().all(|(name, text)| {
        fs::read_to_string(options.dir.join(name)).is_ok_and(|found| found == *text)
    }))
}

fn give(path: &Path, account: Option<&Account>) -> Result<(), ServerError> {
    account.map_or(Ok(()), |account| account.own(path).doing("change the owner of", path))
}

fn files(options: &RabbitOptions) -> [(&'static str, String); 4] {
    let RabbitPorts { amqp, management, prometheus, dist, epmd } = options.ports;
    let (user, password) = &options.user;
    let settings = [
        format!("# AMQP {amqp}, distribution {dist}, port mapper {epmd}"),
        format!("management.tcp.port = {management}"),
        "management.tcp.ip = 127.0.0.1".to_owned(),
        format!("prometheus.tcp.port = {prometheus}"),
        "prometheus.tcp.ip = 127.0.0.1".to_owned(),
        format!("default_user = {user}"),
        format!("default_pass = {password}"),
        format!("default_vhost = {}", options.vhost),
        "loopback_users = none".to_owned(),
        "heartbeat = 10".to_owned(),
        format!("frame_max = {}", options.frame_max),
        format!("consumer_timeout = {}", options.consumer_timeout.as_millis()),
        format!("collect_statistics_interval = {}", options.figures_every.as_millis()),
        // The default of 50 MB of free disk is fine; the default of memory is 40 % of the machine.
        "vm_memory_high_watermark.relative = 0.4".to_owned(),
    ];
    // What has no name in rabbitmq.conf: how often quorum queues tell their figures, and how old a
    // sample must be (in seconds) before the management API takes the next one.
    let sample = options.figures_every.as_secs().max(1);
    let samples = |kept: u64| format!("[{{{kept}, {sample}}}]");
    let advanced = format!(
        "[{{rabbit, [{{quorum_tick_interval, {}}}]}},\n \
         {{rabbitmq_management, [{{sample_retention_policies,\n  \
         [{{global, {}}}, {{basic, {}}}, {{detailed, {}}}]}}]}}].\n",
        options.figures_every.as_millis(),
        samples(605),
        samples(605),
        samples(10)
    );
    [
        ("rabbitmq.conf", settings.join("\n") + "\n"),
        ("advanced.config", advanced),
        ("enabled_plugins", "[rabbitmq_management,rabbitmq_prometheus].\n".to_owned()),
        ("rabbitmq-env.conf", String::new()),
    ]
}

/// Everything that a node would otherwise share with another one of this machine.
pub(super) fn environment(options: &RabbitOptions) -> Vec<(&'static str, String)> {
    let path = |name: &str| options.dir.join(name).to_string_lossy().into_owned();
    let text = |value: &str| value.to_owned();
    let ports = options.ports;
    vec![
        ("HOME", path("home")),
        ("LANG", text("C.UTF-8")),
        ("RABBITMQ_NODENAME", text(NODE)),
        ("RABBITMQ_NODE_IP_ADDRESS", text("127.0.0.1")),
        ("RABBITMQ_NODE_PORT", ports.amqp.to_string()),
        ("RABBITMQ_DIST_PORT", ports.dist.to_string()),
        ("ERL_EPMD_PORT", ports.epmd.to_string()),
        ("ERL_EPMD_ADDRESS", text("127.0.0.1")),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_PID_FILE", pid_file(&options.dir).to_string_lossy().into_owned()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
        ("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf")),
        // Distribution on the loopback interface too, as the other ports are.
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            text("-kernel inet_dist_use_interface {127,0,0,1}"),
        ),
        // Makes the script replace itself by the Erlang machine, so that the process we start is the
        // node, and a signal reaches it and not a shell.
        ("RUNNING_UNDER_SYSTEMD", text("true")),
    ]
}
