//! The command line.

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use sentry::Failure;
use sentry::spec::{Strace, Volume};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// An application kernel for containers.
#[derive(Parser)]
#[command(name = "vizor", version, disable_help_flag = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command in a sandbox of its own, over the host's files.
    #[command(after_help = EXIT_STATUS)]
    Do(Box<Do>),
}

const EXIT_STATUS: &str = "\
The exit status is the command's own, or 128+N if signal N killed it, 127 if it was not found, 126 if it can't be
executed, and 125 if Vizor itself failed.";

/// `vizor do`.
#[derive(Args)]
pub struct Do {
    /// Directory that is the sandbox's root. It is only read: writes go to memory and end with the sandbox
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub rootfs: PathBuf,
    /// Let writes below the root go through to the host
    #[arg(long)]
    pub rw: bool,
    /// Host directory to be seen at GUEST; writes go through unless ":ro" follows
    #[arg(long = "volume", value_name = "HOST:GUEST[:ro]")]
    volumes: Vec<OsString>,
    /// Working directory [default: the present one if the sandbox has it, else /]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Set an environment variable
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Start with no environment but PATH, HOME and TERM
    #[arg(long)]
    pub clean_env: bool,
    /// User and group to run as, by number [default: the caller's]
    #[arg(long, value_name = "UID[:GID]", value_parser = user)]
    pub user: Option<(u32, Option<u32>)>,
    /// Host name in the sandbox [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<OsString>,
    /// Network: "none" is a loopback interface and nothing else
    #[arg(long, value_name = "KIND", default_value = "none", value_parser = ["none"])]
    network: String,
    /// Trace system calls and signals to standard error or the debug log; or what a LIST names ("open,read,signals")
    #[arg(long, value_name = "LIST", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    strace: Option<String>,
    /// Write what the sandbox's kernel does to FILE
    #[arg(long, value_name = "FILE")]
    pub debug_log: Option<PathBuf>,
    /// Let every system call trap, instead of rewriting where programs make them
    #[arg(long)]
    pub no_patching: bool,
    /// Command to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What the command line asks for.
pub enum Asked {
    /// `vizor do`.
    Do(Box<Do>),
    /// Help or the version.
    Text(String),
    /// Nothing that makes sense.
    Wrong(Failure),
}

/// Reads the command line.
pub fn parse() -> Asked {
    let error = match Cli::try_parse() {
        Ok(Cli { command: Command::Do(options) }) => return Asked::Do(options),
        Err(error) => error,
    };
    let text = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Asked::Text(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Asked::Wrong(Failure::ours("no command given; try 'vizor do COMMAND' or 'vizor help'"))
        }
        _ => Asked::Wrong(Failure::ours(format!("{}; see 'vizor do --help'", one_line(&text)))),
    }
}

/// clap's message without its usage and in one line.
fn one_line(text: &str) -> String {
    let message = text.split("\n\nUsage").next().unwrap_or(text);
    let message = message.split("\n\nFor more").next().unwrap_or(message);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").replace("tip: ", "- ")
}

fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    // -1 means "unchanged" to setuid and friends and is no id.
    let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (id(uid), Some(id(gid))),
        None => (id(text), None),
    };
    match (uid, gid) {
        (Some(uid), None) => Ok((uid, None)),
        (Some(uid), Some(Some(gid))) => Ok((uid, Some(gid))),
        _ => Err("give numbers, as in 1000 or 1000:1000".into()),
    }
}

impl Do {
    /// The volumes.
    pub fn volumes(&self) -> Result<Vec<Volume>, Failure> {
        self.volumes.iter().map(volume).collect()
    }

    /// The variables that `--env` sets.
    pub fn variables(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let checked = |variable: &OsString| match variable.as_bytes().iter().position(|b| *b == b'=') {
            Some(1..) => Ok(variable.as_bytes().to_vec()),
            _ => Err(Failure::ours(format!("--env {variable:?} sets nothing; give NAME=VALUE"))),
        };
        self.env.iter().map(checked).collect()
    }

    /// What is traced.
    pub fn strace(&self) -> Result<Option<Strace>, Failure> {
        let Some(list) = &self.strace else { return Ok(None) };
        let names: Vec<Vec<u8>> = list.split(',').filter(|n| !n.is_empty()).map(|n| n.as_bytes().to_vec()).collect();
        match list.split(',').find(|name| !name.is_empty() && *name != sentry::SIGNALS && !sentry::serves(name)) {
            Some(name) => Err(Failure::ours(format!("--strace: no system call is named {name:?}"))),
            None if names.is_empty() => Ok(Some(Strace::All)),
            None => Ok(Some(Strace::Only(names))),
        }
    }
}

fn volume(option: &OsString) -> Result<Volume, Failure> {
    let wrong = |why: &str| Failure::ours(format!("--volume {option:?}: {why}; give HOST:GUEST or HOST:GUEST:ro"));
    let fields: Vec<&[u8]> = option.as_bytes().split(|b| *b == b':').collect();
    let (source, target, read_only) = match fields.as_slice() {
        [source, target] => (source, target, false),
        [source, target, b"ro"] => (source, target, true),
        [source, target, b"rw"] => (source, target, false),
        _ => return Err(wrong("not two paths")),
    };
    if !target.starts_with(b"/") {
        return Err(wrong("the path in the guest is not absolute"));
    }
    let path = PathBuf::from(OsString::from_vec(source.to_vec()));
    let source = path.canonicalize().map_err(|error| wrong(&format!("{}: {error}", path.display())))?;
    if !source.is_dir() {
        return Err(wrong("not a directory of the host"));
    }
    Ok(Volume { source: source.into_os_string().into_vec(), target: target.to_vec(), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Do {
        match Cli::try_parse_from(["vizor", "do"].iter().chain(args)) {
            Ok(Cli { command: Command::Do(options) }) => *options,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_commands_own_options_are_left_alone() {
        let asked = options(&["--rw", "ls", "--rw", "-l", "--", "x"]);
        assert_eq!(asked.command, ["ls", "--rw", "-l", "--", "x"]);
        assert_eq!(options(&["--", "--odd"]).command, ["--odd"]);
        assert!(Cli::try_parse_from(["vizor", "do", "--odd", "ls"]).is_err());
    }

    #[test]
    fn values_are_checked() {
        assert_eq!(user("5:6"), Ok((5, Some(6))));
        assert!(user("4294967295").is_err() && user("").is_err() && user("1:").is_err());
        assert_eq!(options(&["--strace", "ls"]).strace(), Ok(Some(Strace::All)));
        let some = Strace::Only(vec![b"read".to_vec(), b"write".to_vec()]);
        assert_eq!(options(&["--strace=read,write", "ls"]).strace(), Ok(Some(some)));
        assert!(options(&["--strace=raed", "ls"]).strace().is_err());
        assert!(volume(&"/tmp".into()).is_err() && volume(&"/tmp:x".into()).is_err());
        assert!(volume(&"/tmp:/x:ro".into()).is_ok_and(|v| v.read_only && v.target == b"/x"));
        assert!(options(&["--env", "=x", "ls"]).variables().is_err());
    }
}
