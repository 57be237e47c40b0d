//! `shop completions`: what a shell needs to complete our command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::{Exit, Output};

const EXAMPLES: &str = "\
Examples:
  shop completions bash > ~/.local/share/bash-completion/completions/shop
  shop completions fish > ~/.config/fish/completions/shop.fish
  shop completions zsh  > ~/.zfunc/_shop";

/// `shop completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions.
pub fn run(args: &Args, out: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "shop", &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end());
    Exit::Done
}
