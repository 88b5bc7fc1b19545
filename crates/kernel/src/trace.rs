//! Where the kernel writes what it did: the debug log and system-call traces.

use lock::{Mutex, rank};
use std::io::Write;
use std::time::Instant;

/// Takes the lines.
pub type Writer = Box<dyn Write + Send>;
type Out = Mutex<Writer>;

/// What is traced, and where to. A line is one write, so lines of tasks never mix.
pub struct Trace {
    log: Option<Out>,
    strace: Option<(Option<Vec<String>>, Out)>,
    start: Instant,
}

impl Trace {
    /// With a debug log and a trace of system calls (of those named, or all), or neither.
    #[must_use]
    pub fn new(log: Option<Writer>, strace: Option<(Option<Vec<String>>, Writer)>) -> Trace {
        let out = |out| Mutex::new(rank::LEAF, out);
        Trace { log: log.map(out), strace: strace.map(|(only, to)| (only, out(to))), start: Instant::now() }
    }

    fn write(&self, out: &Out, line: &str) {
        let at = self.start.elapsed();
        let line = format!("{}.{:06} {line}\n", at.as_secs(), at.subsec_micros());
        // A full disk or a closed pipe must not disturb the sandbox.
        let _ = out.lock().write_all(line.as_bytes());
    }

    /// Whether there is a debug log, for callers whose message is costly to make.
    #[must_use]
    pub fn logs(&self) -> bool {
        self.log.is_some()
    }

    /// Writes a line to the debug log, if there is one.
    pub fn log(&self, line: &str) {
        if let Some(out) = &self.log {
            self.write(out, line);
        }
    }

    /// Whether any system call is traced.
    #[must_use]
    pub fn straces_any(&self) -> bool {
        self.strace.is_some()
    }

    /// Whether this system call is traced.
    #[must_use]
    pub fn straces(&self, name: &str) -> bool {
        self.strace.as_ref().is_some_and(|(only, _)| only.as_ref().is_none_or(|o| o.iter().any(|n| n == name)))
    }

    /// Writes a line of a system-call trace.
    pub fn strace(&self, line: &str) {
        if let Some((_, out)) = &self.strace {
            self.write(out, line);
        }
    }
}
