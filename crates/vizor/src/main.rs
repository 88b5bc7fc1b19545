//! Vizor: an application kernel for containers.
//!
//! One binary holds all roles. This is the command's: [`options`] says what it can be asked, [`launch`] starts a Sentry,
//! and [`attach`] stands between the caller (its signals and its terminal, [`terminal`]) and the guest until that ends.

mod attach;
mod idmap;
mod launch;
mod options;
mod terminal;

use sentry::Failure;
use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static HEAP: host::heap::Heap = host::heap::Heap;

fn main() -> ExitCode {
    let done = match options::parse() {
        options::Asked::Do(options) => run(*options),
        options::Asked::Text(text) => print(&text),
        options::Asked::Wrong(failure) => Err(failure),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // Nobody is left to be told if this fails.
            let _ = std::io::stderr().write_all(format!("vizor: {failure}\n").as_bytes());
            ExitCode::from(failure.status)
        }
    }
}

fn run(options: options::Do) -> Result<u8, Failure> {
    host::signalfd::keep_children();
    let sandbox = launch::launch(options)?;
    attach::attach(sandbox)
}

fn print(text: &str) -> Result<u8, Failure> {
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map(|()| 0).map_err(|error| Failure::ours(format!("cannot write to standard output: {error}")))
}
