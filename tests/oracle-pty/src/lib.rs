//! Drives a real Linux pty and writes down what it does, as the truth for the line discipline's tests.
//!
//! A case is a list of [`Step`]s; playing one gives an [`Outcome`]: what the call returned, and what can be seen of
//! the pty afterwards. [`HostPty`] plays steps on the host; whoever has a model of a pty plays the same and compares.
//! [`script`] has hand-written cases and [`generate`] random ones; `record-pty` stores cases with outcomes as text ([`text`]).
//!
//! # Why it settles between steps
//! Linux hands bytes from one side of a pty to the other in a kernel worker, some time after `write` returned. So after
//! every step the recorder waits until the workers have nothing left to do, and only then looks at the state. That makes
//! recordings repeatable, except where one write is so large that the worker's pace during the write shows; no case
//! does that. See [`HostPty::settle`] for how it is known that the workers are done.

pub mod generate;
mod host;
mod random;
pub mod script;
mod session;
mod step;
mod sys;
pub mod text;

pub use host::HostPty;
pub use session::in_session;
pub use step::{Case, Flow, Outcome, Poll, Queue, Reply, Side, Signals, State, Step, When};
