//! A shell that outlives the process that starts servers, and ends and wipes them after it, whatever
//! way it went: a test that is killed leaves nothing behind.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ends whatever works in the folder `$1` and removes it. Not by the servers' pid files: RabbitMQ writes
/// its own late, so a node that still starts would live on. Only where no `/proc` tells who works
/// where, they have to do.
const WIPE: &str = r#"
workers() {
    if [ -d /proc/self ]; then
        ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -F -e " -> $1/" | sed 's|.* /proc/\([0-9]*\)/cwd -> .*|\1|'
    else
        head -qn 1 "$1"/postgres/data/postmaster.pid "$1"/rabbitmq/node.pid "$1"/rabbitmq/epmd.pid
    fi 2>/dev/null
}
wipe() {
    for try in 1 2 3 4 5; do
        for pid in $(workers "$1"); do
            kill -KILL "$pid" 2>/dev/null
        done
        rm -rf "$1" 2>/dev/null && [ ! -e "$1" ] && [ -z "$(workers "$1")" ] && return
        sleep 1
    done
}
"#;

/// Waits until nobody holds the other end of its input.
const UNTIL_PARENT_ENDS: &str = r#"read -r nothing; wipe "$1""#;

/// Waits until `$2/stamp` stays untouched for `$3` seconds. The state is taken away before the last
/// look, and whoever wants the servers touches the stamp before reading the state: so either they are
/// seen, or they find no state and start servers of their own.
const UNTIL_IDLE: &str = r#"
while :; do
    touch "$1/mark"
    sleep "$3"
    [ "$2/stamp" -nt "$1/mark" ] && continue
    mv "$2/state.json" "$1/state.json" 2>/dev/null
    [ "$2/stamp" -nt "$1/mark" ] || break
    [ -e "$2/state.json" ] || mv "$1/state.json" "$2/state.json"
done
wipe "$1"
"#;

/// A folder with servers that end with this process, or when the guard is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    folder: PathBuf,
    shell: Child,
}

impl Guard {
    /// Guards a folder that exists.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        // The path as the system shows it for a process that works there.
        let folder = folder.canonicalize()?;
        let mut command = shell(UNTIL_PARENT_ENDS);
        let shell = command.arg(&folder).stdin(Stdio::piped()).spawn()?;
        Ok(Self { folder, shell })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Ends and wipes the servers in `folder` when `stamp` beside `state.json` in `home` has not been
/// touched for `idle`. Outlives this process.
pub(crate) fn wipe_when_idle(folder: &Path, home: &Path, idle: Duration) -> io::Result<()> {
    let mut command = shell(UNTIL_IDLE);
    command
        .arg(folder)
        .arg(home)
        .arg(idle.as_secs_f64().to_string())
        .stdin(Stdio::null())
        .spawn()?;
    Ok(())
}

/// Ends and wipes what is left of servers in `folder`.
pub(crate) fn wipe(folder: &Path) -> io::Result<()> {
    shell(r#"wipe "$1""#).arg(folder).stdin(Stdio::null()).status()?;
    Ok(())
}

fn shell(then: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{WIPE}\n{then}")).arg("testkit-guard");
    // Neither a Ctrl-C in the terminal nor a runner that waits for the output of a test may see it.
    command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command
}
